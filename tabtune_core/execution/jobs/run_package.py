"""The adapter package of a run, as jobs read it: one of another run in its place is refused."""

from tabtune_core.errors import AdapterError
from tabtune_core.lora.package import AdapterPackage, read_package
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore


def package_of_run(store: RunStore, run: Run) -> AdapterPackage:
    """Reads the package.

    Raises:
        AdapterError: it is damaged, or belongs to another run.
    """
    package = read_package(store.run_dir(run.id) / ADAPTER_FILE)
    found, own = package.facts.settings, run.settings
    if (found.lora, found.seed, found.target) != (own.lora, own.seed, own.target):
        raise AdapterError(
            f"In place of the adapter of {run.name} is that of another run: {found.label}, seed {found.seed}, target "
            f"{found.target!r}. "
            "Put the right file back, or run it again."
        )
    return package
