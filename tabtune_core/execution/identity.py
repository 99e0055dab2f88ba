"""Whether a pid still belongs to the process that we recorded, according to the kernel; setting the clock does not
change the answer.

In: a pid, and the identity recorded with it. Out: whether that very process exists. Signal only a process that is
``alive`` here: the kernel reuses pids, and in another container the same pid is another process.
"""

import contextlib
import os
from pathlib import Path
from typing import Literal

import psutil

Found = Literal["alive", "gone", "other", "unknown"]
"""``alive``: that very process runs, or is suspended. ``gone``: it has ended, and nothing else has its pid. ``other``:
it has ended, and another process has its pid, or this machine was restarted. ``unknown``: a process may be it, and this
cannot be decided.
"""
PROC = Path("/proc")
ENDED_STATES = ("Z", "X")
NOT_SAID = "-"


def identity_of(pid: int) -> str | None:
    """Returns a text that is unique to a process: its start in ticks since boot, the boot id and the pid namespace;
    None: not running.

    Without ``/proc`` the start is psutil's, in unix seconds.
    """
    seen = _start_and_state(pid)
    return None if seen is None else " ".join((seen[0], *_boot_and_namespace()))


def found(pid: int | None, identity: str | None) -> Found:
    """Says what became of a process recorded as ``pid`` and ``identity``; an earlier version recorded the identity
    None.
    """
    if not pid:
        return "gone"
    written = (identity or "").split()
    start, boot, namespace = written if len(written) == 3 else (NOT_SAID,) * 3
    boot_here, namespace_here = _boot_and_namespace()
    if NOT_SAID not in (boot, boot_here) and boot != boot_here:
        return "other"
    if start != NOT_SAID and namespace != namespace_here:
        return "unknown"  # the pid is another container's
    seen = _start_and_state(pid)
    if seen is None:
        return "unknown" if _may_exist(pid) else "gone"
    if seen[0] == start:
        return "gone" if seen[1] in ENDED_STATES else "alive"
    return "other" if start != NOT_SAID and PROC.is_dir() else "unknown"


def is_suspended(pid: int | None, identity: str | None) -> bool:
    """Whether that very process is alive but stopped: it was sent STOP and not CONT."""
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
    """Returns a process's start and the letter of its state; None if it does not exist or is not visible."""
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
    """Whether a process that we cannot inspect may have the pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
