"""Sends a sweep to a tracker: to the one that the worker's environment names, or to files in the workspace."""

from pathlib import Path

from tabtune_core.store.runs import RunStore
from tabtune_core.tracking import open_tracker
from tabtune_core.tracking.mirror import send


def track(home: Path, folder: Path, *, sweep: str, to: str) -> dict[str, str]:
    """Sends what the tracker ``to`` lacks of a sweep; returns ``told``, a sentence, and ``look``, how to see it."""
    tracker = open_tracker(to, home)
    return {"told": send(RunStore(home, existing=True), sweep, tracker), "look": tracker.look}
