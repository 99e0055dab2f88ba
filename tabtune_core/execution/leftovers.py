"""What a kill leaves in a workspace and in the machine's temporary folder, taken away when a worker starts.

In: a workspace. Out: the same without files of processes that are gone; what a process still uses, and what a run may go on from, stays.
"""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from tabtune_core.errors import StoreError
from tabtune_core.execution.on_ray.node_files import drop_arriving
from tabtune_core.scratch import sweep
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_folder import STATES
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

INCOMING = "incoming-"
"""How folders begin that tables and adapters are checked in before they are kept."""
FRESH_SECONDS = 10.0
"""Rows to predict are kept a moment before their job is queued."""


def sweep_up(store: RunStore) -> None:
    """Scratch folders of dead processes, rows to predict whose job has ended, what runs of a cluster left that did not arrive whole, and
    states of trainings that ended or were deleted.
    """
    sweep()
    for place in ("datasets", "adapters"):
        sweep(store.home / place, INCOMING)
    for folder in store.home.glob("jobs/*"):
        sweep(folder)
    wanted = {str(job.arguments.get("rows")) for job in store.jobs() if job.status not in JOB_ENDED}
    for rows in store.home.glob("inputs/*"):
        with suppress(OSError):
            if rows.stem not in wanted and time.time() - rows.stat().st_mtime > FRESH_SECONDS:
                rows.unlink()
    for folder in store.home.glob("runs/*"):
        drop_arriving(folder)
    for states in store.home.glob(f"runs/*/{STATES}"):
        if not _is_needed(store, states):
            shutil.rmtree(states, ignore_errors=True)


def _is_needed(store: RunStore, states: Path) -> bool:
    """Whether the run goes on, or may be resumed."""
    with suppress(StoreError):
        run = store.run(states.parent.name)
        return run.status not in ENDED or (run.status == "interrupted" and run.retried_as is None)
    return False
