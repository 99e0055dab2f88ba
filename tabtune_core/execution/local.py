"""The executor of this machine: one process a task, forked here, which writes to the store itself and outlives its worker.

In: runs of the queue. Out: processes on slots; signals, to nothing that may be another program's; why a process ended.
"""

import contextlib
import logging
import platform
import signal
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext

from tabtune_core.errors import StoreError
from tabtune_core.events import StopRequest
from tabtune_core.execution.child import NO_ROOM_STATUS, run_child
from tabtune_core.execution.executor import AGAIN, LOCAL, Ended, Placement, State
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.processes import GRACE_SECONDS, Watched, end, press, signal_group, start
from tabtune_core.execution.scheduler import Slots, device_of
from tabtune_core.machine import oom_kills
from tabtune_core.store.packs import fellows
from tabtune_core.store.runs import Run, RunStore

_log = logging.getLogger(__name__)


class LocalExecutor:
    """Processes of this machine. ``experiment`` is the module whose ``run_experiment`` carries out a run."""

    name = LOCAL

    def __init__(self, store: RunStore, context: ForkServerContext, experiment: str) -> None:
        self.store, self.context, self.experiment = store, context, experiment
        self.slots = Slots()

    def place(self, queued: Sequence[Run], going: Sequence[Watched]) -> Placement | None:
        """The first run that a free slot would do for, with those that train with it."""
        taken = {watched.slot for watched in going}
        chosen = None if self.slots.are_full(taken) else self.slots.next(queued, taken)
        if chosen is None:
            return None
        return Placement(tuple(fellows(chosen[0], queued)), chosen[1], platform.node())

    def start(self, runs: Sequence[Run], placement: Placement) -> Watched | None:
        """Forks their process."""
        ids = tuple(run.id for run in runs)
        given = (self.store.home, ids, self.experiment, device_of(placement.slot))
        process = self.context.Process(target=run_child, args=given, name=f"run-{ids[0]}")
        if (started := start(process)) is None:
            return None
        _log.info("Run %s is process %d on %s.", " and ".join(ids), started, placement.slot)
        return Watched(ids, started, identity_of(started), process, placement.slot)

    def adopt(self, runs: Sequence[Run]) -> list[Watched]:
        """One for each process that their rows name."""
        groups: dict[tuple[int, str | None], list[Run]] = {}
        for run in runs:
            groups.setdefault((run.pid or 0, run.identity), []).append(run)
        return [
            Watched(tuple(run.id for run in group), pid, identity, None, self.slots.of(group[0]))
            for (pid, identity), group in groups.items()
        ]

    def poll(self, task: Watched) -> State:
        """By the process itself; an adopted run names its process in its row, also one that its worker claimed and left at once."""
        if task.process is None:
            with contextlib.suppress(StoreError):  # ended and deleted at once
                run = self.store.run(task.ids[0])
                if run.pid and run.identity:
                    task.pid, task.identity = run.pid, run.identity
        state = found(task.pid, task.identity)
        # a sentinel that fires while the process lives means that the forkserver is gone; the pid still tells
        if state == "alive" and task.process and task.process.exitcode is not None:
            task.process = None
        return "gone" if state == "other" else state

    def ask(self, task: Watched, wishes: Mapping[str, StopRequest | None]) -> None:
        """The runs read in the store what is asked of them; a process that is late is sent TERM, later KILL."""
        wanted: set[str | None] = {*wishes.values()} or {"end"}
        if len(wanted) == 1 and (only := wanted.pop()) is not None and only in GRACE_SECONDS:
            press(task, only, GRACE_SECONDS[only])

    def end(self, task: Watched) -> bool:
        """TERM, then KILL."""
        return end(task.pid, task.identity)

    def collect(self, task: Watched) -> Ended:
        """Its files are in their place; what it started itself would keep the device's memory, and ends."""
        if task.identity and found(task.pid, task.identity) == "gone":
            signal_group(task.pid, signal.SIGKILL)
        if task.process:
            task.process.join(timeout=1)
        return _why(task)

    def wait(self, tasks: Sequence[Watched], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """For the end of a process; of adopted ones, which are no children of this one, until the time is over."""
        return bool(wait([*(task.process.sentinel for task in tasks if task.process), *jobs], timeout=timeout_seconds))


def _why(task: Watched) -> Ended:
    exitcode = task.process.exitcode if task.process else None
    if exitcode is None:
        gone = "The run's process is gone, and its worker was not there to see why (a restart, a kill, or too little memory)."
        return Ended(gone, AGAIN)
    if exitcode == NO_ROOM_STATUS:
        lacked = "The run's process had no room on a disk, or lacked something else that comes back, for too long."
        return Ended(lacked, "Its log may say more; make room, and resume it.")
    if exitcode == -signal.SIGKILL:
        now = oom_kills()
        if now is not None and task.oom_kills is not None and now > task.oom_kills:
            return Ended("The system ended the run's process (signal 9), because memory ran out.", "")
        return Ended("The run's process was killed (signal 9), most often because memory ran out.", "")
    how = f"signal {-exitcode}" if exitcode < 0 else f"exit status {exitcode}"
    return Ended(f"The run's process ended without an error message ({how}).", "Its log may say more; resume it, or run it again.")
