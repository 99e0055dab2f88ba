"""One worker per workspace: finds which worker holds the lock, stops it, and starts one if none runs.

The lock on ``worker.lock`` decides, so it cannot go stale and works across containers; ``worker.json`` only says whose
it is. A worker is stopped by a file instead of a signal, which also works from another container.
"""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tabtune_core.errors import MovedError, StoreError
from tabtune_core.execution.identity import identity_of, is_suspended
from tabtune_core.files.whole import write_text
from tabtune_core.shortage import named
from tabtune_core.store.row_values import check_row, is_time
from tabtune_core.upstream import DISTRIBUTION, installed

LOCK, HOLDER, STOPPED = "worker.lock", "worker.json", "worker.stopped"
STARTED_BY = "--started-by"
"""Flag of a worker that a program started: see ``run_worker``."""
TAKE_SECONDS = 0.5
"""How long to try for the lock: a process that asks whether there is a worker holds it for some microseconds."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker of a workspace, as it describes itself."""

    pid: int = 0
    """0: not written yet."""
    identity: str | None = None
    version: str = ""
    """Version of the package that it has loaded."""
    since: float = 0.0
    """Unix seconds at which it took the lock, for people; 0: not written."""

    @property
    def suspended(self) -> bool:
        """Whether the worker was sent STOP: it holds the lock and does nothing."""
        return is_suspended(self.pid, self.identity)


class WorkerLock:
    """Held by the one worker of a workspace until it is released or its process ends.

    Raises:
        StoreError: the file of the lock cannot be opened.
    """

    def __init__(self, home: Path) -> None:
        self._home, self._lock = home, FileLock(home / LOCK)
        try:
            (home / LOCK).touch(0o600)
        except OSError as error:
            raise StoreError(
                f"No worker can run in the workspace {home}: {error}. Choose another folder with --home or "
                "TABTUNE_HOME."
            ) from error

    def take(self, patience_seconds: float = TAKE_SECONDS) -> bool:
        """Tries to take the lock; returns whether this process is the worker now.

        Raises:
            ShortageError: the lock was free, but the description of this worker cannot be written.
        """
        try:
            self._lock.acquire(timeout=patience_seconds, poll_interval=0.02)
        except Timeout:
            return False
        pid = os.getpid()
        holder = Holder(pid, identity_of(pid), installed(DISTRIBUTION) or "", time.time())
        try:
            with named(f"The worker of {self._home} could not write its lock file", self._home):
                write_text(self._home / HOLDER, json.dumps(asdict(holder)))
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Lets another worker in."""
        self._lock.release()


def worker_of(home: Path) -> Holder | None:
    """Returns the worker of the workspace; None without a worker."""
    if not (home / LOCK).exists():
        return None
    try:
        with FileLock(home / LOCK, timeout=0):
            return None
    except Timeout:
        return _described(home / HOLDER)


def _described(file: Path) -> Holder:
    try:
        holder = check_row(Holder(**json.loads(file.read_bytes())))
    except (OSError, ValueError, TypeError, RecursionError):
        return Holder()
    return holder if is_time(holder.since) else Holder(holder.pid, holder.identity, holder.version)


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
    with named(f"The worker of {home} could not be started", home, starting=True):
        if not unless_stopped:
            want_worker(home)
        elif is_stopped(home):
            return
        if worker_of(home) is not None:
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
