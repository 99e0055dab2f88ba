"""Tables and uploaded adapters leave the workspace here, unless something that is queued or running uses them.

In: the store and an id. Out: a StoreError that names who uses it, or its folder is gone. Runs are deleted by ``RunStore.delete``.
"""

from tabtune_core.data.datasets import delete_dataset
from tabtune_core.errors import StoreError
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore
from tabtune_core.store.uploaded_adapters import delete_adapter


def delete_table(store: RunStore, identity: str) -> None:
    """Removes a table and its source.

    Raises:
        StoreError: a run or job that is queued or running uses it, itself or through a run.
        TableError: the workspace does not hold it.
    """
    on_it = [run for run in store.runs() if run.settings.dataset == identity]
    busy = [run for run in on_it if run.status not in ENDED]
    if busy:
        raise StoreError(f"{busy[0].name}, a run that is {busy[0].status}, uses this table. Cancel it, or wait for its end.")
    store.refuse_while_used("this table", identity, *(run.id for run in on_it))
    delete_dataset(store.home, identity)


def delete_uploaded(store: RunStore, identity: str) -> None:
    """Removes an adapter that was made elsewhere.

    Raises:
        StoreError: a job that is queued or running uses it.
        AdapterError: the workspace does not hold it.
    """
    store.refuse_while_used("this adapter", identity)
    delete_adapter(store.home, identity)
