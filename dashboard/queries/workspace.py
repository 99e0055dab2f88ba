"""The store of the workspace, its sweeps, runs and jobs, the worker, and its devices."""

import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import streamlit as st

from tabtune_core.errors import StoreError
from tabtune_core.execution.cluster import Cluster, read_cluster
from tabtune_core.execution.lock import WorkerTrouble, tail, watch_of
from tabtune_core.gpus import card_memory, card_names
from tabtune_core.machine import machine_memory
from tabtune_core.search.summary import Summary, summarize
from tabtune_core.store.jobs import Job
from tabtune_core.store.run_folder import LOG
from tabtune_core.store.run_row import ENDED, Run, Sweep, Unreadable
from tabtune_core.store.runs import RunStore, default_home

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")

home = default_home
"""Returns the folder of the workspace."""


def of_workspace(
    *, entries: int, spinner: str | bool = False, stamp: Callable[..., Any] = lambda *asked, **more: ""
) -> Callable[[Callable[Concatenate[str, Asked], Answer]], Callable[Asked, Answer]]:
    """Decorates a read, whose first argument is the folder of the workspace; cached while ``stamp`` is the same."""

    def decorate(read: Callable[Concatenate[str, Asked], Answer]) -> Callable[Asked, Answer]:
        keyed = wraps(read)(lambda key, *args, **more: read(*args, **more))
        cached = st.cache_data(max_entries=entries, show_spinner=spinner)(keyed)

        @wraps(read)
        def asked(*args: Asked.args, **more: Asked.kwargs) -> Answer:
            answer: Answer = cached(stamp(*args, **more), str(home()), *args, **more)
            return answer

        return asked

    return decorate


@st.cache_resource
def store_of(folder: str) -> RunStore:
    """Returns the run store of a workspace; ``folder`` is part of the cache key."""
    return RunStore(Path(folder))


def store() -> RunStore:
    """Returns the store of the workspace, one per process; raises MovedError if the workspace is gone."""
    opened = store_of(str(home()))
    opened.check_in_place()
    return opened


class _Sweeps(dict[str, Sweep]):
    """Sweeps by id. One that was deleted after its runs were listed is empty."""

    def __missing__(self, sweep: str) -> Sweep:
        return Sweep(sweep, "", 0.0, {})


def sweeps() -> dict[str, Sweep]:
    """Returns the sweeps by id, newest first."""
    return _Sweeps((sweep.id, sweep) for sweep in store().sweeps())


def active(runs: list[Run]) -> bool:
    """Returns True if a run has not ended, or a search will add one."""
    searches = {run.sweep for run in runs if run.searched}
    return any(run.status not in ENDED for run in runs) or any(map(store().searching, searches))


def stamp_of(sweep: str | None) -> str:
    """Returns a stamp that changes when a run is added, deleted, or changes its state, name or note."""
    return hashlib.sha256(repr(store().marks(sweep)).encode()).hexdigest()


@st.cache_resource(max_entries=32, show_spinner=False)
def _listed(folder: str, sweep: str | None, stamp: str) -> list[Run]:
    return store_of(folder).runs(sweep)


def listed(sweep: str | None) -> list[Run]:
    """Returns the runs of one sweep or all, read again when a state, name or note changes; heartbeats may be old."""
    return _listed(str(home()), sweep, stamp_of(sweep))


@of_workspace(entries=4, stamp=lambda: stamp_of(None))
def unreadable(folder: str) -> list[Unreadable]:
    """Returns the runs that this version cannot read; they are in no other list."""
    return store_of(folder).unreadable()


@of_workspace(entries=8, stamp=lambda sweep: stamp_of(sweep))
def search_summary(folder: str, sweep: str) -> Summary | None:
    """Returns what a search has tried and learned; None for an ordinary sweep."""
    search = store_of(folder).search(sweep)
    return summarize(store_of(folder), search) if search else None


def newest_jobs(kind: str, *asked: Mapping[str, Any]) -> list[Job | None]:
    """Returns for each of these arguments the newest job of a kind that has them, or None."""
    jobs = store().jobs(kind)
    return [next((job for job in jobs if arguments.items() <= job.arguments.items()), None) for arguments in asked]


def delete_jobs(*job_ids: str) -> None:
    """Deletes jobs, but not one that has just started or that another tab has deleted."""
    for job_id in job_ids:
        with suppress(StoreError):
            store().delete_job(job_id)


def selection_metric(sweep: str) -> str:
    """Returns the metric that chose the best states of a sweep, which is also the default for ranking."""
    return listed(sweep)[0].settings.selection_metric


def log_tail(run_id: str) -> str:
    """Returns the last 200 lines of a run's log; empty without a log."""
    return tail(store().run_dir(run_id) / LOG, 200)


def keep_worker() -> None:
    """Starts the worker of the workspace if it is not running."""
    watch_of(home()).start()


@st.cache_resource(max_entries=2, show_spinner=False)
def _looked(folder: str, second: int) -> WorkerTrouble | None:
    return watch_of(Path(folder)).look()


def look_after_worker() -> WorkerTrouble | None:
    """Starts the worker like ``keep_worker`` and returns what is wrong with it; once a second for all tabs."""
    return _looked(str(home()), int(time.monotonic()))


@st.cache_data(ttl=60, show_spinner=False)
def cards() -> list[str]:
    """Returns the names of this machine's NVIDIA GPUs."""
    return card_names()


@st.cache_data(ttl=5, show_spinner=False)
def memory_of_devices() -> tuple[tuple[int, int], list[tuple[int, int] | None]]:
    """Returns free and total bytes of the machine, and of each NVIDIA GPU (None if the driver does not report them)."""
    return machine_memory(), card_memory()


def cluster() -> Cluster | None:
    """Returns the machines of the cluster; None if runs use this machine."""
    return read_cluster(home())
