"""Frames and figures of the Live page: what has ended is read and drawn once."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import CHARTS
from dashboard.charts.memory import speaking_meter
from dashboard.charts.settled import Settled, settle
from dashboard.formatting import labels
from dashboard.queries.workspace import home, mark, store, store_of
from tabtune_core.analysis import curves as series
from tabtune_core.analysis.curves import Progress
from tabtune_core.metrics import METRICS
from tabtune_core.store.runs import ENDED, Run, RunStore

FRAMES: dict[str, Callable[[RunStore, list[str]], pd.DataFrame]] = {
    "steps": series.step_frame,
    "scores": series.score_frame,
    "memory": series.memory_frame,
    "phases": series.phase_frame,
}


READING_SHARE = 20
"""A run that goes on is read again after so many times the time that reading took."""


@st.cache_resource(max_entries=1024, show_spinner=False)
def _still_frame(folder: str, kind: str, run_id: str, state: str) -> pd.DataFrame:
    return FRAMES[kind](store_of(folder), [run_id])


@st.cache_resource(max_entries=256, show_spinner=False)
def _pace(folder: str, kind: str, run_id: str) -> list[float]:
    """CPU seconds that the last read of a run took, to be written into."""
    return [0.0]


@st.cache_resource(ttl=60, max_entries=64, show_spinner=False)
def _moving_frame(folder: str, kind: str, run_id: str, turn: tuple[int, int]) -> pd.DataFrame:
    began = time.thread_time()
    found = FRAMES[kind](store_of(folder), [run_id])
    _pace(folder, kind, run_id)[0] = time.thread_time() - began
    return found


def _frame_of(kind: str, run: Run) -> pd.DataFrame:
    """The rows of one run; only what runs can have new ones. Shared by all tabs and never written to."""
    folder = str(home())
    if run.status == "running":
        # once a second, or less often: a run of very many steps shall not keep the server busy with reading
        every = max(1, int(READING_SHARE * _pace(folder, kind, run.id)[0]))
        return _moving_frame(folder, kind, run.id, (every, int(time.monotonic() / every)))
    return _still_frame(folder, kind, run.id, mark([run]))


def frame(kind: str, runs: list[Run], among: list[Run] | None = None) -> pd.DataFrame:
    """A frame for charts, with the runs named as the page names them ``among`` others."""
    parts = [_frame_of(kind, run) for run in runs]
    told = [part for part in parts if len(part)]
    found = pd.concat(told, ignore_index=True) if told else parts[0] if parts else FRAMES[kind](store(), [])
    named = labels(among or runs)
    return found.assign(run=pd.Categorical(found["run"].map(named), categories=list(named.values())))


@st.cache_resource(max_entries=128, show_spinner=False)
def _settled(folder: str, chart: str, kind: str, stamp: str, options: str, _draw: Callable[[], Settled | None]) -> Settled | None:
    return _draw()


def settled(chart: str, kind: str, runs: list[Run], among: list[Run], **options: Any) -> Settled | None:
    """What a chart draws of runs that have ended, drawn once; None when that is nothing."""
    if not runs:
        return None
    stamp = mark(runs) + repr(labels(among))
    return _settled(str(home()), chart, kind, stamp, repr(options), lambda: settle(CHARTS[chart].draw(frame(kind, runs, among), **options)))


@st.cache_resource(max_entries=256, show_spinner=False)
def _reach(folder: str, kind: str, column: str, stamp: str, _runs: list[Run]) -> float:
    return max((float(_frame_of(kind, run)[column].max()) for run in _runs), default=float("nan"))


def reach(kind: str, column: str, runs: list[Run]) -> float:
    """The largest value of a column over runs that have ended; NaN when there is none."""
    return _reach(str(home()), kind, column, mark(runs), runs)


@dataclass(frozen=True, slots=True)
class Latest:
    """Where a run stands; None is not known, or not yet."""

    progress: Progress
    loss: float | None
    best: float | None
    """The best validation score, on the metric that was asked for."""
    held_bytes: float | None
    """On the meter that speaks for the device."""


@st.cache_resource(max_entries=64, show_spinner=False)
def _still_latest(folder: str, stamp: str, metric: str, _runs: list[Run]) -> dict[str, Latest]:
    return {run.id: _latest(run, metric) for run in _runs}


def _latest(run: Run, metric: str) -> Latest:
    looks, samples = _frame_of("scores", run), _frame_of("memory", run)
    validation = looks.loc[looks["split"] == "validation", metric].dropna() if metric in looks else pd.Series(dtype=float)
    return Latest(
        series.progress(store(), run),
        _last(_frame_of("steps", run)["loss"].dropna()),
        None if validation.empty else float(validation.max() if METRICS[metric].higher_is_better else validation.min()),
        _last(samples[speaking_meter(samples)].dropna()),
    )


def _last(known: pd.Series) -> float | None:
    return None if known.empty else float(known.iloc[-1])


def latest(runs: list[Run], metric: str) -> dict[str, Latest]:
    """How far each run is and its last figures, by id."""
    ended = [run for run in runs if run.status in ENDED]
    return _still_latest(str(home()), mark(ended), metric, ended) | {
        run.id: _latest(run, metric) for run in runs if run.status not in ENDED
    }
