"""Whether a pid still belongs to the process that was recorded, by its creation time; and how that one is killed.

In: a pid, and the identity recorded with it. Out: yes or no; a signal, never to another program's process.
"""

import os
import signal
import time
from contextlib import suppress

import psutil

SAME_SECONDS = 5.0
"""Most difference of two readings of one creation time: Linux derives it from a clock that is adjusted meanwhile."""
END_SECONDS = 5.0
"""How long a killed process may take to end; one that waits for a disk does not end sooner."""


def identity_of(pid: int) -> str | None:
    """Returns the creation time of a process, in unix seconds; None if it has ended."""
    process = _process(pid)
    return None if process is None else f"{process.create_time():.2f}"


def is_alive(pid: int | None, identity: str | None) -> bool:
    """Whether the very process that was recorded as ``pid`` and ``identity`` runs, or is suspended."""
    there = identity_of(pid) if pid and identity else None
    try:
        return there is not None and abs(float(there) - float(identity or "")) < SAME_SECONDS
    except ValueError:  # a damaged row
        return False


def is_suspended(pid: int | None, identity: str | None) -> bool:
    """Whether that very process is alive, but was sent STOP."""
    process = _process(pid or 0) if is_alive(pid, identity) else None
    return process is not None and process.status() == psutil.STATUS_STOPPED


def kill(pid: int | None, identity: str | None) -> bool:
    """Kills a process of a run or a job, which leads a process group; returns whether it has ended."""
    deadline = time.monotonic() + END_SECONDS
    while pid and is_alive(pid, identity):
        kill_group(pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    if pid and identity and identity_of(pid) is None and float(identity) > psutil.boot_time():
        kill_group(pid)  # what a process that has ended has started would keep the device's memory
    return True


def kill_group(pid: int) -> None:
    """Sends KILL to a process and its group, which does not exist before the process has begun."""
    for send in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            send(pid, signal.SIGKILL)


def _process(pid: int) -> psutil.Process | None:
    with suppress(psutil.Error, ValueError, OverflowError):
        process = psutil.Process(pid)
        if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return process
    return None
