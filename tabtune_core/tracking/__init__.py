"""Trackers that a sweep can be sent to, and what they get of a run: plain numbers and texts, never a row of a table.

In: a name such as ``mlflow`` or ``mlflow:http://host:5000``. Out: a ``Tracker`` that writes there. To add one: a module
here with ``open_tracker(where, folder)``, which imports the package, and a line in ``TRACKERS``.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tabtune_core.errors import MissingPackageError, SettingError, nearest

TRACKERS = {"mlflow": "MLflow", "wandb": "Weights & Biases", "tensorboard": "TensorBoard"}
"""Name of the module here, of its extra in pyproject.toml and on the command line -> title."""


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


def open_tracker(named: str, home: Path, *, also: Sequence[str] = ()) -> Tracker:
    """Opens the tracker ``NAME`` or ``NAME:WHERE``; by default local files go to ``trackers`` in the workspace.

    ``also`` are other names that a person may have meant.

    Raises:
        SettingError: there is no such tracker, or it cannot write to that place.
        MissingPackageError: its package is not installed.
    """
    name, _, where = named.partition(":")
    if name not in TRACKERS:
        known = [*also, *TRACKERS]
        near = nearest(name, known)
        way_out = f"Did you mean {near!r}?" if near else f"Known: {', '.join(known)}."
        raise SettingError(f"There is no tracker {name!r}. {way_out}")
    module = importlib.import_module(f"tabtune_core.tracking.{name}")
    try:
        tracker: Tracker = module.open_tracker(where, home / "trackers")
    except ImportError as error:
        needs = f"{TRACKERS[name]} needs its own package. Run: pip install 'tabtune-dashboard[{name}]'"
        raise MissingPackageError(needs) from error
    return tracker
