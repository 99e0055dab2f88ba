"""What runs share: the same numbers as without it, made once, and nothing that anything of a run's own went into."""

import numpy as np
import pytest
import torch
from tabicl import InferenceConfig
from tiny import tiny_module
from torch import nn

from tabtune_core import fitting
from tabtune_core.data.datasets import add_sample
from tabtune_core.events import Evaluated, StepDone
from tabtune_core.experiment import run_experiment
from tabtune_core.lora.inject import inject
from tabtune_core.models.families import TABICL
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training.shared import SharedArrays, frozen_stages, shared_prefix


@pytest.fixture
def arrays(tmp_path):
    return SharedArrays(tmp_path)


def test_an_array_is_made_once_for_each_input(arrays, tmp_path):
    made = []

    def make():
        made.append(1)
        return np.arange(3.0) + len(made)

    first = arrays.get(["x", np.zeros(2)], make)
    again = SharedArrays(tmp_path).get(["x", torch.zeros(2, dtype=torch.float64)], make)
    np.testing.assert_array_equal(first, again)
    for parts in (["y", np.zeros(2)], ["x", np.zeros((2, 1))], ["x", np.zeros(2, np.float32)], ["x", np.array([0.0, 1.0])], ["x"]):
        arrays.get(parts, make)
    assert len(made) == 6
    assert (arrays.made, arrays.reused) == (6, 0)


def test_a_damaged_file_is_made_again(arrays, tmp_path):
    arrays.get(["x"], lambda: np.arange(3.0))
    next(tmp_path.glob("*.npy")).write_bytes(b"cut off")
    np.testing.assert_array_equal(arrays.get(["x"], lambda: np.arange(3.0)), np.arange(3.0))


def test_a_disk_that_takes_nothing_costs_the_sharing_not_the_run(arrays, tmp_path, monkeypatch):
    def full(file, array):
        file.write(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    np.testing.assert_array_equal(arrays.get(["x"], lambda: np.arange(3.0)), np.arange(3.0))
    assert list(tmp_path.iterdir()) == []


def test_the_files_stay_within_their_limit(tmp_path):
    arrays = SharedArrays(tmp_path, limit_bytes=5_000)
    for number in range(20):
        arrays.get([number], lambda: np.zeros(100))
    held = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert 800 < held < 7_000
    SharedArrays(tmp_path, limit_bytes=5_000)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2_500


def adapted(*targets):
    module = tiny_module()
    module.requires_grad_(False)
    inject(module, rank=2, alpha=4, dropout=0.0, targets=targets)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize(
    ("targets", "shared"),
    [
        (("icl_predictor.tf_icl",), ["col_embedder", "row_interactor"]),
        (("row_interactor",), ["col_embedder"]),
        (("col_embedder.tf_col", "icl_predictor.tf_icl"), []),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_model_with_shared_stages_gives_the_same(arrays, targets, shared, training):
    module, other = adapted(*targets).train(training), torch.arange(40)[None].float() % 2
    fp32 = InferenceConfig()
    fp32.update_from_dict({stage: {"use_amp": False, "device": "cpu"} for stage in ("COL_CONFIG", "ROW_CONFIG", "ICL_CONFIG")})
    inputs = [(torch.randn(1, 60, 6), torch.arange(40)[None].float() % 3) for _ in range(2)]
    inputs.append((inputs[0][0], other))  # the same rows, other labels: the stages look at both
    expected = [module(*given, inference_config=fp32) for given in inputs]
    with shared_prefix(module, TABICL.stages, arrays) as stages:
        assert stages == shared
        for _ in range(2):
            torch.testing.assert_close([module(*given, inference_config=fp32) for given in inputs], expected, atol=1e-6, rtol=0)
    assert arrays.made == (3 if shared else 0) == arrays.reused
    torch.testing.assert_close(module(*inputs[0], inference_config=fp32), expected[0], atol=0, rtol=0)


def test_stages_that_draw_at_random_are_not_shared():
    module = adapted("icl_predictor.tf_icl")
    assert frozen_stages(module, TABICL.stages) == list(TABICL.stages)
    module.row_interactor.append_module = nn.Dropout(0.1)
    assert frozen_stages(module, TABICL.stages) == ["col_embedder"]


def run(home, name, strategy="peft", **lora):
    settings = RunSettings(
        dataset=add_sample(home, "iris").id, target="species", strategy=strategy, device="cpu",
        lora=LoraSettings(targets=("icl_predictor.tf_icl",), **lora), train=TrainSettings(steps=4, eval_every=2),
    )  # fmt: skip
    events, folder = [], home / name
    folder.mkdir()
    result = run_experiment(settings, home=home, run_dir=folder, emit=events.append, wish=lambda: None)
    told = [(e.step, e.loss, e.gradient_norm) for e in events if isinstance(e, StepDone)]
    looks = [(e.step, e.split, *e.scores.values()) for e in events if isinstance(e, Evaluated)]
    return told, looks, result.extra


def test_a_run_that_finds_everything_made_gives_the_same_numbers(tmp_path):
    told, looks, extra = run(tmp_path, "first")
    again, looks_again, extra_again = run(tmp_path, "second")
    assert (told, looks) == (again, looks_again)
    # zero-shot of validation and test, four episodes, one look at the validation rows (the second takes it from the first)
    assert (extra["shared_made"], extra["shared_reused"]) == (7, 1)
    assert (extra_again["shared_made"], extra_again["shared_reused"]) == (0, 8)
    _, _, other_rank = run(tmp_path, "third", rank=2)
    assert (other_rank["shared_made"], other_rank["shared_reused"]) == (0, 8)


def test_sharing_changes_no_loss(tmp_path, monkeypatch):
    shared = run(tmp_path, "shared")[:2]
    monkeypatch.setattr(fitting, "SharedArrays", lambda folder, salt: None)
    alone = run(tmp_path, "alone")
    np.testing.assert_allclose(np.array(shared[0]), np.array(alone[0]), atol=1e-6)
    assert "shared_made" not in alone[2]


def test_what_trains_is_not_shared(tmp_path):
    _, _, extra = run(tmp_path, "full", strategy="base-ft")
    assert (extra["shared_made"], extra["shared_reused"]) == (2, 0)
