"""The worker: drains the queue, one child process a run or job, and keeps the rows of the store true.

In: queued runs, jobs and wishes. Out: runs and jobs that have ended. It outlives the dashboard, its children outlive it: a new
worker adopts them. It never loads torch itself; a forkserver does so once, which makes a child cost milliseconds.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from pathlib import Path
from types import FrameType
from typing import TypeVar

from tabtune_core.errors import ShortageError, StoreError
from tabtune_core.events import RunFailed
from tabtune_core.execution.child import discard, memory_advice, run_child
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.leftovers import sweep_up
from tabtune_core.execution.lock import MAKE_WAY_SECONDS, TAKE_SECONDS, WorkerLock, ask_to_leave, want_worker, worker_of
from tabtune_core.execution.processes import GRACE_SECONDS, Watched, cause, end, press, signal_group, start
from tabtune_core.execution.scheduler import Slots, device_of
from tabtune_core.scratch import scratch_folder
from tabtune_core.shortage import named, why_nothing_starts
from tabtune_core.store.packs import fellows
from tabtune_core.store.runs import ENDED, Run, RunStore

EXPERIMENT = "tabtune_core.engine.experiment"
"""Module whose ``run_experiment`` carries out a run."""
JOBS = "tabtune_core.execution.jobs.registry"
"""Module whose ``run_job`` carries out a job."""
LOADED_BY_RUNS = ("torch._dynamo", "tabtune_core.models.tabicl.model", "tabtune_core.models.tabdpt.model")
"""What runs would load on their own, each of them: the first optimizer loads torch._dynamo, which takes more than a second."""
RUN_ENVIRONMENT = {
    # threads that wait by spinning make a step ten times slower as soon as anything else wants the processor
    "OMP_WAIT_POLICY": "PASSIVE",
    # memory of large tensors in huge pages: a step on the CPU takes about 5 % less, and the same memory
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # asked through NVML whether there is a card, the forkserver stays without CUDA, which would not survive a fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # a run's log is no terminal; this makes huggingface_hub draw its download bar there all the same
    "TQDM_POSITION": "-1",
}
"""Of the processes that carry out runs and jobs, where the worker's own says nothing else."""
CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Whatever the worker's own says: cuda:1 is the same card for torch as for the page, which asks NVML."""
POLL_SECONDS = 0.3
AGAIN_SECONDS = 1.0
"""After something that the machine lacked, such as room on the disk, before it is tried again."""
RECONCILE_SECONDS = 3.0
LONGEST_FOLDER = 103 - len("/pymp-12345678/listener-12345678")
"""Letters: the path of a socket has so many less than that on any system (unix(7): ``sun_path``)."""
SILENT_SECONDS = 60.0
"""What cannot be told from another process, as after an upgrade or in another container, has ended after as long without a heartbeat.
It is never signalled."""
ENDED_BY_A_PERSON = "It was ended with 'tabtune worker --stop --now'. Run it again."

_log = logging.getLogger(__name__)


def run_worker(
    home: Path,
    *,
    exit_when_idle: bool = False,
    resume: bool = True,
    job_minutes: Mapping[str, float] | None = None,
    experiment: str = EXPERIMENT,
    jobs: str = JOBS,
) -> None:
    """Works until SIGTERM or SIGINT, until asked to leave, or until the queue is empty.

    Returns at once where the workspace has a worker of this version; takes over from one of another version. Ends the process itself when
    told to leave a running child behind, because multiprocessing would wait for that child. With ``resume``, a run whose process is gone is
    queued again once. ``job_minutes`` says how long jobs of some kinds may take.
    """
    store = _once_there_is_room(lambda: RunStore(home))
    lock = WorkerLock(store.home)
    worker = _Worker(store, lock, experiment, jobs, resume=resume, job_minutes=job_minutes)
    want_worker(store.home)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, worker.leave)
    patience, there = TAKE_SECONDS, worker_of(store.home)
    if there is not None and there.outdated:
        _log.info("Worker %d is of another version: %s.", there.pid, there.version)
        ask_to_leave(store.home, there)
        patience = MAKE_WAY_SECONDS
    held = contextlib.ExitStack()
    folder = held.enter_context(scratch_folder())
    # after multiprocessing has taken away what it has in there, which it does with priority -100
    Finalize(None, held.close, exitpriority=-200)
    if len(str(folder)) <= LONGEST_FOLDER:
        tempfile.tempdir = str(folder)  # multiprocessing has a folder for its socket, which a kill would leave behind
    while _once_there_is_room(lambda: lock.take(patience)):
        _log.info("Worker %d drains %s.", os.getpid(), store.home)
        try:
            with worker.surviving():
                sweep_up(store)
            worker.drain(exit_when_idle)
        finally:
            lock.release()
        if worker.leaving and (worker.watched or worker.lanes.going):
            logging.shutdown()
            os._exit(0)
        # whoever queued a run and still saw this worker relies on this look after the lock is gone
        if worker.leaving or not (store.runs(status="queued") or store.jobs(status="queued")):
            return
    _log.info("Another worker drains %s.", store.home)


