"""One worker per workspace: finds which worker holds the lock, stops it, starts one, and keeps one running.

The lock on ``worker.lock`` decides, so it cannot go stale and works across containers; ``worker.pid`` only says whose
it is. A worker is stopped by a file instead of a signal, which also works from another container.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from tabtune_core.errors import MovedError, ShortageError, StoreError
from tabtune_core.execution.cluster import why_not_joined
from tabtune_core.files.whole import write_text
from tabtune_core.shortage import named, why_nothing_starts
from tabtune_core.store.runs import RunStore

LOCK, HOLDER, STOPPED = "worker.lock", "worker.pid", "worker.stopped"
STARTED_BY = "--started-by"
"""Flag of a worker that a program started: see ``run_worker``."""
TAKE_SECONDS = 0.5
"""How long to try for the lock: a process that asks whether there is a worker holds it for some microseconds."""
LOOK_SECONDS = 15.0
"""Between two starts. Once a worker has run for so long, earlier failures are forgotten."""
TURN_SECONDS = 2.0
"""Between two checks of the server, which checks while no page does."""
LOG_LINES, TAIL_BYTES = 12, 200_000


class WorkerLock:
    """Held by the one worker of a workspace until it is released or its process ends; StoreError if it has no file."""

    def __init__(self, home: Path) -> None:
        self._home, self._lock = home, FileLock(home / LOCK)
        try:
            (home / LOCK).touch(0o600)
        except OSError as error:
            choose = "Choose another folder with --home or TABTUNE_HOME."
            raise StoreError(f"No worker can run in the workspace {home}: {error}. {choose}") from error

    def take(self, patience_seconds: float = TAKE_SECONDS) -> bool:
        """Tries to take the lock; returns whether this process is the worker now.

        Raises:
            ShortageError: the lock was free, but the description of this worker cannot be written.
        """
        try:
            self._lock.acquire(timeout=patience_seconds, poll_interval=0.02)
        except Timeout:
            return False
        try:
            with named(f"The worker of {self._home} could not write its lock file", self._home):
                write_text(self._home / HOLDER, str(os.getpid()))
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Lets another worker in."""
        self._lock.release()


def worker_of(home: Path) -> int | None:
    """Returns the process id of the workspace's worker, 0 if it has not written it yet; None without a worker."""
    if not (home / LOCK).exists():
        return None
    try:
        with FileLock(home / LOCK, timeout=0):
            return None
    except Timeout:
        with suppress(OSError, ValueError):
            return int((home / HOLDER).read_bytes())
        return 0


def stop_workers(home: Path) -> None:
    """Ends the worker at a person's request: it ends within a second, and no program starts one until a person does."""
    (home / STOPPED).touch()


def want_worker(home: Path) -> None:
    """Takes back ``stop_workers``."""
    (home / STOPPED).unlink(missing_ok=True)


def is_stopped(home: Path) -> bool:
    """Whether a person stopped the worker."""
    return (home / STOPPED).exists()


def ensure_worker(home: Path, *, exit_when_idle: bool = False, unless_stopped: bool = False) -> None:
    """Starts a worker that outlives this process, unless one runs; it ends when idle once this process has ended.

    This takes back ``stop_workers``; with ``unless_stopped``, nothing starts while a person has stopped the worker.

    Two that start at once are harmless: the second ends itself. Queue the runs first: an idle worker checks the queue
    once more after it has released the lock. While a worker that this process started is alive, no other is started.

    Raises:
        MovedError: there is no workspace.
        ShortageError: the machine lacks what a process needs.
    """
    with named(f"The worker of {home} could not be started", home):
        if not unless_stopped:
            want_worker(home)
        if is_stopped(home) or worker_of(home) is not None:
            return
        if not (home / "runs.sqlite").exists():
            raise MovedError(home)
        command = [sys.executable, "-m", "tabtune_core", "worker", STARTED_BY, str(os.getpid())]
        command += ["--home", str(home.absolute()), *["--exit-when-idle"] * exit_when_idle]
        with _starting:
            if (started := _started.get(home.absolute())) is not None and started.poll() is None:
                return  # it is loading
            with (home / "worker.log").open("ab") as log:
                process = _started[home.absolute()] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        # collects its exit status, or it stays behind as a zombie
        threading.Thread(target=process.wait, name="worker-exit", daemon=True).start()


_started: dict[Path, subprocess.Popen[bytes]] = {}
_starting = threading.Lock()


@dataclass(frozen=True, slots=True)
class WorkerTrouble:
    """A problem of the worker that a person has to know."""

    why: Literal["no room", "ended", "stopped"]
    """The disk is full or read-only; the worker was started and is gone; a person stopped it."""
    log: Path
    what: str = ""
    """What the machine lacks, or why there is no cluster to join, in sentences; else empty."""
    starts: int = 0
    """Number of starts in a row."""
    last_lines: str = ""
    """The last lines of its log."""


class WorkerWatch:
    """Starts a worker that has ended again; one per workspace and process, shared by all tabs."""

    def __init__(
        self, home: Path, *, exit_when_idle: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.home, self.log, self._exit_when_idle, self._clock = home, home / "worker.log", exit_when_idle, clock
        self._lock = threading.Lock()
        self._started, self._starts = -float("inf"), 0
        """When a worker was started last, in seconds of ``clock``, and the starts in a row without one that stayed."""
        self._lacking = ""
        """What the machine lacked at the last check or start."""

    def start(self) -> None:
        """Starts a worker at a person's request and forgets earlier failures; raises ShortageError if it cannot."""
        with self._lock:
            self._starts = 0
            want_worker(self.home)
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
        due, worker = self._clock() - self._started >= LOOK_SECONDS, worker_of(self.home)
        if worker is not None and due:
            self._starts = 0
        if lacking := why_nothing_starts(self.home):
            return WorkerTrouble("no room", self.log, lacking)
        if worker is not None:
            return None
        if is_stopped(self.home):
            return WorkerTrouble("stopped", self.log)
        if due:
            self._start()
        if self._lacking:
            return WorkerTrouble("no room", self.log, self._lacking)
        if self._starts < 2:
            return None
        return WorkerTrouble("ended", self.log, why_not_joined(self.home), self._starts, tail(self.log, LOG_LINES))

    def _start(self) -> None:
        self._starts += 1
        self._started, self._lacking = self._clock(), ""
        ensure_worker(self.home, exit_when_idle=self._exit_when_idle, unless_stopped=True)


@cache
def watch_of(home: Path) -> WorkerWatch:
    """Returns this process's watch of a workspace."""
    return WorkerWatch(home)


@contextmanager
def watched(store: RunStore) -> Iterator[None]:
    """Runs a thread during the block that keeps a worker in the workspace while a run or job waits or runs there."""
    ended = threading.Event()

    def keep_looking() -> None:
        while not ended.wait(TURN_SECONDS):
            with suppress(ShortageError, StoreError):  # it may pass; the pages say what is wrong
                if store.has_work():
                    watch_of(store.home).look()

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
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}."
