"""What a worker removes when it starts, and what it keeps."""

import os
import time

import pytest

from tabtune_core.execution.service import sweep_up
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

SETTINGS = RunSettings(dataset="d", target="y")


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return RunStore(tmp_path / "home")


def with_state(store, status):
    _, (run_id,) = store.add_sweep([SETTINGS])
    store.claim(1, "1", run_id)
    states = store.home / "runs" / run_id / STATES
    states.mkdir(parents=True)
    (states / LAST_STATE).touch()
    (states.parent / "log.txt").touch()
    if status != "running":
        store.finish(run_id, status)
    return run_id, states


@pytest.mark.parametrize("status", sorted(ENDED | {"running"}))
def test_states_stay_while_a_run_can_resume_from_them(store, status):
    _, states = with_state(store, status)
    sweep_up(store)
    assert states.exists() == (status in ("running", "interrupted"))
    assert (states.parent / "log.txt").exists()


@pytest.mark.parametrize(
    "place",
    [
        "home/datasets/incoming-12345678.tmp",
        "home/adapters/incoming-1.tmp",
        "home/jobs/0a/tabtune-1.tmp",
        "tmp/tabtune-1.tmp",
    ],
)
def test_folders_of_dead_processes_are_removed(store, tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "text.csv").write_text("much")
    sweep_up(store)
    assert not (tmp_path / place).exists()
    assert (tmp_path / place).parent.exists()


def test_rows_to_predict_are_removed_once_no_open_job_needs_them(store):
    inputs = store.home / "inputs"
    inputs.mkdir()
    waits = store.add_job("predict", {"rows": "waits"})
    store.finish_job(store.add_job("predict", {"rows": "ended"}), "interrupted", error="killed")
    for name, age in (("waits", 60), ("ended", 60), ("fresh", 0)):
        (inputs / f"{name}.parquet").touch()
        os.utime(inputs / f"{name}.parquet", (time.time() - age,) * 2)
    sweep_up(store)
    assert store.job(waits).status == "queued"
    assert {path.stem for path in inputs.iterdir()} == {"waits", "fresh"}
