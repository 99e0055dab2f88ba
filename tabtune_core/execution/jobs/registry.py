"""The functions that carry out jobs, one per kind, each in its own process; the adapter package that they read.

To add a kind: write ``function(home, folder, **arguments)`` in its own module, and add a line to
``tabtune_core.store.job_kinds.KINDS``. Pass the ids of runs, adapters and tables that it needs as arguments. It returns
JSON values and may write files into ``folder``; the text of a TabTuneError that it raises is shown to the person.
"""

import pkgutil
from pathlib import Path
from typing import Any

from tabtune_core.errors import AdapterError, StoreError
from tabtune_core.lora.package import AdapterPackage, read_package
from tabtune_core.store.job_kinds import KINDS
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore


def run_job(kind: str, *, home: Path, folder: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Carries out one job and returns its result; raises TabTuneError, whose text says what to do."""
    if kind not in KINDS:
        raise StoreError(f"This version knows no job of the kind {kind!r}. Delete it, or ask for it again.")
    result: dict[str, Any] = pkgutil.resolve_name(f"{__package__}.{KINDS[kind].function}")(home, folder, **arguments)
    return result


def package_of_run(store: RunStore, run: Run) -> AdapterPackage:
    """Reads the adapter package of a run; raises AdapterError if it is damaged or belongs to another run."""
    package = read_package(store.run_dir(run.id) / ADAPTER_FILE)
    its, own = package.facts.settings, run.settings
    if (its.lora, its.seed, its.target) != (own.lora, own.seed, own.target):
        raise AdapterError(
            f"In place of the adapter of {run.name} is that of another run: {its.label}, seed {its.seed}, target "
            f"{its.target!r}. Put the right file back, or run it again."
        )
    return package
