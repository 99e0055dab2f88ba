"""The worker of a workspace takes its lock before anything else."""

import pytest

from tabtune_core.errors import ClusterError
from tabtune_core.execution.lock import WorkerLock, worker_of
from tabtune_core.execution.service import run_worker
from tabtune_core.store.runs import RunStore


def test_only_the_worker_opens_an_executor(tmp_path):
    RunStore(tmp_path)
    other = WorkerLock(tmp_path)
    assert other.take()
    opened = []
    run_worker(tmp_path, executor=lambda *given: opened.append(given))
    assert opened == []


def test_the_lock_is_held_while_an_executor_opens_and_released_if_that_fails(tmp_path):
    held = []

    def refuse(*given):
        held.append(worker_of(tmp_path) is not None)
        raise ClusterError("There is no cluster.")

    with pytest.raises(ClusterError, match=r"There is no cluster\."):
        run_worker(tmp_path, executor=refuse)
    assert held == [True]
    assert WorkerLock(tmp_path).take()
