"""Requests that the catalogue alone shows to be impossible are refused before launch."""

import pytest
from tiny import tiny_checkpoint

from tabtune_core.errors import CheckpointError, DeviceError, MissingPackageError, SettingError, TargetError
from tabtune_core.models import cards
from tabtune_core.models.catalogue import check_request
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings

RUN = {"dataset": "d", "target": "y"}


@pytest.mark.parametrize(("targets", "cap"), [((), 128), (("col_embedder.tf_col",), 32)])
def test_a_rank_above_the_cap_of_every_target_is_refused(targets, cap):
    check_request(RunSettings(**RUN, lora=LoraSettings(rank=cap, targets=targets)))
    above = LoraSettings(rank=cap + 1, targets=targets)
    with pytest.raises(
        TargetError, match=rf"Rank {cap + 1} is above the cap of every target: their largest weight allows {cap}\."
    ):
        check_request(RunSettings(**RUN, lora=above))
    check_request(RunSettings(**RUN, strategy="inference", lora=above))  # which has no adapter


def test_a_rank_of_a_pattern_above_the_cap_of_its_layers_is_refused_before_launch():
    lora = LoraSettings(rank=64, rank_pattern={"icl_predictor": 8})  # legal without the pattern: other layers cap it
    check_request(RunSettings(**RUN, lora=lora))
    with pytest.raises(
        TargetError, match="Rank 4000 is above the cap of every layer that the rank pattern gives it to"
    ):
        check_request(RunSettings(**RUN, lora=LoraSettings(rank_pattern={"icl_predictor": 4000})))


def test_a_target_without_a_layer_is_refused_with_the_names_that_can_be_targets():
    with pytest.raises(
        TargetError,
        match=r"No linear layer under 'nowhere'\. Modules of TabDPT mini that have some: .*, encoder, head\.0, ",
    ):
        check_request(RunSettings(**RUN, model="tabdpt-mini", lora=LoraSettings(targets=("nowhere",))))


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


def test_a_context_beyond_the_models_limit_is_refused(monkeypatch):
    monkeypatch.setattr(cards, "installed_now", lambda distribution: "1")
    with pytest.raises(SettingError, match="Mitra v2 takes at most 10,000 context rows"):
        check_request(RunSettings(**RUN, model="mitra-v2", train=TrainSettings(context_rows=10_001)))
    with pytest.raises(
        SettingError, match=r"train.predict_context_rows is 10001; Mitra v2 takes at most 10,000 context rows. Set it"
    ):
        check_request(RunSettings(**RUN, model="mitra-v2", train=TrainSettings(predict_context_rows=10_001)))
    check_request(
        RunSettings(**RUN, model="mitra-v2", strategy="inference", train=TrainSettings(context_rows=10_001))
    )  # unused


def test_16_bit_training_on_the_cpu_is_refused():
    with pytest.raises(DeviceError, match="train.amp is 'bf16', which needs a CUDA GPU, but the device is cpu"):
        check_request(RunSettings(**RUN, device="cpu", train=TrainSettings(amp="bf16")))


def test_recomputation_is_refused_for_a_model_that_always_recomputes(monkeypatch):
    monkeypatch.setattr(cards, "installed_now", lambda distribution: "1")
    with pytest.raises(SettingError, match="gradient_checkpointing changes nothing: Mitra always recomputes"):
        check_request(RunSettings(**RUN, model="mitra-v2", train=TrainSettings(gradient_checkpointing=True)))
