"""Keeps a worker of this version at a workspace while runs wait, but does not start one for ever that cannot stay up.

In: how often a page looks. Out: a started worker, or why there is none that works.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.cluster_file import why_not_joined
from tabtune_core.shortage import why_nothing_starts

LOOK_SECONDS = 15.0
"""Between two looks: how long a worker may take to appear."""
MOST_STARTS = 3
LOG_LINES = 12
TAIL_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class WorkerTrouble:
    """What a person has to know of the worker."""

    why: Literal["no room", "ended", "stopped", "suspended", "outdated"]
    """Its disk is full or read-only; it was started and is not there; a person ended it; it was sent STOP and does nothing; it has other
    code than this program."""
    log: Path
    what: str = ""
    """What the machine lacks, or why there is no cluster to join, in sentences; else empty."""
    starts: int = 0
    last_lines: str = ""
    """Of its log."""
    pid: int = 0
    version: str = ""
    """Of the code of one that is there."""
    can_be_asked: bool = True
    """Whether it can be asked to make way; one of an earlier version cannot."""


class WorkerWatch:
    """One a workspace, shared by all tabs."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.home, self._clock = home, clock
        self._lock = threading.Lock()
        self._next_look = -float("inf")
        self._starts = 0
        self._failed = False
        self._outdated = False
        self._replaced: set[str] = set()
        """Versions that were asked to make way, each once: two programs of two versions shall not go on replacing each other's worker."""

    def start(self) -> None:
        """Starts a worker if none runs, as a person asked for it; earlier failures are forgotten."""
        with self._lock:
            self._starts, self._failed = 0, False
            self._try()

    def look(self) -> WorkerTrouble | None:
        """Starts a worker if none runs, at most three times in a row; says so when one that was started is not there."""
        with self._lock:
            worker, log = worker_lock.worker_of(self.home), self.home / "worker.log"
            if lacking := why_nothing_starts(self.home):
                return WorkerTrouble("no room", log, lacking)
            if worker is None and worker_lock.is_stopped(self.home):
                return WorkerTrouble("stopped", log)
            if self._clock() >= self._next_look:
                self._look_closely(worker)
            if worker is None:
                if not self._failed:
                    return None
                return WorkerTrouble("ended", log, why_not_joined(self.home), starts=self._starts, last_lines=tail(log, LOG_LINES))
            if worker.suspended or self._outdated:
                why: Literal["suspended", "outdated"] = "suspended" if worker.suspended else "outdated"
                return WorkerTrouble(why, log, pid=worker.pid, version=worker.version, can_be_asked=worker.identity is not None)
            return None

    def _look_closely(self, worker: worker_lock.Holder | None) -> None:
        self._failed = worker is None and self._starts > 0
        self._outdated = worker is not None and worker.outdated
        if worker is None:
            if self._starts < MOST_STARTS:
                self._try()
            return
        self._starts, self._next_look = 0, self._clock() + LOOK_SECONDS
        if self._outdated and worker.version not in self._replaced:
            self._replaced.add(worker.version)
            worker_lock.ensure_worker(self.home)

    def _try(self) -> None:
        self._starts += 1
        self._next_look = self._clock() + LOOK_SECONDS
        worker_lock.ensure_worker(self.home)


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file; empty when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
