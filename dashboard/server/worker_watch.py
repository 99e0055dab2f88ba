"""Keeps a worker at a workspace while runs wait, but does not start one for ever that cannot stay up.

In: how often a page looks. Out: a started worker, or why there is none.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tabtune_core.execution import lock as worker_lock

LOOK_SECONDS = 15.0
"""Between two looks: how long a worker may take to appear."""
MOST_STARTS = 3
LOG_LINES = 12
TAIL_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class WorkerTrouble:
    """A worker that was started and is not there."""

    starts: int
    log: Path
    last_lines: str


class WorkerWatch:
    """One a workspace, shared by all tabs."""

    def __init__(self, home: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.home, self._clock = home, clock
        self._lock = threading.Lock()
        self._next_look = -float("inf")
        self._starts = 0
        self._failed = False

    def start(self) -> None:
        """Starts a worker if none runs, as a person asked for it; earlier failures are forgotten."""
        with self._lock:
            self._starts, self._failed = 0, False
            self._try()

    def look(self) -> WorkerTrouble | None:
        """Starts a worker if none runs, at most three times in a row; says so when one that was started is not there."""
        with self._lock:
            alive = worker_lock.worker_alive(self.home)
            if self._clock() >= self._next_look:
                self._failed = not alive and self._starts > 0
                if alive:
                    self._starts = 0
                elif self._starts < MOST_STARTS:
                    self._try()
            if alive or not self._failed:
                return None
            log = self.home / "worker.log"
            return WorkerTrouble(self._starts, log, tail(log, LOG_LINES))

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
