"""Sends a sweep to the experiment tracker of the worker's environment variables, or to files in the workspace."""

from pathlib import Path

from tabtune_core.store.runs import RunStore
from tabtune_core.tracking import open_tracker
from tabtune_core.tracking.mirror import Mirror


def track(home: Path, folder: Path, *, sweep: str, to: str) -> dict[str, str]:
    """Sends what the tracker ``to`` lacks of a sweep; returns ``told``, a sentence, and ``look``, how to see it."""
    tracker = open_tracker(to, home)
    return {"told": Mirror(RunStore(home, existing=True), sweep, tracker).send(), "look": tracker.look}
