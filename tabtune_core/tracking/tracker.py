"""The interface of a tracker, and what it gets of a run: plain numbers and texts, never a row of a table.

To add one: a module here with ``open_tracker(where, folder)``, which imports the package, and a line in ``TRACKERS``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Row:
    """Numbers of one moment."""

    step: int
    """Steps done."""
    time: float
    """Unix seconds at which it was measured."""
    values: Mapping[str, float]
    """By names such as ``train/loss``; they may be infinite or NaN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRun:
    """A run that has ended, as a tracker gets it."""

    id: str
    """Of the run in the workspace; the tracker uses the same id."""
    name: str
    sweep: str
    """Id of the sweep."""
    experiment: str
    """Name of the sweep with its id, so that sweeps of the same name are not mixed."""
    started: float
    """Unix seconds."""
    settings: Mapping[str, Value]
    """By their names in TOML, such as ``lora.rank``."""
    tags: Mapping[str, str]
    """``loralab.sweep`` and ``loralab.run`` are ids in the workspace; ``loralab.note`` is the user's note."""
    status: str
    """As in ``store.run_row.Status``."""
    rows: Sequence[Row]
    """In the order of their time; the last holds the results."""
    stamp: str
    """Changes if anything that is sent of the run changes."""


class Tracker(Protocol):
    """A project or folder of a tracking tool. Its methods raise whatever the tool's package raises."""

    title: str
    """Name of the tool for people."""
    look: str
    """How to see what was sent: a command or an address."""
    folder: Path | None
    """Where its files are; None if they are on a server."""

    def stamp(self, run: SentRun) -> str:
        """Returns the stamp of the run as the tracker has it; empty if the run is missing or incomplete."""

    def send(self, run: SentRun) -> None:
        """Replaces what the tracker has of the run; writes the stamp last."""
