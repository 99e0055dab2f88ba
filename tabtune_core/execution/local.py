"""The executor of this machine: one process a task, forked here, which writes to the store itself and outlives its worker.

In: runs of the queue. Out: processes on slots; signals, to nothing that may be another program's; why a process ended.
"""

import contextlib
import functools
import logging
import platform
import signal
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import Literal

import psutil

from tabtune_core.errors import StoreError
from tabtune_core.events import StopRequest
from tabtune_core.execution.child import run_child
from tabtune_core.execution.cluster_file import forget_cluster
from tabtune_core.execution.cores import Shares, cores_of, divide
from tabtune_core.execution.executor import LOCAL, Ended, Placement, State
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.memory_needs import MemoryNeeds
from tabtune_core.execution.processes import GRACE_SECONDS, Watched, cause, end, press, signal_group, start
from tabtune_core.execution.scheduler import Slots, device_of, is_on_cpu
from tabtune_core.machine import TIGHT, machine_memory
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

_log = logging.getLogger(__name__)


class LocalExecutor:
    """Processes of this machine. ``experiment`` is the module whose ``run_experiment`` carries out a run; ``shares`` how the cores are
    divided, as is usual unless given.
    """

    name = LOCAL

    def __init__(self, store: RunStore, context: ForkServerContext, experiment: str, *, shares: Shares | None = None) -> None:
        self.store, self.context, self.experiment = store, context, experiment
        self.shares = shares or divide()
        self.slots = Slots(self.shares)
        self.needs = MemoryNeeds(context, store)
        """Asked for where several go on at once."""
        self.waits = ""
        """Id of the run that was last said to wait for memory."""
        forget_cluster(store.home)
        _log.info("On the CPU %d at once; threads of each: %d.", self.shares.parallel, self.shares.threads)
        if self.shares.warning:
            _log.warning(self.shares.warning)

    def place(self, queued: Sequence[Run], going: Sequence[Watched]) -> Placement | None:
        """The first run that a free slot would do for; on the CPU, one that fits beside the others."""
        fits = functools.partial(self._fits, [task for task in going if is_on_cpu(task.slot)])
        chosen = self.slots.next(queued, [task.slot for task in going], fits)
        return Placement(chosen[0], chosen[1], platform.node()) if chosen else None

    def _fits(self, beside: Sequence[Watched], run: Run) -> bool:
        """Whether what is free has room for it and for what the others still grow by; one that is alone starts, as it was launched."""
        if not beside:
            return True
        held, need = [self.needs.of(task.id) for task in beside], self.needs.of(run.id)
        if need is None or None in held:
            return False
        to_come = sum(max(0.0, (of_task or 0.0) - _resident(task.pid)) for of_task, task in zip(held, beside, strict=True))
        free = machine_memory()[0]
        if to_come + need <= TIGHT * free:
            return True
        if self.waits != run.id:
            self.waits = run.id
            told = (run.id, need / 1e9, to_come / 1e9, free / 1e9)
            _log.info("Run %s waits: it needs about %.1f GB, those that go on may take %.1f GB more, and %.1f GB are free.", *told)
        return False

    def start(self, run: Run, placement: Placement) -> Watched | None:
        """Forks its process."""
        device, held = device_of(placement.slot), self.shares
        threads = None if device else held.threads
        cores = cores_of(placement.slot, ()) if threads and held.pinned else ()
        given = (self.store.home, run.id, self.experiment, device, cores, threads)
        process = self.context.Process(target=run_child, args=given, name=f"run-{run.id}")
        if (started := start(process)) is None:
            return None
        _log.info("Run %s is process %d on %s.", run.id, started, placement.slot)
        return Watched(run.id, started, identity_of(started), process, placement.slot)

    def adopt(self, runs: Sequence[Run]) -> list[Watched]:
        """By the processes that their rows name."""
        return [Watched(run.id, run.pid or 0, run.identity, None, self.slots.of(run)) for run in runs]

    def poll(self, task: Watched) -> State:
        """By the process itself; an adopted run names its process in its row, also one that its worker claimed and left at once."""
        if task.process is None:
            with contextlib.suppress(StoreError):  # ended and deleted at once
                run = self.store.run(task.id)
                if run.pid and run.identity:
                    task.pid, task.identity = run.pid, run.identity
        exitcode = task.process.exitcode if task.process else None  # before the look: one that ends in between is gone at the next
        state = found(task.pid, task.identity)
        # a sentinel that fires while the process lives means that the forkserver is gone; the pid still tells
        if state == "alive" and exitcode is not None:
            task.process = None
        return "gone" if state == "other" else state

    def ask(self, task: Watched, wish: StopRequest | Literal["end"] | None) -> None:
        """The run reads in the store what is asked of it; a process that is late is sent TERM, later KILL."""
        if wish in GRACE_SECONDS:
            press(task, wish, GRACE_SECONDS[wish])

    def end(self, task: Watched) -> bool:
        """TERM, then KILL."""
        return end(task.pid, task.identity)

    def collect(self, task: Watched) -> Ended:
        """Its files are in their place; what it started itself would keep the device's memory, and ends."""
        if task.identity and found(task.pid, task.identity) == "gone":
            signal_group(task.pid, signal.SIGKILL)
        self.needs.forget(task.id)
        return Ended(*cause(task, "run"))

    def let_go(self, tasks: Sequence[Watched]) -> None:
        """They write to the store themselves."""

    def wait(self, tasks: Sequence[Watched], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """For the end of a process; of adopted ones, which are no children of this one, until the time is over."""
        return bool(wait([*(task.process.sentinel for task in tasks if task.process), *jobs], timeout=timeout_seconds))


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0: it is gone."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
