"""Real runs of one sweep, parallel and one by one, have the same scores, and each its own figures."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_table import small_table

from tabtune_core.data.datasets import add_dataset
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TRAIN = TrainSettings(steps=60, context_rows=32, batch_size=16, eval_every=20)


def swept(home, at_once):
    """The runs of a sweep of a mini under a new worker; they share the outputs of frozen layers."""
    frame, labels = small_table()
    home.mkdir()
    frame.assign(kept=labels).to_csv(home / "table.csv", index=False)
    run = RunSettings(
        dataset=add_dataset(home, home / "table.csv", "table.csv").id, target="kept", device="cpu", train=TRAIN
    )
    adapters = [LoraSettings(rank=rank, targets=("icl_predictor",)) for rank in (2, 4)]
    store = RunStore(home)
    store.add_sweep([dataclasses.replace(run, lora=lora) for lora in adapters])
    flags = ["--exit-when-idle", "--threads", "1", "--parallel", str(at_once)]
    command = [sys.executable, "-m", "tabtune_core", "worker", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "--home", str(home)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return store.runs()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("alone") / "home", 1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return swept(tmp_path_factory.mktemp("together") / "home", 2)


def test_parallel_runs_have_the_scores_of_single_ones(alone, together):
    assert [run.status for run in (*alone, *together)] == ["finished"] * 4
    assert max(run.started for run in together) < min(run.ended for run in together)
    for one, other in zip(alone, together, strict=True):
        assert other.result.validation == pytest.approx(one.result.validation, abs=1e-6)
        assert other.result.test == pytest.approx(one.result.test, abs=1e-6)
    assert len({run.result.test["log_loss"] for run in alone}) > 1


def test_each_runs_memory_is_that_of_its_own_process(alone, together):
    for one, other in zip(alone, together, strict=True):
        assert other.result.peak_memory_bytes == pytest.approx(one.result.peak_memory_bytes, rel=0.1)
