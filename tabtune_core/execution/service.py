"""The worker's process: takes the workspace's lock, and works until it is told to leave.

In: a workspace. Out: the workspace with nothing left to do, and without the remains of killed processes. The worker
outlives the dashboard. Its children end with it, and the next worker resumes their runs from their last saved state.
"""

import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.forkserver import ensure_running
from pathlib import Path

from tabtune_core.execution.executor import OpenExecutor
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.local import LocalExecutor
from tabtune_core.execution.lock import TAKE_SECONDS, WorkerLock, is_stopped, want_worker
from tabtune_core.execution.processes import EXPERIMENT, JOBS, forkserver, identity_of, is_alive
from tabtune_core.execution.worker import POLL_SECONDS, RECONCILE_SECONDS, Worker
from tabtune_core.scratch import sweep
from tabtune_core.store.event_log import patiently
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_folder import STATES
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

_log = logging.getLogger(__name__)


def run_worker(
    home: Path,
    *,
    exit_when_idle: bool = False,
    resume: bool = True,
    started_by: int = 0,
    executor: OpenExecutor = LocalExecutor,
    experiment: str = EXPERIMENT,
    jobs: str = JOBS,
) -> None:
    """Works until SIGTERM or SIGINT, until a person stops it or, with ``exit_when_idle``, until the queue is empty.

    Returns at once if the workspace has a worker. With ``resume``, a run whose process is gone is queued again once.
    A person who starts it takes back ``lock.stop_workers``. With ``started_by``, a program's process id, it returns at
    once if a person has stopped the worker, makes no new workspace, and ends when idle once that program has ended.

    Raises:
        MovedError: the workspace in which a program started it is not there.
        ClusterError: the executor needs a cluster that is not there.
    """
    starter = identity_of(started_by) if started_by else None
    wait = partial(patiently, seconds=math.inf, say=lambda lack: _log.warning("%s This worker waits.", lack))
    store = wait(lambda: RunStore(home, existing=bool(started_by)))
    lock = WorkerLock(store.home)
    if not started_by:
        want_worker(store.home)
    worker: Worker | None = None
    while not is_stopped(store.home):
        if not wait(lambda: lock.take(TAKE_SECONDS)):
            _log.info("Another worker drains %s.", store.home)
            return
        _log.info("Worker %d drains %s.", os.getpid(), store.home)
        try:
            if worker is None:  # only with the lock: an executor tells the pages where runs go
                context = forkserver(experiment, jobs)
                lanes = JobLanes(store, context, jobs)
                worker = Worker(store, executor(store, context, experiment), lanes, resume=resume)
                with suppress(OSError):  # a shortage is reported when a run or a job needs the process
                    ensure_running()  # the first run need not wait until torch is loaded
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, worker.leave)
            with worker.surviving():
                sweep_up(store)
            drain(worker, lambda: exit_when_idle or (started_by > 0 and not is_alive(started_by, starter)))
        finally:
            if worker is not None:  # also after an error: this process would wait for its children when it exits
                worker.stop()
            lock.release()
        store.settle()
        # a program that queued a run while it still saw this worker relies on this check after the lock is released
        if worker.leaving or not (store.runs(status="queued") or store.jobs(status="queued")):
            return


def drain(worker: Worker, ends_when_idle: Callable[[], bool]) -> None:
    """Takes turns until the worker is to leave or, if it ``ends_when_idle``, until there is nothing to do."""
    reconciled = -math.inf
    while not worker.leaving:
        if not worker.store.is_in_place() or is_stopped(worker.store.home):
            worker.leaving = True
            return
        if late := time.monotonic() - reconciled >= RECONCILE_SECONDS:
            reconciled = time.monotonic()
        if worker.turn(reconcile=late):
            if ends_when_idle():
                return
            worker.executor.wait((), (), POLL_SECONDS)


INCOMING = "incoming-"
"""Prefix of the folders in which tables and adapters are checked before they are kept."""
FRESH_SECONDS = 10.0
"""Age up to which rows to predict are kept without a job, because they are stored just before their job is queued."""


def sweep_up(store: RunStore) -> None:
    """Deletes what dead processes left: scratch folders, rows to predict, incomplete files, states of ended runs."""
    sweep()
    for place in ("datasets", "adapters"):
        sweep(store.home / place, INCOMING)
    for folder in store.home.glob("jobs/*"):
        sweep(folder)
    wanted = {str(job.arguments.get("rows")) for job in store.jobs() if job.status not in JOB_ENDED}
    resumable = [run for run in store.runs() if run.status == "interrupted" and run.retried_as is None]
    needed = {run.id for run in (*resumable, *(run for run in store.runs() if run.status not in ENDED))}
    for rows in store.home.glob("inputs/*"):
        with suppress(OSError):
            if rows.stem not in wanted and time.time() - rows.stat().st_mtime > FRESH_SECONDS:
                rows.unlink()
    for states in store.home.glob(f"runs/*/{STATES}"):
        if states.parent.name not in needed:
            shutil.rmtree(states, ignore_errors=True)
