"""One worker a workspace: who holds the lock, whether a process is the one we mean, and starting a worker where none runs.

The kernel's lock on ``worker.lock`` decides, so it cannot go stale; the pid and start time inside are for those who only ask.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil

CLOCK_SLACK_SECONDS = 2.0
"""The kernel's idea of when it booted, and with it every start time, moves a little when the clock is corrected."""


class WorkerLock:
    """Held by the one worker of a workspace until it is released or its process ends."""

    def __init__(self, home: Path) -> None:
        self._file = os.open(home / "worker.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def take(self) -> bool:
        """Whether this process is the worker now."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        pid = os.getpid()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, json.dumps({"pid": pid, "process_started": started_at(pid)}).encode(), 0)
        return True

    def release(self) -> None:
        """Lets another worker in."""
        os.ftruncate(self._file, 0)
        fcntl.flock(self._file, fcntl.LOCK_UN)


def started_at(pid: int) -> float:
    """Unix seconds at which a process began; 0 if there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0


def pid_alive(pid: int | None, process_started: float | None) -> bool:
    """Whether that very process runs: not another one under its pid, and not one that has ended unnoticed (a zombie)."""
    if pid is None or process_started is None:
        return False
    try:
        process = psutil.Process(pid)
        same = abs(float(process.create_time()) - process_started) <= CLOCK_SLACK_SECONDS
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def worker_alive(home: Path) -> bool:
    """Whether the workspace has a worker."""
    try:
        holder = json.loads((home / "worker.lock").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return pid_alive(holder["pid"], holder["process_started"])


def ensure_worker(home: Path, *, exit_when_idle: bool = False) -> None:
    """Starts a worker that outlives this process if none runs. Two that start at once are harmless: the second ends itself.

    Queue the runs first: a worker about to end because it is idle looks once more after it has let go of the lock.
    """
    if worker_alive(home):
        return
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tabtune_core", "worker", "--home", str(home.absolute())]
    with (home / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--exit-when-idle"] if exit_when_idle else command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # someone has to collect its exit status, or it stays behind as a zombie
    threading.Thread(target=process.wait, name="worker-exit", daemon=True).start()
