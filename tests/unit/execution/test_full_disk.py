"""A disk that is really full: nothing ends that could continue, and waiting runs start automatically."""

import os
import subprocess
import sys
import threading
import time

import pytest
from small_disk import fill, small_disk
from worker_program import queue, wait_for_end, wait_until, working

from tabtune_core.events import StepDone
from tabtune_core.execution.child import NO_ROOM_STATUS
from tabtune_core.execution.processes import is_alive
from tabtune_core.shortage import why_nothing_starts
from tabtune_core.store.event_log import AGAIN_SECONDS, teller
from tabtune_core.store.runs import RunStore


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as place:
        yield place


@pytest.fixture
def store(disk):
    return RunStore(disk)


def test_training_waits_on_a_full_disk_and_loses_no_event(store, disk):
    (run_id,) = queue(store, "quick")
    tell, filler, took = teller(store, run_id), fill(disk), [0.0]
    threading.Timer(1.0, filler.unlink).start()
    while took[-1] < AGAIN_SECONDS:
        began = time.monotonic()
        tell(StepDone(len(took), 0.5, 1.0, 2e-4, 0.5))
        took.append(time.monotonic() - began)
    assert not filler.exists()
    assert [stored.event.step for stored in store.events(run_id, ["StepDone"])] == list(range(1, len(took)))


def test_a_run_that_meets_a_full_disk_exits_with_that_status_although_its_log_is_there(disk):
    (disk / "log.txt").touch()
    program = (
        "import sys\nfrom pathlib import Path\nfrom tabtune_core.execution import child\n"
        f"def full(*_):\n    child.write_to(Path({str(disk / 'log.txt')!r}))\n    print('x' * 10_000)\n    raise "
        "OSError(28, 'No space left')\n"
        f"child._run = full\nchild.run_child(Path({str(disk)!r}), 'run', '', None)"
    )
    fill(disk)
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == NO_ROOM_STATUS


@pytest.mark.parametrize("left", [0, 2**20])
def test_a_queued_run_waits_for_room_and_starts_automatically(store, disk, tmp_path, left):
    (run_id,) = queue(store, "quick")
    filler, said = fill(disk), tmp_path / "said.txt"
    os.truncate(filler, filler.stat().st_size - left)
    with working(
        store, "exit-when-idle", before=f"import sys\nsys.stderr = open({str(said)!r}, 'w', buffering=1)\n"
    ) as worker:
        wait_until(lambda: said.exists() and "is full" in said.read_text())
        assert "is full" in why_nothing_starts(disk)
        assert store.run(run_id).status == "queued"
        filler.unlink()
        assert why_nothing_starts(disk) is None
        assert worker.wait(timeout=60) == 0
        assert store.run(run_id).status == "finished"


def test_a_run_that_fills_the_disk_reports_it_and_continues_when_there_is_room(store, disk):
    (run_id,) = queue(store, "filling")
    with working(store) as worker:
        wait_until(lambda: store.run(run_id).identity and (disk / "filler").exists())
        first = store.run(run_id)
        wait_until(lambda: not is_alive(first.pid, first.identity))
        assert worker.poll() is None
        (disk / "filler").unlink()
        run = wait_for_end(store, run_id)
        assert (run.status, run.resumptions) == ("finished", 1)
        (told,) = [stored.event.text for stored in store.events(run_id, ["Note"])]
        assert "is full" in told or "had no room on a disk" in told
        assert "memory" not in told
