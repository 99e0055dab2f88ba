"""Processes: which one a recorded pid is, how runs and jobs are forked, and why one is gone.

In: a pid with its recorded identity, or a process to start. Out: signals, never to another program's process. A
process of a run or job ends with its worker: ``child.py``.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Literal

import psutil

from tabtune_core.shortage import shortage_of
from tabtune_core.store.event_log import AGAIN_SECONDS, PATIENCE_SECONDS
from tabtune_core.store.jobs import KINDS

SAME_SECONDS = 5.0
"""Most difference of two readings of one creation time: Linux derives it from a clock that is adjusted meanwhile."""
END_SECONDS = 5.0
"""How long a killed process may take to end; one that waits for a disk does not end sooner."""
GRACE_SECONDS = 10.0
"""How long a run's process may take to cancel, and any process to exit once its row has ended, before it is killed.

A stop has no such limit, because the run still evaluates, packs and verifies its result; a person can cancel instead.
"""
NO_ROOM_STATUS = os.EX_TEMPFAIL
"""Exit status of a process whose run could not continue or report it, because of a shortage that may pass."""
AGAIN = {"run": "resume it, or run it again", "job": "ask again"}
EXPERIMENT = "tabtune_core.engine.experiment"
"""Module whose ``run_experiment`` carries out a run."""
JOBS = "tabtune_core.execution.jobs"
"""Module whose ``run_job`` carries out a job."""
LOADED_BY_RUNS = ("torch._dynamo", "tabtune_core.models.tabicl.model", "tabtune_core.models.tabdpt.model")
"""Modules that every run would load itself: torch._dynamo, which the first optimizer needs, takes over a second."""
RUN_ENVIRONMENT = {
    # threads that spin while they wait make a step ten times slower as soon as anything else uses the processor
    "OMP_WAIT_POLICY": "PASSIVE",
    # huge pages for large tensors: a step on the CPU takes about 5 % less time, and the same memory
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # torch checks for a GPU through NVML, so that the forkserver does not start CUDA, which would not survive a fork
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    # makes huggingface_hub draw its download bar in a run's log, although that is not a terminal
    "TQDM_POSITION": "-1",
}
"""Environment of the processes that carry out runs and jobs; values that the worker's own environment has are kept."""
CARD_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
"""Overrides the worker's own environment, so that cuda:1 is the same GPU for torch as for the page, which asks NVML."""

_log = logging.getLogger(__name__)


def identity_of(pid: int) -> str | None:
    """Returns the creation time of a process, in unix seconds; None if it has ended."""
    with contextlib.suppress(psutil.Error, ValueError, OverflowError):
        process = psutil.Process(pid)
        if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return f"{process.create_time():.2f}"
    return None


def is_alive(pid: int | None, identity: str | None) -> bool:
    """Whether the very process that was recorded as ``pid`` and ``identity`` runs, or is suspended."""
    there = identity_of(pid) if pid and identity else None
    try:
        return there is not None and abs(float(there) - float(identity or "")) < SAME_SECONDS
    except ValueError:  # a damaged row
        return False


def kill(pid: int | None, identity: str | None) -> bool:
    """Kills a process of a run or a job, which leads a process group; returns whether it has ended."""
    deadline = time.monotonic() + END_SECONDS
    while pid and is_alive(pid, identity):
        kill_group(pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    if pid and identity and identity_of(pid) is None and float(identity) > psutil.boot_time():
        kill_group(pid)  # what a process that has ended has started would keep the device's memory
    return True


def kill_group(pid: int) -> None:
    """Sends KILL to a process and its group, which does not exist before the process has begun."""
    for send in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def forkserver(experiment: str, jobs: str) -> ForkServerContext:
    """Returns the context whose processes are forks of one that has torch loaded, but never CUDA.

    Sets this process's environment, which its children inherit; the forkserver starts with the first child.
    """
    for name, value in RUN_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(CARD_ORDER)
    context = multiprocessing.get_context("forkserver")
    loaded = [experiment, jobs, "tabtune_core.execution.child"]
    loaded += LOADED_BY_RUNS if experiment == EXPERIMENT else ()
    loaded += {f"{JOBS}.{function.partition('.')[0]}" for function in KINDS.values()} if jobs == JOBS else ()
    context.set_forkserver_preload(loaded)
    return context


@dataclass(slots=True)
class Watched:
    """A process that carries out a run or a job, as its worker sees it."""

    id: str
    """Id of the run or the job."""
    process: ForkServerProcess
    """Keep it while the process runs: once it is dropped, the process takes its worker for gone, and ends."""
    slot: str = ""
    """The slot of a run, or the lane of a job."""
    identity: str | None = None
    asked: dict[str, float] = field(default_factory=dict)
    """When each request was first seen, in monotonic seconds."""

    @property
    def pid(self) -> int:
        """Returns the process id."""
        return self.process.pid or 0

    @property
    def goes_on(self) -> bool:
        """Whether the process has not ended."""
        return self.process.exitcode is None

    def press(self, wanted: str, *, at_once: bool = False) -> None:
        """Kills a process that has not done what was asked of it, after GRACE_SECONDS or ``at_once``."""
        since = self.asked.setdefault(wanted, time.monotonic())
        if at_once or time.monotonic() - since >= GRACE_SECONDS:
            kill_group(self.pid)

    def end(self) -> bool:
        """Kills the process with everything that it started; returns whether it has ended."""
        return kill(self.pid, self.identity)


def start(process: ForkServerProcess, for_id: str, slot: str) -> Watched | None:
    """Starts the process of a run or job; None if that failed for PATIENCE_SECONDS.

    Another try starts another forkserver, if this one was killed.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            process.start()
            return Watched(for_id, process, slot, identity_of(process.pid or 0))
        except (EOFError, OSError) as error:
            why = shortage_of(error) or str(error) or "the forkserver is gone"
            _log.warning("No process could be started (%s).", why)
            if time.monotonic() > deadline:
                return None
        time.sleep(AGAIN_SECONDS)


def cause(watched: Watched, what: Literal["run", "job"]) -> tuple[str, str]:
    """Says why a process that reported no error is gone, and what to do; the latter is empty if memory ran out."""
    exitcode, again, its = watched.process.exitcode, AGAIN[what], f"{what}'s process"
    if exitcode == NO_ROOM_STATUS:
        lacked = f"For too long, the {its} had no room on a disk or lacked another resource."
        return lacked, f"Its log may say more; make room, then {again}."
    if exitcode == -signal.SIGKILL:
        return f"The {its} was killed (signal 9), most often because memory ran out.", ""
    how = f"signal {-exitcode}" if exitcode and exitcode < 0 else f"exit status {exitcode}"
    return f"The {its} ended without an error message ({how}).", f"Its log may say more; {again}."
