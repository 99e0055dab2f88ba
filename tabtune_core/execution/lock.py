"""One worker per workspace: finds which worker holds the lock, asks it to leave, and starts one if none runs.

The kernel's lock on ``worker.lock`` decides, so it cannot go stale and works across containers; the content of the file
only says whose it is. A worker is asked to leave by a file instead of a signal, which also works from another
container.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tabtune_core.errors import MovedError, ShortageError, StoreError
from tabtune_core.execution.identity import identity_of, is_suspended
from tabtune_core.shortage import named
from tabtune_core.store.row_values import check_row, is_time
from tabtune_core.upstream import DISTRIBUTION, installed_now

PACKAGE = Path(__file__).parents[1]


def code_version(package: Path = PACKAGE) -> str:
    """Returns the version of the code on disk, which a new process would load: the package's version and 8 digits of
    its sources' hash.
    """
    digest = hashlib.sha256()
    for path in sorted((*package.rglob("*.py"), *package.rglob("*.sql"))):
        digest.update(f"{path.relative_to(package)}\0".encode())
        digest.update(path.read_bytes())
    number = installed_now(DISTRIBUTION) or "0"  # run from a folder, not installed
    return f"{number}+{digest.hexdigest()[:8]}"


LOCK, LEAVE, STOPPED = "worker.lock", "worker.leave", "worker.stopped"
WHEN_IDLE = " when idle"
"""Follows the worker's identity in LEAVE if it is to end only once its queue is empty."""
UNLESS_STOPPED = "--unless-stopped"
"""Flag of a worker that a program started: it ends at once if a person has stopped the worker meanwhile."""
TAKE_SECONDS = 0.5
"""How long to try for the lock: a process that asks whether there is a worker holds it for some microseconds."""
MAKE_WAY_SECONDS = 60.0
"""How long to wait for a worker that was asked to leave: it may still be loading modules."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The worker of a workspace, as described in the file of the lock."""

    pid: int = 0
    """0: not written yet."""
    identity: str | None = None
    """None for a worker of an earlier version, which did not write it."""
    version: str = "an earlier one"
    """``code_version`` at its start: the code that it has loaded."""
    since: float = 0.0
    """Unix seconds at which it took the lock, for people; 0: not written."""

    @property
    def suspended(self) -> bool:
        """Whether the worker was sent STOP: it holds the lock and does nothing."""
        return is_suspended(self.pid, self.identity)

    @property
    def outdated(self) -> bool:
        """Whether a worker started now would have other code."""
        return self.pid != 0 and self.version != code_version()


class WorkerLock:
    """Held by the one worker of a workspace until it is released or its process ends.

    Raises:
        StoreError: the file of the lock cannot be opened.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._mine: Holder | None = None
        try:
            self._file = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
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
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.02)
        pid = os.getpid()
        self._mine = Holder(pid, identity_of(pid), code_version(), time.time())
        try:
            with named(f"The worker of {self._home} could not write its lock file", self._home):
                self._write(json.dumps(asdict(self._mine)).encode())
        except ShortageError:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            raise
        return True

    def _write(self, content: bytes) -> None:
        """Overwrites the file and shortens it only afterwards: a full disk may not give freed space back."""
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def asked_to_leave(self, *, when_idle: bool = False) -> bool:
        """Whether this very worker was asked to end, at once or ``when_idle``."""
        try:
            return (
                self._mine is not None
                and (self._home / LEAVE).read_text() == f"{self._mine.identity}{WHEN_IDLE * when_idle}"
            )
        except (OSError, ValueError):  # there is no such file, or it is damaged
            return False

    def release(self) -> None:
        """Lets another worker in."""
        self._write(b"{}")
        fcntl.flock(self._file, fcntl.LOCK_UN)


def worker_of(home: Path) -> Holder | None:
    """Returns the worker of the workspace; None without a worker."""
    try:
        file = os.open(home / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _written(os.pread(file, 4096, 0))
    else:
        return None
    finally:
        os.close(file)


def _written(content: bytes) -> Holder:
    try:
        told = json.loads(content)
        holder = check_row(Holder(**{name: told[name] for name in Holder.__dataclass_fields__ if name in told}))
    except (ValueError, TypeError, RecursionError):
        return Holder()
    return holder if is_time(holder.since) else replace(holder, since=0.0)


def ask_to_leave(home: Path, worker: Holder, *, when_idle: bool = False) -> bool:
    """Asks a worker to end: ``when_idle`` once nothing waits or runs, else at once, leaving its runs to the next
    worker.

    Returns False for a worker of an earlier version, which cannot be asked.
    """
    if worker.identity is None:
        return False
    (home / LEAVE).write_text(f"{worker.identity}{WHEN_IDLE * when_idle}")
    return True


def let_go(home: Path) -> None:
    """Asks the worker that this process started, if it is still that of the workspace, to end once nothing waits or
    runs.
    """
    started, worker = _started.get(home.absolute()), worker_of(home)
    if started is not None and worker is not None and worker.pid == started.pid and started.poll() is None:
        asked = (home / LEAVE).read_bytes() if (home / LEAVE).exists() else b""
        if asked.decode(errors="replace") != worker.identity:  # else it is to end at once
            ask_to_leave(home, worker, when_idle=True)


def stop_workers(home: Path) -> None:
    """Records that a person stopped the worker; pages do not start one until a person does."""
    (home / STOPPED).touch()


def want_worker(home: Path) -> None:
    """Takes back ``stop_workers``."""
    (home / STOPPED).unlink(missing_ok=True)


def is_stopped(home: Path) -> bool:
    """Whether a person stopped the worker."""
    return (home / STOPPED).exists()


def ensure_worker(home: Path, *, exit_when_idle: bool = False, unless_stopped: bool = False) -> None:
    """Starts a worker that outlives this process, unless one of this version runs; it replaces a worker of another
    version.

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
        worker = worker_of(home)
        if worker is not None and not worker.outdated:
            return
        if not (home / "runs.sqlite").exists():
            raise MovedError(home)
        command = [sys.executable, "-m", "tabtune_core", "worker", UNLESS_STOPPED, "--home", str(home.absolute())]
        with _starting:
            if (started := _started.get(home.absolute())) is not None and started.poll() is None:
                return  # it is loading, or waiting for the worker that it replaces
            with (home / "worker.log").open("ab") as log:
                process = _started[home.absolute()] = subprocess.Popen(
                    [*command, "--exit-when-idle"] if exit_when_idle else command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        # collects its exit status, or it stays behind as a zombie
        threading.Thread(target=process.wait, name="worker-exit", daemon=True).start()


_started: dict[Path, subprocess.Popen[bytes]] = {}
_starting = threading.Lock()
