"""The processes of runs and jobs as their worker sees them.

In: a process to start. Out: whether it goes on, and why it is gone. Its worker's end is its own end: ``child.py``.
"""

import logging
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from typing import Literal

from tabtune_core.execution.child import NO_ROOM_STATUS
from tabtune_core.execution.identity import identity_of, kill, kill_group
from tabtune_core.shortage import shortage_of

GRACE_SECONDS = 10.0
"""How long a run's process may take to cancel, and any process to exit once its row has ended, before it is killed.

A stop has no such limit, because the run still evaluates, packs and verifies its result; a person can cancel instead.
"""
AGAIN = {"run": "resume it, or run it again", "job": "ask again"}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Watched:
    """A process that carries out a run or a job."""

    id: str
    """Id of the run or the job."""
    process: ForkServerProcess
    """Keep it while the process runs: once it is dropped, the process takes its worker for gone, and ends."""
    slot: str = ""
    """The slot of a run, or the lane of a job."""
    identity: str | None = None
    asked: dict[str, float] = field(default_factory=dict)
    """When each request was first seen, in monotonic seconds."""
    since: float = field(default_factory=time.monotonic)
    """When it was started, in monotonic seconds."""

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
    """Starts the process of a run or job; None if the forkserver was killed: the next process starts another."""
    try:
        process.start()
    except (EOFError, OSError) as error:
        why = shortage_of(error, starting=True) or str(error) or "the forkserver is gone"
        _log.warning("No process could be started (%s).", why)
        return None
    return Watched(for_id, process, slot, identity_of(process.pid or 0))


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
