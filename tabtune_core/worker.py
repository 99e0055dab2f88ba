"""The worker: drains the queue, one child process a run or job, and keeps the rows of the store true.

In: queued runs, jobs and wishes. Out: runs and jobs that have ended. It outlives the dashboard, its children outlive it: a new
worker adopts them. It never loads torch itself; a forkserver does so once, which makes a child cost milliseconds.
"""

import contextlib
import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType

from tabtune_core.errors import Cancelled, StoreError, TabTuneError
from tabtune_core.events import RunFailed
from tabtune_core.fresh import FreshProcess
from tabtune_core.runs.store import ENDED, Run, RunStore
from tabtune_core.runs.worker_lock import WorkerLock, pid_alive, started_at
from tabtune_core.settings import RunSettings

EXPERIMENT = "tabtune_core.experiment"
"""Module whose ``run_experiment`` carries out a run."""
JOBS = "tabtune_core.jobs"
"""Module whose ``run_job`` carries out a job."""
LOADED_BY_RUNS = ("torch._dynamo", "tabtune_core.models.tabicl", "tabtune_core.models.tabdpt")
"""What runs would load on their own, each of them: the first optimizer loads torch._dynamo, which takes more than a second."""
SLOTS = 1
"""Runs at a time: they share one device, and a memory figure stays its run's own. One job goes on beside them: a person waits for it."""
POLL_SECONDS = 0.3
RECONCILE_SECONDS = 3.0
HEARTBEAT_SECONDS = 1.0
GRACE_SECONDS = {"cancel": 10.0, "end": 10.0}
"""How long a process may take to cancel, and to go away once its run has ended, before it is made to (TERM).

A stop has no such limit: it still evaluates, packs and verifies what it keeps. Who loses patience cancels."""
KILL_SECONDS = 5.0
"""From TERM to KILL."""
LOST_JOB = "The process that worked on this ended without a word, most often because memory ran out. Ask again, or for less at once."

_log = logging.getLogger(__name__)


def run_worker(home: Path, *, exit_when_idle: bool = False, experiment: str = EXPERIMENT, jobs: str = JOBS) -> None:
    """Works until SIGTERM or SIGINT, or until the queue is empty; returns at once where the workspace has a worker.

    Ends the process itself when told to leave a running child behind, because multiprocessing would wait for that child.
    """
    store = RunStore(home)
    lock = WorkerLock(store.home)
    worker = _Worker(store, experiment, jobs)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, worker.leave)
    while lock.take():
        _log.info("Worker %d drains %s.", os.getpid(), store.home)
        try:
            worker.drain(exit_when_idle)
        finally:
            lock.release()
        if worker.leaving and (worker.watched or worker.job):
            logging.shutdown()
            os._exit(0)
        # whoever queued a run and still saw this worker relies on this look after the lock is gone
        if worker.leaving or not (store.runs(status="queued") or store.jobs(status="queued")):
            return
    _log.info("Another worker drains %s.", store.home)


@dataclass(slots=True)
class _Watched:
    """A process that carries out a run or a job."""

    id: str
    """Of the run or the job."""
    pid: int
    process_started: float
    process: ForkServerProcess | None
    """None for one that an earlier worker started."""
    asked: dict[str, float] = field(default_factory=dict)
    """When each thing that it has to do was first seen, in monotonic seconds."""


