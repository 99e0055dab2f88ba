"""The contents of a run's or a sweep's row.

In: a row of the database. Out: a frozen object, or the part of the row that cannot be read.
"""

import functools
import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tabtune_core.events import RunFinished, StopRequest, from_json
from tabtune_core.settings import RunSettings
from tabtune_core.settings.sweep import RUNGS
from tabtune_core.store.database import check_row

Status = Literal[
    "queued", "running", "waiting", "finished", "stopped", "diverged", "outrun", "cancelled", "failed", "interrupted"
]
RANKED: frozenset[Status] = frozenset({"finished", "stopped", "diverged"})
"""The statuses of runs that ended with a result."""
ENDED: frozenset[Status] = RANKED | {"outrun", "cancelled", "failed", "interrupted"}
RETRYABLE: frozenset[Status] = frozenset({"failed", "interrupted", "cancelled", "diverged"})


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the store knows it. Times are unix seconds."""

    id: str
    sweep: str
    name: str
    """Name in tables and charts, for example ``LoRA r=8``."""
    status: Status
    settings: RunSettings
    created: float
    started: float | None
    ended: float | None
    heartbeat: float | None
    """Last sign of life of the run's process."""
    pid: int | None
    identity: str | None
    """Creation time of that process, because pids are reused; None while only a worker has claimed the run."""
    wish: StopRequest | None
    """What a person asked for while it was running."""
    error: str | None
    """For the person: what happened and what to do."""
    result: RunFinished | None
    retried_as: str | None
    """Id of the run that repeats this one."""
    note: str = ""
    """What a person wrote about it."""
    archived: bool = False
    """Put away by a person."""
    slot: str = ""
    """Where the worker put it: a GPU such as ``cuda:1``, or ``cpu``; empty while queued."""
    executor: str = ""
    """Name of the executor; empty while queued."""
    device: str = ""
    """``RunPlanned.device_name``; empty until it is planned."""
    node: str = ""
    """Name of the machine that carries it out; empty as above."""
    rung: int = -1
    """Rungs that it has passed; -1 if it never pauses for the other learning rates of its rank."""
    searched: bool = False
    """Whether it belongs to a search."""
    resumptions: int = 0
    """How many times it was queued again after an interruption, by itself or by a person."""

    @property
    def ended_as(self) -> str:
        """Returns the status in words for people, for example ``stopped at rung 1 of 2``."""
        return f"stopped at rung {self.rung + 1} of {len(RUNGS)}" if self.status == "outrun" else self.status

    @property
    def resumed(self) -> str:
        """Says how the run was resumed, as ``Resumed at step 40 after an interruption``; empty if it never was."""
        if not self.resumptions:
            return ""
        steps = None if self.result is None else " and ".join(map(str, self.result.resumed_steps))
        how = "Resumed" if steps is None else f"Resumed at step {steps}" if steps else "Started anew"
        return f"{how} after an interruption"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A run whose row this version cannot read; the row is not changed."""

    id: str
    sweep: str
    name: str
    status: str
    why: str
    """For the person: what cannot be read."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs that were launched together."""

    id: str
    name: str
    created: float
    """Unix seconds."""
    counts: dict[Status, int]
    """How many of its runs have each status."""


@functools.lru_cache(maxsize=4096)
def _settings(text: str) -> RunSettings:
    """Parses settings; cached, because stored settings never change and checking them takes long."""
    return RunSettings.from_dict(json.loads(text))


def read_run(row: sqlite3.Row) -> Run | Unreadable:
    """Reads a row with its settings and result; returns Unreadable, naming the part, if that fails."""
    values, part = dict(row), "its settings"
    try:
        settings = _settings(values["settings"])
        part = "its result"
        result = None if values["result"] is None else from_json("RunFinished", values["result"])
        part = "its status"
        if values["status"] not in get_args(Status):
            raise ValueError(f"{values['status']!r} is not a status that this version knows")
        flags = {name: bool(values.get(name)) for name in ("archived", "searched")}
        read: Any = values | flags | {"settings": settings, "result": result}
        part = "its row"
        return check_row(Run(**{name: read[name] for name in Run.__dataclass_fields__}))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        why = f"{part}: {error}".rstrip(".")
        sweep, name, status = (str(values.get(column)) for column in ("sweep", "name", "status"))
        return Unreadable(values["id"], sweep, name, status, why)
