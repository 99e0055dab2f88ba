"""Requests that the catalogue alone shows to be impossible are refused before launch."""

import pytest
from tiny import tiny_checkpoint

from tabtune_core.errors import CheckpointError, MissingPackageError, SettingError, TargetError
from tabtune_core.models import cards
from tabtune_core.models.catalogue import check_request
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings

RUN = {"dataset": "d", "target": "y"}


def lora(**how):
    return {"lora": LoraSettings(**how)}


def train(model="tabicl-mini", **how):
    return {"model": model, "train": TrainSettings(**how)}


@pytest.mark.parametrize(
    ("asked", "error", "why"),
    [
        (lora(rank=129), TargetError, "Rank 129 is above the cap of every target: their largest weight allows 128"),
        (lora(rank_pattern={"icl_predictor": 4000}), TargetError, "Rank 4000 is above the cap of every layer that the"),
        (
            lora(targets=("nowhere",)),
            TargetError,
            r"No linear layer under 'nowhere'\. Modules that have some: col_embedder",
        ),
        (train("mitra-v2", context_rows=10_001), SettingError, "Mitra v2 takes at most 10,000 context rows"),
        (train("mitra-v2", predict_context_rows=10_001), SettingError, "train.predict_context_rows is 10001; Mitra v2"),
        (train("mitra-v2", gradient_checkpointing=True), SettingError, "changes nothing: Mitra always recomputes"),
    ],
)
def test_an_impossible_request_is_refused_before_launch(monkeypatch, asked, error, why):
    monkeypatch.setattr(cards, "installed_now", lambda distribution: "1")
    check_request(RunSettings(**RUN))
    with pytest.raises(error, match=why):
        check_request(RunSettings(**RUN, **asked))


def test_weights_that_do_not_exist_are_refused(tmp_path):
    check_request(RunSettings(**RUN, checkpoint=str(tiny_checkpoint(tmp_path / "there.ckpt"))))
    with pytest.raises(CheckpointError, match=r"There is no checkpoint at .*nowhere\.ckpt"):
        check_request(RunSettings(**RUN, checkpoint=str(tmp_path / "nowhere.ckpt")))


def test_a_model_with_a_missing_package_is_refused_with_the_install_command(monkeypatch):
    monkeypatch.setattr(cards, "installed_now", lambda distribution: None)
    with pytest.raises(MissingPackageError, match=r"Run: pip install 'tabtune-dashboard\[mitra\]'"):
        check_request(RunSettings(**RUN, model="mitra-v2"))
    with pytest.raises(MissingPackageError, match="needs the package tabdpt, .* Run: pip install tabdpt"):
        check_request(RunSettings(**RUN, model="tabdpt-mini"))
