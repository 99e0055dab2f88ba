"""The functions that carry out jobs, one per kind; each job runs in its own process.

To add a kind: write ``function(home, folder, **arguments)`` in its own module, and add a line to
``tabtune_core.store.job_kinds.KINDS``. Pass the ids of runs, adapters and tables that it needs as arguments. It returns
JSON values and may write files into ``folder``; the text of a TabTuneError that it raises is shown to the person.
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
"""Loaded on import, so that the process from which jobs are forked has all of them."""


def run_job(kind: str, *, home: Path, folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Carries out one job and returns its result.

    Raises:
        TabTuneError: it cannot be done; the text says why and what to do.
    """
    if kind not in JOBS:
        raise StoreError(
            f"This version knows no job of the kind {kind!r}; perhaps a newer version queued it. Delete it, or "
            "install that version."
        )
    return JOBS[kind](home, folder, **arguments)
