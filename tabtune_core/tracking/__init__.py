"""Trackers that a sweep can be sent to, by name: a file and a line each. Importing this loads none of their packages.

In: a name such as ``mlflow`` or ``mlflow:http://host:5000``. Out: a ``tracker.Tracker`` that writes there.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path

from tabtune_core.errors import MissingPackageError, SettingError, nearest
from tabtune_core.tracking.tracker import Tracker

TRACKERS = {"mlflow": "MLflow", "wandb": "Weights & Biases", "tensorboard": "TensorBoard"}
"""Name of the module here, of its extra in pyproject.toml and on the command line -> title."""


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
