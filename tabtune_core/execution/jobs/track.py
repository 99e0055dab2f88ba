"""Sends a sweep to an experiment tracker: to the one that the worker's environment variables name, or to files in the workspace."""

from pathlib import Path

from tabtune_core.store.runs import RunStore
from tabtune_core.tracking import open_tracker
from tabtune_core.tracking.mirror import Mirror


def track(home: Path, folder: Path, *, sweep: str, to: str) -> dict[str, str]:
    """Sends what the tracker does not have yet.

    Args:
        home: the workspace.
        folder: not used.
        sweep: id.
        to: name of the tracker.

    Returns:
        ``told``, a sentence about what was sent, and ``look``, how a person looks at it.
    """
    tracker = open_tracker(to, home)
    return {"told": Mirror(RunStore(home), sweep, tracker).send(), "look": tracker.look}