class _Worker:
    """What is being watched, and the rules for starting, pressing and closing it."""

    def __init__(self, store: RunStore, experiment: str, jobs: str) -> None:
        self.store = store
        self.experiment = experiment
        self.jobs = jobs
        self.watched: list[_Watched] = []
        self.job: _Watched | None = None
        self.leaving = False
        # threads that wait by spinning make a step ten times slower as soon as anything else wants the processor
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # so that cuda:1 is the same card for torch and for the page, which asks NVML
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        # asked through NVML whether there is a card, the forkserver stays without CUDA, which would not survive a fork
        os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
        # a run's log is no terminal; this makes huggingface_hub draw its download bar there all the same
        os.environ.setdefault("TQDM_POSITION", "-1")
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([experiment, jobs, __name__, *(LOADED_BY_RUNS if experiment == EXPERIMENT else ())])

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
            if time.monotonic() - reconciled >= RECONCILE_SECONDS:
                self.reconcile()
                reconciled = time.monotonic()
            self.look_at_job()
            started = len(self.watched) < SLOTS and self.start_next()
            if exit_when_idle and not (started or self.watched or self.job):
                return
            busy = [*self.watched, *([self.job] if self.job else [])]
            wait([watched.process.sentinel for watched in busy if watched.process], timeout=POLL_SECONDS)
            for watched in list(self.watched):
                self.look_at(watched)

    def reconcile(self) -> None:
        """Brings rows that say 'running' in line with the processes there are: adopts the living, ends the others."""
        known = {watched.id for watched in self.watched}
        for run in self.store.runs(status="running"):
            if run.id in known:
                continue
            watched = _Watched(run.id, run.pid or 0, run.process_started or 0.0, None)
            if pid_alive(run.pid, run.process_started):
                _log.info("Adopted run %s in process %d.", run.id, watched.pid)
                self.watched.append(watched)
            else:
                self.close(watched, run)
        for job in self.store.jobs(status="running"):
            if (self.job is None or job.id != self.job.id) and not pid_alive(job.pid, job.process_started):
                self.store.finish_job(job.id, "interrupted", error=LOST_JOB)

    def look_at_job(self) -> None:
        """Starts the next job when none is going on, and ends the row of one whose process is gone."""
        if self.job is None:
            pid = os.getpid()
            claimed = self.store.claim_job(pid, started_at(pid))
            if claimed is not None:
                process = self.context.Process(target=_job_child, args=(self.store.home, claimed.id, self.jobs), name=f"job-{claimed.id}")
                process.start()
                assert process.pid is not None
                _log.info("Job %s (%s) is process %d.", claimed.id, claimed.kind, process.pid)
                self.job = _Watched(claimed.id, process.pid, started_at(process.pid), process)
        elif not pid_alive(self.job.pid, self.job.process_started):
            _signal_group(self.job.pid, signal.SIGKILL)
            self.store.finish_job(self.job.id, "interrupted", error=LOST_JOB)  # unless it ended its row itself
            self.job = None

    def start_next(self) -> bool:
        """Whether there was a queued run; it has a process now."""
        pid = os.getpid()
        run = self.store.claim(pid, started_at(pid))
        if run is None:
            return False
        process = self.context.Process(target=_child, args=(self.store.home, run.id, self.experiment), name=f"run-{run.id}")
        process.start()
        assert process.pid is not None
        _log.info("Run %s (%s) is process %d.", run.id, run.name, process.pid)
        self.watched.append(_Watched(run.id, process.pid, started_at(process.pid), process))
        return True

    def look_at(self, watched: _Watched) -> None:
        """Closes a process that is gone, presses one that is late."""
        run = self.row(watched)
        if pid_alive(watched.pid, watched.process_started):
            # a sentinel that fires while the process lives means that the forkserver is gone; the pid still tells
            if watched.process and watched.process.exitcode is not None:
                watched.process = None
            self.press(watched, "end" if run is None or run.status in ENDED else run.wish)
            return
        _signal_group(watched.pid, signal.SIGKILL)  # what the run started itself would keep the device's memory
        if watched.process:
            watched.process.join(timeout=1)
        run = self.row(watched)
        if run is not None:
            self.close(watched, run)
        self.watched.remove(watched)

    def row(self, watched: _Watched) -> Run | None:
        """The row of a run, unless it ended and was deleted at once; an adopted run names its process there."""
        try:
            run = self.store.run(watched.id)
        except StoreError:
            return None
        if watched.process is None and run.pid and run.process_started:
            watched.pid, watched.process_started = run.pid, run.process_started
        return run

    def press(self, watched: _Watched, wanted: str | None) -> None:
        """Sends TERM, later KILL, to a process that does not do what was asked of it."""
        if wanted not in GRACE_SECONDS:
            return
        late = time.monotonic() - watched.asked.setdefault(wanted, time.monotonic()) - GRACE_SECONDS[wanted]
        if late > 0:
            _signal_group(watched.pid, signal.SIGKILL if late > KILL_SECONDS else signal.SIGTERM)

    def close(self, watched: _Watched, run: Run) -> None:
        """Ends the row of a process that is gone, unless it did so itself."""
        if run.status in ENDED:
            return
        _log.warning("Run %s ended without a word.", run.id)
        if run.wish == "cancel":
            _discard(self.store.run_dir(run.id))
            self.store.finish(run.id, "cancelled")
        else:
            self.store.finish(run.id, "interrupted", error=_epitaph(watched, run.settings))


