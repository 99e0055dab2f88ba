"""Cached reads of the workspace: the only file with st.cache_*.

What has ended never changes and is read once; what goes on is read at most once a second, however many tabs look on.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.devices import card_names
from dashboard.words import labels
from tabtune_core.runs import series, worker_lock
from tabtune_core.runs.ranking import leaderboard
from tabtune_core.runs.store import ENDED, Run, RunStore, Sweep, default_home

FRAMES: dict[str, Callable[[RunStore, list[str]], pd.DataFrame]] = {
    "steps": series.step_frame,
    "scores": series.score_frame,
    "memory": series.memory_frame,
    "phases": series.phase_frame,
}


def home() -> Path:
    """The workspace."""
    return default_home()


@st.cache_resource
def _store(folder: str) -> RunStore:
    return RunStore(Path(folder))


def store() -> RunStore:
    """The run store of the workspace; one a process, safe from every tab."""
    return _store(str(home()))


def sweeps() -> dict[str, Sweep]:
    """By id, newest first."""
    return {sweep.id: sweep for sweep in store().sweeps()}


def active(runs: list[Run]) -> bool:
    """Whether something is still to come."""
    return any(run.status not in ENDED for run in runs)


@st.cache_data(max_entries=64, show_spinner=False)
def _frame(folder: str, kind: str, ids: tuple[str, ...], stamp: tuple[object, ...]) -> pd.DataFrame:
    return FRAMES[kind](_store(folder), list(ids))


def frame(kind: str, runs: list[Run]) -> pd.DataFrame:
    """A frame for charts, with the runs named as the page names them."""
    now = int(time.time()) if active(runs) else 0
    stamp = (now, *(run.status for run in runs))
    found = _frame(str(home()), kind, tuple(run.id for run in runs), stamp)
    named = labels(runs)
    return found.assign(run=pd.Categorical(found["run"].map(named), categories=list(named.values())))


@st.cache_data(max_entries=32, show_spinner=False)
def _ranked(folder: str, sweep: str | None, rank_by: str, stamp: tuple[object, ...]) -> pd.DataFrame:
    return leaderboard(_store(folder).runs(sweep), rank_by)


def ranked(sweep: str | None, rank_by: str) -> pd.DataFrame:
    """The leaderboard of one sweep, or of all."""
    runs = store().runs(sweep)
    return _ranked(str(home()), sweep, rank_by, tuple((run.id, run.status) for run in runs))


@st.cache_data(ttl=60, show_spinner=False)
def cards() -> list[str]:
    """Names of the NVIDIA cards of this machine."""
    return card_names()


def log_tail(run_id: str, lines: int = 200) -> str:
    """The end of a run's log; empty when there is none."""
    path = store().run_dir(run_id) / "log.txt"
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 200_000))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])


def keep_worker() -> None:
    """Starts the worker of the workspace if none runs."""
    worker_lock.ensure_worker(home())
