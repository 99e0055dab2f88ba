"""Keeps a worker running in a workspace, and restarts one that keeps ending less and less often.

In: calls of ``look`` by the server, a page or the command line. Out: a started worker, or why no worker runs.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from tabtune_core.errors import ShortageError, StoreError
from tabtune_core.execution import lock as worker_lock
from tabtune_core.execution.cluster_file import why_not_joined
from tabtune_core.shortage import named, why_nothing_starts
from tabtune_core.store.runs import RunStore

LOOK_SECONDS = 15.0
"""Between two checks: how long a worker may take to appear."""
QUICK_STARTS, LONGEST_SECONDS = 3, 300.0
"""The first QUICK_STARTS starts in a row are LOOK_SECONDS apart; the pause then doubles, up to LONGEST_SECONDS."""
STEADY_SECONDS = 10.0
"""Once a worker has run for so long, earlier failures are forgotten."""
TURN_SECONDS = 2.0
"""Between two checks of the server, which checks while no page does."""
LOG_LINES = 12
TAIL_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class WorkerTrouble:
    """A problem of the worker that a person has to know."""

    why: Literal["no room", "ended", "stopped", "suspended"]
    """The disk is full or read-only; the worker was started and is gone; a person stopped it; it was sent STOP."""
    log: Path
    what: str = ""
    """What the machine lacks, or why there is no cluster to join, in sentences; else empty."""
    starts: int = 0
    """Number of starts in a row."""
    next_seconds: float = 0.0
    """Seconds until the next start."""
    last_lines: str = ""
    """The last lines of its log."""
    pid: int = 0


class WorkerWatch:
    """One per workspace and process, shared by all tabs."""

    def __init__(
        self, home: Path, *, exit_when_idle: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.home, self.log, self._exit_when_idle, self._clock = home, home / "worker.log", exit_when_idle, clock
        self._lock = threading.Lock()
        self._next_look = -float("inf")
        self._up = 0.0
        """When the last worker was first seen; like ``_next_look``, in seconds of ``clock``."""
        self._starts = 0
        self._failed = False
        self._lacking = ""
        """What the machine lacked at the last check or start."""

    def start(self) -> None:
        """Starts a worker at a person's request if it does not run, and forgets earlier failures.

        Raises:
            ShortageError: the machine lacks what a process needs.
        """
        with self._lock:
            self._starts, self._failed = 0, False
            worker_lock.want_worker(self.home)
            self._start()

    def look(self) -> WorkerTrouble | None:
        """Starts a worker if none runs and it is time; returns what a person has to know, or None."""
        with self._lock:
            try:
                with named(folder=self.home):
                    return self._look()
            except ShortageError as error:
                self._lacking = str(error)
                return WorkerTrouble("no room", self.log, self._lacking)

    def _look(self) -> WorkerTrouble | None:
        now, worker = self._clock(), worker_lock.worker_of(self.home)
        if worker is not None:
            self._up = self._up or now
            if self._starts and now - self._up >= STEADY_SECONDS:
                self._starts, self._next_look = 0, min(self._next_look, now + LOOK_SECONDS)
        if lacking := why_nothing_starts(self.home):
            return WorkerTrouble("no room", self.log, lacking)
        if worker is None and worker_lock.is_stopped(self.home):
            return WorkerTrouble("stopped", self.log)
        if worker is not None:
            return WorkerTrouble("suspended", self.log, pid=worker.pid) if worker.suspended else None
        if now >= self._next_look:
            self._failed = self._starts > 0
            self._start()
        if self._lacking:
            return WorkerTrouble("no room", self.log, self._lacking)
        if not self._failed:
            return None
        seconds = self._next_look - now
        last = tail(self.log, LOG_LINES)
        return WorkerTrouble("ended", self.log, why_not_joined(self.home), self._starts, seconds, last)

    def _start(self) -> None:
        self._starts += 1
        self._up, self._lacking = 0.0, ""
        self._next_look = self._clock() + min(LOOK_SECONDS * 2 ** max(0, self._starts - QUICK_STARTS), LONGEST_SECONDS)
        worker_lock.ensure_worker(self.home, exit_when_idle=self._exit_when_idle, unless_stopped=True)


@cache
def watch_of(home: Path) -> WorkerWatch:
    """Returns this process's watch of a workspace."""
    return WorkerWatch(home)


@contextmanager
def watched(store: RunStore) -> Iterator[None]:
    """Runs a thread during the block that keeps a worker in the workspace while a run or job waits or runs there."""
    ended = threading.Event()

    def keep_looking() -> None:
        watch = watch_of(store.home)
        while not ended.wait(TURN_SECONDS):
            with suppress(
                ShortageError, StoreError
            ):  # the database may be readable at the next turn; the pages say what is wrong
                if store.has_work():
                    watch.look()

    thread = threading.Thread(target=keep_looking, name="worker-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def tail(path: Path, lines: int) -> str:
    """Returns the last lines of a text file, or why it cannot be read; empty without a file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