def _signal_group(pid: int, number: signal.Signals) -> None:
    """A child leads its own process group, so this reaches what it started, too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def _epitaph(watched: _Watched, settings: RunSettings) -> str:
    exitcode = watched.process.exitcode if watched.process else None
    if exitcode is None:
        return "The run's process is gone, and its worker was not there to see why (a restart, a kill, or too little memory). Run it again."
    if exitcode == -signal.SIGKILL:
        return f"The run's process was killed (signal 9), most often because memory ran out. {_memory_advice(settings)}"
    how = f"signal {-exitcode}" if exitcode < 0 else f"exit status {exitcode}"
    return f"The run's process ended without a word ({how}). Its log may say more; run it again."


def _memory_advice(settings: RunSettings) -> str:
    train = settings.train
    return (
        f"Lower context_rows (now {train.context_rows}), then batch_size (now {train.batch_size}), and run it again; "
        "the LoRA rank hardly changes the memory."
    )


def _discard(run_dir: Path) -> None:
    """Empties the folder of a cancelled run but for its log."""
    for path in run_dir.iterdir() if run_dir.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "log.txt":
            path.unlink()


def _child(home: Path, run_id: str, experiment: str) -> None:
    """One run in its own process: carries it out, and ends its row whatever happens."""
    os.setsid()
    store = RunStore(home)
    run_dir = store.run_dir(run_id)
    run_dir.mkdir(parents=True, exist_ok=True)
    _write_to(run_dir / "log.txt")
    fresh = FreshProcess()  # as long as there is one thread here
    store.set_process(run_id, os.getpid(), started_at(os.getpid()))
    threading.Thread(target=_beat, args=(store, run_id), name="heartbeat", daemon=True).start()
    settings = store.run(run_id).settings
    try:
        result = importlib.import_module(experiment).run_experiment(
            settings,
            home=store.home,
            run_dir=run_dir,
            emit=lambda event: store.append(run_id, event),
            wish=lambda: store.wish(run_id),
            fresh=fresh,
        )
    except Cancelled:
        _discard(run_dir)
        store.finish(run_id, "cancelled")
    except Exception as error:
        message = _explain(error, settings)
        store.append(run_id, RunFailed(message, type(error).__name__))
        store.finish(run_id, "failed", error=message)
        raise  # multiprocessing writes the trace to stderr, which is the log, and the exit status says that it failed
    else:
        if store.wish(run_id) == "cancel":  # asked for after the last look at it
            _discard(run_dir)
            store.finish(run_id, "cancelled")
        else:
            store.finish(run_id, result.outcome, result=result)


def _job_child(home: Path, job_id: str, jobs: str) -> None:
    """One job in its own process: carries it out, and ends its row whatever happens."""
    os.setsid()
    store = RunStore(home)
    folder = store.job_dir(job_id)
    folder.mkdir(parents=True, exist_ok=True)
    _write_to(folder / "log.txt")
    store.set_job_process(job_id, os.getpid(), started_at(os.getpid()))
    job = store.job(job_id)
    try:
        result = importlib.import_module(jobs).run_job(job.kind, home=store.home, folder=folder, arguments=job.arguments)
    except Exception as error:
        store.finish_job(
            job_id,
            "failed",
            error=str(error) if isinstance(error, TabTuneError) else _unexpected(error, f"the job's log, {folder / 'log.txt'}"),
        )
        raise  # for the log
    store.finish_job(job_id, "finished", result=result)


def _write_to(log: Path) -> None:
    """Sends everything that this process and its libraries print to a file."""
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)


def _beat(store: RunStore, run_id: str) -> None:
    while True:
        store.beat(run_id)
        time.sleep(HEARTBEAT_SECONDS)


def _explain(error: Exception, settings: RunSettings) -> str:
    """For the person: what happened and what to do."""
    if isinstance(error, TabTuneError):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return f"There was not enough memory. {_memory_advice(settings)}"
    return _unexpected(error, "the run's log")


def _unexpected(error: Exception, log: str) -> str:
    return f"Something unexpected happened ({type(error).__name__}: {error}). The trace is in {log}."
