"""Scratch folders and what a worker removes when it starts: only what no living process or later resumption needs."""

import os
import subprocess
import sys
import time

import pytest

from tabtune_core.execution.service import sweep_up
from tabtune_core.scratch import scratch_folder, sweep
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

SETTINGS = RunSettings(dataset="d", target="y")


@pytest.fixture
def apart(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return RunStore(tmp_path / "home")


def with_state(apart, status):
    _, (run_id,) = apart.add_sweep([SETTINGS])
    apart.claim(1, "1", run_id)
    states = apart.home / "runs" / run_id / STATES
    states.mkdir(parents=True)
    (states / LAST_STATE).touch()
    (states.parent / "log.txt").touch()
    if status != "running":
        apart.finish(run_id, status)
    return run_id, states


@pytest.mark.parametrize("status", sorted(ENDED | {"running"}))
def test_states_stay_while_a_run_can_resume_from_them(apart, status):
    _, states = with_state(apart, status)
    sweep_up(apart)
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
def test_folders_of_dead_processes_are_removed(apart, tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "text.csv").write_text("much")
    sweep_up(apart)
    assert not (tmp_path / place).exists()
    assert (tmp_path / place).parent.exists()


def test_rows_to_predict_are_removed_once_no_open_job_needs_them(apart):
    inputs = apart.home / "inputs"
    inputs.mkdir()
    waits = apart.add_job("predict", {"rows": "waits"})
    apart.finish_job(apart.add_job("predict", {"rows": "ended"}), "interrupted", error="killed")
    for name, age in (("waits", 60), ("ended", 60), ("fresh", 0)):
        (inputs / f"{name}.parquet").touch()
        os.utime(inputs / f"{name}.parquet", (time.time() - age,) * 2)
    sweep_up(apart)
    assert apart.job(waits).status == "queued"
    assert {path.stem for path in inputs.iterdir()} == {"waits", "fresh"}


HOLDER = """
import sys, time
from pathlib import Path
from tabtune_core.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "incoming-") as folder:
    (folder / "large").write_bytes(b"content")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    process.folder = process.stdout.readline().strip()
    yield process
    process.kill()
    process.wait()


def test_a_scratch_folder_is_removed_even_after_an_error(tmp_path):
    with pytest.raises(KeyError), scratch_folder(tmp_path) as folder:
        (folder / "inner").mkdir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_renamed_to_its_final_place_stays(tmp_path):
    with scratch_folder(tmp_path, "incoming-") as folder:
        (folder / "kept").touch()
        folder.rename(tmp_path / "place")
    assert [path.name for path in tmp_path.rglob("*")] == ["place", "kept"]


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path, holder):
    with scratch_folder(tmp_path, "incoming-"):
        assert os.path.exists(holder.folder)
    holder.kill()
    holder.wait()
    assert os.path.exists(holder.folder)
    with scratch_folder(tmp_path, "incoming-") as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_folders_with_similar_names_are_left_alone(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tabtune-backup").mkdir()
    (tmp_path / "tabtune-file.tmp").touch()
    (tmp_path / "tabtune-link.tmp").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.iterdir())
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
