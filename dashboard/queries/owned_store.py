"""The run store for page scripts: a person owns what they add, and cannot change what another person owns.

The pages have no other way to the store, so a refusal does not hang on a hidden button.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from dashboard.server.people import check_may_change, may_change, person
from tabtune_core.errors import StoreError
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore

Change = TypeVar("Change", bound=Callable[..., Any])


def _of_a_run(change: Change) -> Change:
    """The same change of a run, for its owner alone."""

    @wraps(change)
    def checked(store: RunStore, run_id: str, *args: Any, **more: Any) -> Any:
        check_may_change(store.owner_of(run_id))
        return change(store, run_id, *args, **more)

    return cast(Change, checked)


class OwnedStore(RunStore):
    """As RunStore; each change raises a NotYoursError, which is a StoreError, where the run or job belongs to another person."""

    ask = _of_a_run(RunStore.ask)
    retry = _of_a_run(RunStore.retry)
    resume = _of_a_run(RunStore.resume)
    duplicate = _of_a_run(RunStore.duplicate)
    move_to_front = _of_a_run(RunStore.move_to_front)
    rename = _of_a_run(RunStore.rename)
    annotate = _of_a_run(RunStore.annotate)
    tag = _of_a_run(RunStore.tag)
    archive = _of_a_run(RunStore.archive)
    delete = _of_a_run(RunStore.delete)

    def add_sweep(self, runs: Sequence[RunSettings], name: str = "", *, owner: str = "") -> tuple[str, list[str]]:
        """Queues the runs as the person's own."""
        return super().add_sweep(runs, name, owner=owner or person())

    def add_job(self, kind: str, arguments: Mapping[str, Any], *, owner: str = "") -> str:
        """Queues a job as the person's own."""
        return super().add_job(kind, arguments, owner=owner or person())

    def may_change_job(self, job_id: str) -> bool:
        """Whether it is the person's, or about a run of theirs, with which it goes."""
        job = self.job(job_id)
        if may_change(job.owner):
            return True
        for run_id in filter(None, (job.arguments.get("run"), *job.arguments.get("runs", ()))):
            try:
                if may_change(self.owner_of(run_id)):
                    return True
            except StoreError:  # the run is gone
                continue
        return False

    def cancel_job(self, job_id: str) -> None:
        """Ends a job that ``may_change_job``."""
        self._check_job(job_id)
        super().cancel_job(job_id)

    def delete_job(self, job_id: str) -> None:
        """Removes a job that ``may_change_job``."""
        self._check_job(job_id)
        super().delete_job(job_id)

    def _check_job(self, job_id: str) -> None:
        if not self.may_change_job(job_id):
            check_may_change(self.job(job_id).owner)
