"""What a page asks of torch while a person waits, by kind: one function each, called in a process of its own.

To add a kind: write ``function(home, folder, **arguments)`` in a module of its own, and add a line to
``tabtune_core.store.job_kinds.KINDS``. Ids of runs, adapters and tables that it needs are among its arguments. It returns JSON values and
may write files into ``folder``; the text of a TabTuneError that it raises is shown to the person.
"""

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError
from tabtune_core.store.job_kinds import KINDS

JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    kind: pkgutil.resolve_name(f"tabtune_core.execution.jobs.{of_kind.function}") for kind, of_kind in KINDS.items()
}
"""Loaded at once, so that what a job is forked from has all of it."""


def run_job(kind: str, *, home: Path, folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Carries out one job and returns its result.

    Raises:
        TabTuneError: it cannot be done; the text says why and what would do.
    """
    if kind not in JOBS:
        raise StoreError(
            f"This version knows no job of the kind {kind!r}; a newer one may have asked for it. Delete it, or install that one."
        )
    return JOBS[kind](home, folder, **arguments)
