"""The jobs: work that a person waits for and the worker carries out beside runs, each in its own process.

To add a kind: write ``function(home, folder, **arguments)`` in its own module, and add a line to
``tabtune_core.store.jobs.KINDS``. Pass the ids of runs, adapters and tables that it needs as arguments. It returns
JSON values and may write files into ``folder``; the text of a TabTuneError that it raises is shown to the person.
"""

import pkgutil
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError
from tabtune_core.store.jobs import KINDS


def run_job(kind: str, *, home: Path, folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Carries out one job and returns its result; raises TabTuneError, whose text says what to do."""
    if kind not in KINDS:
        raise StoreError(f"This version knows no job of the kind {kind!r}. Delete it, or ask for it again.")
    result: dict[str, Any] = pkgutil.resolve_name(f"{__package__}.{KINDS[kind]}")(home, folder, **arguments)
    return result