Given = TypeVar("Given")


def _once_there_is_room(begin: Callable[[], Given]) -> Given:
    """What ``begin`` gives, however long the machine lacks what comes back."""
    said = ""
    while True:
        try:
            return begin()
        except ShortageError as error:
            if not error.passes:
                raise
            if error.lack != said:
                _log.warning("%s This worker waits.", error)
            said = error.lack
        time.sleep(AGAIN_SECONDS)


def end_everything(home: Path) -> list[str]:
    """Ends all that runs in a workspace that has no worker. Returns the ids of what goes on: its process cannot be told from another.

    Raises:
        StoreError: there is a worker.
    """
    store = RunStore(home)
    lock = WorkerLock(store.home)
    if not lock.take():
        raise StoreError(f"A new worker has taken {store.home}, so nothing was ended. End the pages, and stop it again.")
    try:
        worker = _Worker(store, lock, EXPERIMENT, JOBS)
        worker.reconcile()
        return worker.end_all()
    finally:
        lock.release()


class _Worker:
    """What is being watched, and the rules for starting, pressing and closing it."""

    def __init__(
        self,
        store: RunStore,
        lock: WorkerLock,
        experiment: str,
        jobs: str,
        *,
        resume: bool = True,
        job_minutes: Mapping[str, float] | None = None,
    ) -> None:
        self.resume = resume
        self.store = store
        self.lock = lock
        self.experiment = experiment
        self.watched: list[Watched] = []
        self.leaving = False
        self.lacking = ""
        """What the machine lacked at the last turn; empty where it lacked nothing. Nothing ends for it: all is tried again."""
        self.slots = Slots()
        self.heard: dict[str, tuple[float | None, float]] = {}
        """Of what cannot be told from another process: its heartbeat, and since when, in monotonic seconds, it is the same."""
        for name, value in RUN_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ.update(CARD_ORDER)
        self.context = multiprocessing.get_context("forkserver")
        self.lanes = JobLanes(store, self.context, jobs, job_minutes or {})
        loaded = LOADED_BY_RUNS if experiment == EXPERIMENT else ()
        self.context.set_forkserver_preload([experiment, jobs, run_child.__module__, *loaded])

    def leave(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: no new run is started."""
        self.leaving = True

    def drain(self, exit_when_idle: bool) -> None:
        """Starts, watches and closes runs until told to leave or, if asked to, until there is nothing to do."""
        reconciled = -RECONCILE_SECONDS
        while not self.leaving:
            if not self.store.home.is_dir():  # deleted: nobody could queue or read anything there
                self.leaving = True
                return
            if self.lock.asked_to_leave():
                _log.info("Asked to leave.")
                self.leaving = True
                return
            lacked, self.lacking, started = self.lacking, "", False
            if time.monotonic() - reconciled >= RECONCILE_SECONDS:
                reconciled = time.monotonic()
                with self.surviving(lacked):
                    self.reconcile()
            with self.surviving(lacked):
                self.lanes.look()
            with self.surviving(lacked):
                started = self.start_next()
            if exit_when_idle and not (started or self.watched or self.lanes.going or self.lacking):
                return
            if started:
                continue  # there may be a slot for another
            busy = [*self.watched, *self.lanes.going]
            ending = wait([watched.process.sentinel for watched in busy if watched.process], timeout=POLL_SECONDS)
            for watched in list(self.watched):
                with self.surviving(lacked):
                    self.look_at(watched)
            if self.lacking and ending:
                time.sleep(AGAIN_SECONDS)  # who has ended and could not be closed would end the next wait at once

    @contextlib.contextmanager
    def surviving(self, said: str = "") -> Iterator[None]:
        """Where the machine lacks something inside, as on a full disk, that is logged unless it was ``said`` before, and nothing ends."""
        try:
            with named(folder=self.store.home):
                yield
        except ShortageError as error:
            self.lacking = error.lack
            if error.lack != said:
                _log.warning("%s The worker tries again.", error)

    def reconcile(self) -> None:
        """Brings rows that say 'running' in line with the processes there are: adopts the living, ends the others."""
        known = {run_id for watched in self.watched for run_id in watched.ids}
        lost: dict[tuple[int, str | None], list[Run]] = {}
        for run in self.store.runs(status="running"):
            if run.id not in known:
                lost.setdefault((run.pid or 0, run.identity), []).append(run)
        for (pid, identity), runs in lost.items():
            if pid == os.getpid() and found(pid, identity) == "alive":  # claimed, and then the database or the forkserver was not there
                self.store.unclaim([run.id for run in runs], pid)
                continue
            watched = Watched(tuple(run.id for run in runs), pid, identity, None, self.slots.of(runs[0]))
            if found(pid, identity) in ("alive", "unknown"):
                _log.info("Adopted %s in process %d.", " and ".join(watched.ids), pid)
                self.watched.append(watched)
            else:
                self.close(watched, runs)
        self.lanes.reconcile(self.is_silent)

    def is_silent(self, name: str, heartbeat: float | None) -> bool:
        """Whether the heartbeat, which is compared with no clock, has been the same for too long."""
        now = time.monotonic()
        last, since = self.heard.get(name, (None, now))
        if name not in self.heard or heartbeat != last:
            self.heard[name] = (heartbeat, now)
        return heartbeat == last and now - since > SILENT_SECONDS

    def start_next(self) -> bool:
        """Whether there was a queued run and a slot for it; it has a process now."""
        taken, queued = {watched.slot for watched in self.watched}, self.store.runs(status="queued")
        chosen = None if self.slots.are_full(taken) else self.slots.next(queued, taken)
        if chosen is None:
            return False
        if why := why_nothing_starts(self.store.home):
            raise ShortageError(f"{why} Queued runs wait.", "room")
        (first, slot), pid = chosen, os.getpid()
        claimed = [self.store.claim(pid, identity_of(pid), run.id, slot=slot) for run in fellows(first, queued)]
        ids = tuple(run.id for run in claimed if run)
        if not ids:
            return True  # cancelled in between; the next one may have a slot
        given = (self.store.home, ids, self.experiment, device_of(slot))
        process = self.context.Process(target=run_child, args=given, name=f"run-{ids[0]}")
        if (started := start(process)) is None:
            self.store.unclaim(ids, pid)
            time.sleep(POLL_SECONDS)
            return True
        _log.info("Run %s is process %d on %s.", " and ".join(ids), started, slot)
        self.watched.append(Watched(ids, started, identity_of(started), process, slot))
        return True

    def look_at(self, watched: Watched) -> None:
        """Closes a process that is gone, presses one that is late."""
        state = found(watched.pid, watched.identity)
        if state == "alive":
            # a sentinel that fires while the process lives means that the forkserver is gone; the pid still tells
            if watched.process and watched.process.exitcode is not None:
                watched.process = None
            wishes = {run.wish for run in self.rows(watched) if run.status not in ENDED}
            self.press(watched, "end" if not wishes else wishes.pop() if len(wishes) == 1 else None)
            return
        rows = self.rows(watched)
        if state == "unknown" and any(run.status not in ENDED and not self.is_silent(run.id, run.heartbeat) for run in rows):
            return
        if state == "gone" and watched.identity:
            signal_group(watched.pid, signal.SIGKILL)  # what the run started itself would keep the device's memory
        if watched.process:
            watched.process.join(timeout=1)
        self.close(watched, rows)
        self.watched.remove(watched)

    def rows(self, watched: Watched) -> list[Run]:
        """The rows of its runs, without those that ended and were deleted at once; an adopted run names its process there."""
        runs = []
        for run_id in watched.ids:
            with contextlib.suppress(StoreError):
                runs.append(self.store.run(run_id))
        for run in runs[:1]:
            if watched.process is None and run.pid and run.identity:
                watched.pid, watched.identity = run.pid, run.identity
        return runs

    def press(self, watched: Watched, wanted: str | None) -> None:
        """Sends TERM, later KILL, to a process that does not do what was asked of it."""
        if wanted in GRACE_SECONDS:
            press(watched, wanted, GRACE_SECONDS[wanted])

    def end_all(self) -> list[str]:
        """Ends what runs, whose rows become 'interrupted'. Returns the ids of what could not be told from another process, and goes on."""
        left: list[str] = []
        for watched in self.watched:
            if end(watched.pid, watched.identity):
                self.close(watched, self.rows(watched), ENDED_BY_A_PERSON)
            else:
                left += watched.ids
        return left + self.lanes.end_all(ENDED_BY_A_PERSON)

    def close(self, watched: Watched, runs: Sequence[Run], error: str = "") -> None:
        """Ends the rows of a process that is gone, unless it did so itself; ``error`` says that a person ended it, for good."""
        for run in runs:
            if run.status in ENDED:
                continue
            _log.warning("Run %s ended without an error message.", run.id)
            if run.wish == "cancel":
                discard(self.store.run_dir(run.id))
                self.store.finish(run.id, "cancelled")
            elif self.resume and not run.resumptions and not error:
                self.store.requeue(run.id, self.cause(watched, run)[0])
            else:
                cause, way_out = self.cause(watched, run)
                self.store.finish(run.id, "interrupted", error=error or f"{cause} {way_out or memory_advice(run.settings)}")

    def cause(self, watched: Watched, run: Run) -> tuple[str, str]:
        """Why the process is gone, as it said itself where it could, and what to do; empty where memory is the cause, or often is."""
        told = self.store.last(run.id, "RunFailed")
        if told is not None and isinstance(told.event, RunFailed):
            return told.event.message, "Resume it, or run it again."
        return cause(watched, "run")
