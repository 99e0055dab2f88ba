"""Arrays shared by runs: computed once, equal to those without sharing, and independent of anything that a run trains."""

import os
import time

import numpy as np
import pytest
import torch

from tabtune_core import TabularPipeline
from tabtune_core.data.datasets import add_sample
from tabtune_core.engine.experiment import run_experiment
from tabtune_core.events import Evaluated, Note, StepDone
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.training import prefix_cache
from tabtune_core.training.array_cache import SharedArrays

pytestmark = pytest.mark.usefixtures("unverified")


@pytest.fixture
def arrays(tmp_path):
    return SharedArrays(tmp_path)


def test_an_array_is_computed_once_per_input(arrays, tmp_path):
    made = []

    def make():
        made.append(1)
        return np.arange(3.0) + len(made)

    first = arrays.get(["x", np.zeros(2)], make)
    again = SharedArrays(tmp_path).get(["x", torch.zeros(2, dtype=torch.float64)], make)
    np.testing.assert_array_equal(first, again)
    for parts in (["y", np.zeros(2)], ["x", np.zeros((2, 1))], ["x", np.zeros(2, "f4")], ["x", np.arange(2.0)], ["x"]):
        arrays.get(parts, make)
    assert len(made) == 6
    assert (arrays.made, arrays.reused) == (6, 0)


def test_a_damaged_file_is_recomputed_and_charged_to_nobody(arrays, tmp_path):
    """Truncated anywhere, with one bit of any byte changed, or replaced by a folder."""
    arrays.get(["x"], lambda: np.arange(3.0))
    file = next(tmp_path.glob("*.npz"))
    whole, chance, used = file.read_bytes(), np.random.default_rng(0), 0
    changed = [whole[:at] + bytes([byte ^ 1 << chance.integers(8)]) + whole[at + 1 :] for at, byte in enumerate(whole)]
    for content in [*changed, *(whole[:place] for place in range(len(whole)))]:
        file.write_bytes(content)
        reader = SharedArrays(tmp_path)
        array = reader.read(file)
        used += array is not None
        assert array is None or array.tolist() == [0.0, 1.0, 2.0]
        assert array is not None or not (file.exists() or reader.clock.charged_seconds)
    assert used < len(whole) / 3  # such as dates and spaces in the headers
    file.mkdir()
    np.testing.assert_array_equal(arrays.get(["x"], lambda: np.arange(3.0)), np.arange(3.0))


def test_a_full_disk_disables_sharing_but_does_not_end_the_run(arrays, tmp_path, monkeypatch):
    def full(file, **arrays):
        file.write(b"begun")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    np.testing.assert_array_equal(arrays.get(["x"], lambda: np.arange(3.0)), np.arange(3.0))
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_are_removed_for_killed_runs_but_not_for_live_ones(tmp_path):
    old, new = tmp_path / "a.1.partial", tmp_path / "b.2.partial"
    for file in (old, new):
        file.write_bytes(b"begun")
    os.utime(old, (time.time() - 7200,) * 2)
    SharedArrays(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_writes_to_a_read_array_are_not_shared(arrays):
    for _ in range(2):
        array = arrays.get(["x"], lambda: np.zeros(3))
        assert array.tolist() == [0, 0, 0]
        array += arrays.reused  # the first is the maker's own array, the second that of a file
    assert arrays.get(["x"], lambda: np.ones(3)).tolist() == [0, 0, 0]


def test_the_files_stay_within_their_limit(tmp_path):
    arrays = SharedArrays(tmp_path, limit_bytes=5_000)
    for number in range(20):
        arrays.get([number], lambda: np.zeros(100))
    held = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert 800 < held < 7_000
    SharedArrays(tmp_path, limit_bytes=5_000)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2_500


@pytest.fixture
def one_step_in_full(monkeypatch):
    """Without this, these short runs would take no step from a file."""
    monkeypatch.setattr(prefix_cache, "STEPS_IN_FULL", 1)


def run(home, name, targets=("icl_predictor.tf_icl",), train=None, **lora):
    parts = {"lora": LoraSettings(targets=targets, **lora), "train": train or TrainSettings(steps=4, eval_every=2)}
    settings = RunSettings(dataset=add_sample(home, "iris").id, target="species", device="cpu", **parts)
    events, folder = [], home / name
    folder.mkdir()
    result = run_experiment(settings, home=home, run_dir=folder, emit=events.append, stop_request=lambda: None)
    steps = [(e.step, e.loss, e.gradient_norm) for e in events if isinstance(e, StepDone)]
    looks = [(e.step, e.split, *e.scores.values()) for e in events if isinstance(e, Evaluated)]
    return steps, looks, result, " ".join(e.text for e in events if isinstance(e, Note))


def counts(result):
    return result.shared_made, result.shared_reused


def test_a_run_with_a_full_cache_gives_the_same_numbers(tmp_path, one_step_in_full):
    steps, looks, result, notes = run(tmp_path, "first")
    again, looks_again, result_again, _ = run(tmp_path, "second")
    assert (steps, looks) == (again, looks_again)
    # zero-shot of validation and test, validation rows up to the cut and in training, four episodes; two evaluations
    # reuse theirs
    assert counts(result) == (8, 2)
    assert counts(result_again) == (2, 7), "a run computes its first episode and first evaluation itself"
    assert result_again.train_seconds > result_again.shared_saved_seconds > 0 == result.shared_saved_seconds
    assert "All layers up to row_interactor are frozen: they are computed once per input and cached" in notes


def test_a_set_of_episodes_is_computed_once_and_then_reused(tmp_path, one_step_in_full):
    still = {"schedule": "constant", "warmup_steps": 0, "learning_rate": 1e-12}
    train = TrainSettings(steps=7, eval_every=7, episode_set=3, **still)
    steps, _, result, _ = run(tmp_path, "rounds", targets=("late_layers",), dropout=0.0, train=train)
    assert counts(result) == (7, 5)  # four more episodes and the last evaluation
    losses = np.array(steps)[:, 1]
    np.testing.assert_allclose(losses[3:], losses[:4], rtol=1e-5)
    assert len(set(losses[:3].round(6))) == 3


def test_a_standalone_fit_caches_repeated_inputs(one_step_in_full):
    rng, late = np.random.default_rng(0), {"target_modules": ["late_layers"]}
    params = {"device": "cpu", "steps": 4, "eval_every": 2, "episode_set": 2, "peft_config": late}
    fitted = TabularPipeline("tabicl-mini", "peft", params).fit(rng.normal(size=(60, 3)), np.arange(60) % 2)
    assert counts(fitted.result) == (5, 3)
