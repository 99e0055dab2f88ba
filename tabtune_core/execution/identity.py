"""Whether a process is the one we mean, by what the kernel says of it: no clock that is set moves that.

In: a pid, and the identity that was written down with it. Out: whether that very process is there. Nothing may be signalled but what is
``alive`` here: a pid alone is soon another process, and in another container another one at once.
"""

import contextlib
import os
from pathlib import Path
from typing import Literal

import psutil

Found = Literal["alive", "gone", "other", "unknown"]
"""``alive``: that very process runs, or is suspended. ``gone``: it has ended, and nothing else has its pid. ``other``: it has ended, and
its pid is another process's, or this machine was started anew. ``unknown``: a process may be it, and nothing tells whether it is."""
PROC = Path("/proc")
ENDED_STATES = ("Z", "X")
NOT_SAID = "-"


def identity_of(pid: int) -> str | None:
    """One text for the life of a process: its start in ticks since the boot, the boot and the namespace of pids; None: not running.

    Without ``/proc`` the start is unix seconds, as psutil knows it.
    """
    seen = _start_and_state(pid)
    return None if seen is None else " ".join((seen[0], *_boot_and_namespace()))


def found(pid: int | None, identity: str | None) -> Found:
    """What became of a process that was written down as ``pid`` and ``identity``, which is None where an earlier version wrote it."""
    if pid is None:
        return "gone"
    written = (identity or "").split()
    start, boot, namespace = written if len(written) == 3 else (NOT_SAID,) * 3
    boot_here, namespace_here = _boot_and_namespace()
    if NOT_SAID not in (boot, boot_here) and boot != boot_here:
        return "other"
    if start != NOT_SAID and namespace != namespace_here:
        return "unknown"  # pids of another container say nothing here
    seen = _start_and_state(pid)
    if seen is None:
        return "unknown" if _may_exist(pid) else "gone"
    if seen[0] == start:
        return "gone" if seen[1] in ENDED_STATES else "alive"
    return "other" if start != NOT_SAID and PROC.is_dir() else "unknown"


def is_suspended(pid: int | None, identity: str | None) -> bool:
    """Whether that very process was sent STOP and not CONT: it does nothing, and has not ended."""
    if found(pid, identity) != "alive":
        return False
    seen = _start_and_state(pid or 0)
    return seen is not None and seen[1] == "T"


def _boot_and_namespace() -> tuple[str, str]:
    boot = namespace = NOT_SAID
    with contextlib.suppress(OSError):
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = os.readlink(PROC / "self/ns/pid")
    return boot, namespace


def _start_and_state(pid: int) -> tuple[str, str] | None:
    """When a process began, and a letter for what it does; None: not there, or not to be seen."""
    if not PROC.is_dir():
        return _start_and_state_by_psutil(pid)
    try:
        # the second field is the program's name in parentheses, which may hold anything
        fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return fields[19].decode(), fields[0].decode()  # 22 and 3 in proc(5)


def _start_and_state_by_psutil(pid: int) -> tuple[str, str] | None:
    letters = {psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DEAD: "X", psutil.STATUS_STOPPED: "T"}
    try:
        process = psutil.Process(pid)
        return f"{process.create_time():.6f}", letters.get(process.status(), "R")
    except psutil.ZombieProcess:
        return NOT_SAID, "Z"
    except psutil.Error:
        return None


def _may_exist(pid: int) -> bool:
    """Whether something has the pid that cannot be looked at."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
