"""What a tracker has to answer, and what it is told of a run: plain numbers and texts, never a row of a table.

To add one: a module here with ``open_tracker(where, folder)``, which imports the package, and a line in ``TRACKERS``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class AboutRun:
    """A run when it begins."""

    id: str
    """Of the run in the workspace: at the tracker, it is the same run."""
    name: str
    sweep: str
    """Id of the sweep."""
    experiment: str
    """Name of the sweep with its id, so that sweeps of one name stay apart."""
    started: float
    """Unix seconds."""
    settings: Mapping[str, Value]
    """By their names in TOML, such as ``lora.rank``."""
    tags: Mapping[str, str]
    """``loralab.sweep`` and ``loralab.run`` lead back; others say what a person wrote."""


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers of one moment."""

    key: str
    """Unique among all rows of a workspace, and the same whenever it is read."""
    step: int
    """Steps done."""
    time: float
    """Unix seconds at which it was measured."""
    values: Mapping[str, float]
    """By names such as ``train/loss``; they may be infinite or NaN."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A run when it has ended."""

    status: str
    """As in ``store.run_row.Status``."""
    results: Row
    adapter: Path | None
    """The package without class labels."""
    stamp: str
    """Changes with all that is told of the run."""


class OpenRun(Protocol):
    """A run that is being written."""

    def log(self, rows: Sequence[Row]) -> None:
        """Adds rows, in the order of their time."""

    def end(self, ending: Ending) -> None:
        """Writes the rest; the stamp last, so that a run without it is known to be in part."""


class Tracker(Protocol):
    """A place at a tool. Its methods raise whatever the tool's package raises."""

    title: str
    """What people call the tool."""
    look: str
    """How a person looks at what was sent: a command or an address."""
    folder: Path | None
    """Where its files are; None where it is on a server."""

    def stamp(self, run: AboutRun) -> str:
        """That of the run as it is held there; empty if it is not there, or in part."""

    def begin(self, run: AboutRun) -> OpenRun:
        """A run without rows, in place of what is held of it."""
