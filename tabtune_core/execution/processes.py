"""Starts, watches and ends the processes of runs and jobs.

In: a process to start, or a pid with its identity. Out: signals, never to a process that may be another program's.
"""

import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from typing import Literal

from tabtune_core.execution.child import NO_ROOM_STATUS
from tabtune_core.execution.identity import Found, found, identity_of
from tabtune_core.machine import oom_kills
from tabtune_core.shortage import shortage_of
from tabtune_core.store.jobs import Job
from tabtune_core.store.run_row import Run

GRACE_SECONDS = 10.0
"""How long a run's process may take to cancel, and any process to exit once its row has ended, before it is sent TERM.

A stop has no such limit, because the run still evaluates, packs and verifies its result; a person can cancel instead.
"""
KILL_SECONDS = 5.0
"""From TERM to KILL."""

AGAIN = {"run": "resume it, or run it again", "job": "ask again"}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Watched:
    """A process that carries out a run or a job."""

    id: str
    """Id of the run or the job."""
    pid: int
    identity: str | None
    process: ForkServerProcess | None
    """None if an earlier worker started it."""
    slot: str = ""
    """The slot of a run, or the lane of a job."""
    asked: dict[str, float] = field(default_factory=dict)
    """When each request was first seen, in monotonic seconds."""
    oom_kills: int | None = field(default_factory=oom_kills)
    """``machine.oom_kills`` when this process was started."""
    since: float = field(default_factory=time.monotonic)
    """When this worker began to watch it, in monotonic seconds."""


def start(process: ForkServerProcess, for_id: str, slot: str) -> Watched | None:
    """Starts the process of a run or job; None if the forkserver was killed: multiprocessing starts another with the
    next process.
    """
    try:
        process.start()
    except (EOFError, OSError) as error:
        _log.warning(
            "No process could be started (%s).",
            shortage_of(error, starting=True) or str(error) or "the forkserver is gone",
        )
        return None
    assert process.pid is not None
    return Watched(for_id, process.pid, identity_of(process.pid), process, slot)


def state_of(watched: Watched, row: Run | Job | None) -> Found:
    """Says what became of a process; that of an adopted run or job is the one in its ``row``, which it may have
    recorded only now.
    """
    if watched.process is None and row is not None and row.pid and row.identity:
        watched.pid, watched.identity = row.pid, row.identity
    exitcode = (
        watched.process.exitcode if watched.process else None
    )  # before ``found``: a process that ends in between is gone
    state = found(watched.pid, watched.identity)
    if (
        state == "alive" and exitcode is not None
    ):  # it means that the forkserver is gone; the pid still identifies the process
        watched.process = None
    return state


def press(watched: Watched, wanted: str, *, at_once: bool = False) -> None:
    """Sends TERM, later KILL, to a process that has not done what was asked of it, after GRACE_SECONDS or ``at_once``."""
    late = time.monotonic() - watched.asked.setdefault(wanted, time.monotonic()) - (0 if at_once else GRACE_SECONDS)
    if late >= 0:
        signal_group(watched.pid, signal.SIGKILL if late > KILL_SECONDS else signal.SIGTERM)


def end(pid: int | None, identity: str | None) -> bool:
    """Ends a process by TERM, later KILL; returns whether it has ended. A process that may be another is left alone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + KILL_SECONDS
        if pid and found(pid, identity) == "alive":
            signal_group(pid, number)
        while found(pid, identity) == "alive" and time.monotonic() < deadline:
            time.sleep(0.02)
    return found(pid, identity) in ("gone", "other")


def signal_group(pid: int, number: signal.Signals) -> None:
    """Signals a child and everything that it started: a child leads its own process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def cause(watched: Watched, what: Literal["run", "job"]) -> tuple[str, str]:
    """Says why a process that reported no error is gone, and what to do; the latter is empty if memory is the likely
    cause.
    """
    if watched.process:
        watched.process.join(timeout=1)  # the forkserver, its parent, may not have reported its exit status yet
    exitcode = watched.process.exitcode if watched.process else None
    again, its = AGAIN[what], f"{what}'s process"
    if exitcode is None:
        gone = f"The {its} is gone, and its worker was not there to see why (a restart, a kill, or too little memory)."
        return gone, f"{again.capitalize()}."
    if exitcode == NO_ROOM_STATUS:
        lacked = f"For too long, the {its} had no room on a disk or lacked another resource."
        return lacked, f"Its log may say more; make room, then {again}."
    if exitcode == -signal.SIGKILL:
        now = oom_kills()
        if now is not None and watched.oom_kills is not None and now > watched.oom_kills:
            return f"The system ended the {its} (signal 9), because memory ran out.", ""
        return f"The {its} was killed (signal 9), most often because memory ran out.", ""
    how = f"signal {-exitcode}" if exitcode < 0 else f"exit status {exitcode}"
    return f"The {its} ended without an error message ({how}).", f"Its log may say more; {again}."
