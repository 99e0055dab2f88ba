"""A worker with other code makes way for one with this code, and its runs continue."""

import signal

import psutil
import pytest
from worker_program import end, queue, start_worker, wait_until

from tabtune_core.execution.lock import worker_of
from tabtune_core.execution.service import end_everything

OLD = "from tabtune_core.execution import lock\nlock.code_version = lambda: 'old'\n"


@pytest.fixture
def busy(store):
    """A worker with other code, carrying out a run."""
    first = start_worker(store.home, before=OLD)
    (run_id,) = queue(store, "waiting")
    wait_until(lambda: store.events(run_id))
    yield first
    end(store, first)


def test_a_worker_of_another_version_ends_and_its_run_is_adopted(store, busy):
    (run,) = store.runs()
    (following,) = queue(store, "quick")
    second = start_worker(store.home, "exit-when-idle")
    assert busy.wait(timeout=60) == 0
    wait_until(lambda: (there := worker_of(store.home)) and there.pid == second.pid)
    assert not worker_of(store.home).outdated
    assert [store.run(run.id).status, store.run(following).status] == ["running", "queued"]
    (store.home / "go").touch()
    assert second.wait(timeout=60) == 0
    assert [store.run(run.id).status, store.run(following).status] == ["finished", "finished"]
    assert store.run(run.id).pid == run.pid


def test_a_run_in_doubt_is_named_and_left_alone(store, busy):
    (run,) = store.runs()
    busy.send_signal(signal.SIGTERM)
    assert busy.wait(timeout=60) == 0
    store.set_process(run.id, run.pid, None)
    assert end_everything(store.home) == [run.id]
    assert psutil.pid_exists(run.pid)
    assert store.run(run.id).status == "running"
