"""Sends a sweep to an experiment tracker: to the one that the worker's environment variables name, or to files in the
workspace.
"""

from pathlib import Path

from tabtune_core.store.runs import RunStore
from tabtune_core.tracking import open_tracker
from tabtune_core.tracking.mirror import Mirror


def track(home: Path, folder: Path, *, sweep: str, to: str) -> dict[str, str]:
    """Sends what the tracker ``to`` lacks of a sweep; returns ``told``, a sentence about it, and ``look``, how a person
    sees it.
    """
    tracker = open_tracker(to, home)
    return {"told": Mirror(RunStore(home, existing=True), sweep, tracker).send(), "look": tracker.look}
