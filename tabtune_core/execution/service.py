"""The worker's process: takes the workspace's lock, works until it is told to leave, and makes way for a worker of
another version.

In: a workspace. Out: the workspace with nothing left to do, and without the remains of killed processes. The worker
outlives the dashboard; its children outlive the worker, and a new one adopts them.
"""

import contextlib
import logging
import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.util import Finalize
from pathlib import Path

from tabtune_core.errors import StoreError
from tabtune_core.execution.end_messages import EndMessages
from tabtune_core.execution.executor import OpenExecutor
from tabtune_core.execution.forkserver import EXPERIMENT, JOBS, forkserver, start_early
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.local import LocalExecutor
from tabtune_core.execution.lock import (
    MAKE_WAY_SECONDS,
    TAKE_SECONDS,
    WorkerLock,
    ask_to_leave,
    is_stopped,
    want_worker,
    worker_of,
)
from tabtune_core.execution.on_ray.node_files import drop_arriving
from tabtune_core.execution.worker import Worker
from tabtune_core.scratch import scratch_folder, sweep
from tabtune_core.store.event_log import patiently
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_folder import STATES
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

LONGEST_FOLDER = 103 - len("/pymp-12345678/listener-12345678")
"""Most characters of a folder in which multiprocessing can make its socket (unix(7): ``sun_path``)."""

_log = logging.getLogger(__name__)


def run_worker(
    home: Path,
    *,
    exit_when_idle: bool = False,
    resume: bool = True,
    job_minutes: Mapping[str, float] | None = None,
    notify: str = "",
    unless_stopped: bool = False,
    executor: OpenExecutor = LocalExecutor,
    experiment: str = EXPERIMENT,
    jobs: str = JOBS,
) -> None:
    """Works until SIGTERM or SIGINT, until asked to leave or, with ``exit_when_idle``, until the queue is empty.

    Returns at once if the workspace has a worker of this version; takes over from a worker of another version. If it
    leaves running children behind, it exits the process itself, because multiprocessing would wait for them. With
    ``resume``, a run whose process is gone is queued again once. ``job_minutes`` limits jobs of some kinds. ``notify``
    is the address that is told when a sweep ends. Takes back ``lock.stop_workers``; with ``unless_stopped``, as a
    program starts it, returns at once if a person has stopped the worker, and makes no new workspace.

    Raises:
        SettingError: ``notify`` is not an address.
        MovedError: the workspace in which a program started it is not there.
        ClusterError: the executor needs a cluster that is not there.
    """
    messages = EndMessages(notify)
    once_there_is_room = partial(
        patiently, seconds=math.inf, say=lambda lack: _log.warning("%s This worker waits.", lack)
    )
    store = once_there_is_room(lambda: RunStore(home, existing=unless_stopped))
    lock = WorkerLock(store.home)
    if not unless_stopped:
        want_worker(store.home)
    elif is_stopped(store.home):
        return
    patience, there = TAKE_SECONDS, worker_of(store.home)
    if there is not None and there.outdated:
        _log.info("Worker %d is of another version: %s.", there.pid, there.version)
        ask_to_leave(store.home, there)
        patience = MAKE_WAY_SECONDS
    held = contextlib.ExitStack()
    folder = held.enter_context(scratch_folder())
    # after multiprocessing has deleted its files there, which it does with priority -100
    Finalize(None, held.close, exitpriority=-200)
    if len(str(folder)) <= LONGEST_FOLDER:
        tempfile.tempdir = str(folder)  # for the folder of multiprocessing's socket, which would stay after a kill
    worker: Worker | None = None
    while once_there_is_room(lambda: lock.take(patience)):
        _log.info("Worker %d drains %s.", os.getpid(), store.home)
        try:
            if (
                worker is None
            ):  # only with the lock: an executor ends processes that no row names, and tells the pages where runs go
                worker = open_worker(
                    store, lock, executor, experiment, jobs, messages, resume=resume, job_minutes=job_minutes
                )
                start_early()
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, worker.leave)
            with worker.surviving():
                sweep_up(store)
            worker.drain(exit_when_idle)
            worker.executor.let_go(worker.tasks)
        finally:
            lock.release()
        worker.tell_ends()
        messages.finish()
        if worker.leaving and (worker.tasks or worker.lanes.going):
            logging.shutdown()
            os._exit(0)
        store.settle()
        # a program that queued a run while it still saw this worker relies on this check after the lock is released
        if worker.leaving or not (store.runs(status="queued") or store.jobs(status="queued")):
            return
    _log.info("Another worker drains %s.", store.home)


def open_worker(
    store: RunStore,
    lock: WorkerLock,
    executor: OpenExecutor = LocalExecutor,
    experiment: str = EXPERIMENT,
    jobs: str = JOBS,
    messages: EndMessages | None = None,
    *,
    resume: bool = True,
    job_minutes: Mapping[str, float] | None = None,
) -> Worker:
    """Makes a worker with an executor and lanes for jobs; the processes of both are forked from one forkserver."""
    context = forkserver(experiment, jobs)
    lanes = JobLanes(store, context, jobs, job_minutes or {})
    return Worker(store, lock, executor(store, context, experiment), lanes, messages or EndMessages(""), resume=resume)


def end_everything(home: Path, executor: OpenExecutor = LocalExecutor) -> list[str]:
    """Ends everything that runs in a workspace without a worker. Returns the ids of what was left running: it may be
    another's process.

    Raises:
        StoreError: there is a worker.
    """
    store = RunStore(home)
    lock = WorkerLock(store.home)
    if not lock.take():
        raise StoreError(
            f"A new worker has taken {store.home}, so nothing was ended. End the pages, and stop it again."
        )
    try:
        worker = open_worker(store, lock, executor)
        worker.reconcile()
        return worker.end_all()
    finally:
        lock.release()


INCOMING = "incoming-"
"""Prefix of the folders in which tables and adapters are checked before they are kept."""
FRESH_SECONDS = 10.0
"""Age up to which rows to predict are kept without a job, because they are stored just before their job is queued."""


def sweep_up(store: RunStore) -> None:
    """Deletes scratch folders of dead processes, rows to predict whose job has ended, files of cluster runs that did
    not arrive whole, and states of trainings that ended or were deleted.
    """
    sweep()
    for place in ("datasets", "adapters"):
        sweep(store.home / place, INCOMING)
    for folder in store.home.glob("jobs/*"):
        sweep(folder)
    wanted = {str(job.arguments.get("rows")) for job in store.jobs() if job.status not in JOB_ENDED}
    needed = {
        run.id
        for run in store.runs()
        if run.status not in ENDED or (run.status == "interrupted" and run.retried_as is None)
    }
    for rows in store.home.glob("inputs/*"):
        with suppress(OSError):
            if rows.stem not in wanted and time.time() - rows.stat().st_mtime > FRESH_SECONDS:
                rows.unlink()
    for folder in store.home.glob("runs/*"):
        drop_arriving(folder)
    for states in store.home.glob(f"runs/*/{STATES}"):
        if states.parent.name not in needed:
            shutil.rmtree(states, ignore_errors=True)
