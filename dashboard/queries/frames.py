"""Frames and figures of the Live page, computed once for all tabs: what has ended once, what goes on when it has new events."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from dashboard.charts import CHARTS
from dashboard.charts.composed import Drawn, compose
from dashboard.charts.memory import speaking_meter
from dashboard.charts.settled import Settled, settle
from dashboard.queries.cast import Cast, cast_of
from dashboard.queries.shared import Shared
from dashboard.queries.workspace import home, stamp_of, store
from tabtune_core.analysis import curves as series
from tabtune_core.analysis.curves import Progress
from tabtune_core.analysis.group_means import group_means
from tabtune_core.analysis.run_curves import RunCurves
from tabtune_core.metrics import METRICS
from tabtune_core.store.run_row import Run

Value = TypeVar("Value")
FRAMES = {"steps": series.step_frame, "scores": series.score_frame, "memory": series.memory_frame, "phases": series.phase_frame}
"""What charts are drawn from."""
EVERY_SECONDS = 1.0
"""What goes on is read on at most so often, however many tabs watch, and all runs at once: a chart of several is drawn anew with each."""


@dataclass(slots=True)
class _Read:
    """A run's curves and when they were read."""

    curves: RunCurves
    status: str = ""
    """Of the run when it was last read: once that is an end, nothing new comes."""
    tick: int = 0
    """The moment, counted in ``EVERY_SECONDS``."""


@st.cache_resource
def _curves_held(folder: str) -> Shared[_Read]:
    return Shared(most_entries=1024, most_bytes=200e6, size_bytes=lambda read: read.curves.size_bytes)


@st.cache_resource
def _frames_held(folder: str) -> Shared[pd.DataFrame]:
    return Shared(most_entries=128, most_bytes=100e6, size_bytes=lambda frame: int(frame.memory_usage().sum()))


@st.cache_resource
def _drawn_held(folder: str) -> Shared[Drawn]:
    return Shared(most_entries=128, most_bytes=50e6, size_bytes=lambda drawn: len(drawn.figure))


@st.cache_resource
def _settled_held(folder: str) -> Shared[Settled | None]:
    return Shared(most_entries=128, most_bytes=100e6, size_bytes=lambda settled: len(settled.traces) if settled else 0)


@st.cache_resource
def _figures_held(folder: str) -> Shared[Any]:
    return Shared(most_entries=512, most_bytes=10e6, size_bytes=lambda figures: 1_000)


@st.cache_resource
def _alike_held(folder: str) -> Shared[Any]:
    return Shared(most_entries=256, most_bytes=50e6, size_bytes=_size_of)


def _size_of(value: Any) -> int:
    """Of figures by name the letters; other things are small."""
    return sum(map(len, value.figures.values())) if isinstance(value, Refreshed) else 10_000


def _tick() -> int:
    return int(time.monotonic() / EVERY_SECONDS)


def _curves(run: Run) -> RunCurves:
    """What one run has emitted, up to a second ago while it goes on. Shared by all tabs."""
    cache = _curves_held(str(home()))
    read = cache.get(run.id, lambda: _first_read(run))
    if read.status != run.status or (run.status == "running" and _tick() > read.tick):
        tick = _tick()
        read.curves.read_on()  # first, so that nobody takes what is not read yet for all that there is
        read.status, read.tick = run.status, tick
        cache.weigh(run.id, read)
    return read.curves


def _first_read(run: Run) -> _Read:
    """Of a run that nobody has opened lately; those that were deleted meanwhile are let go."""
    there = {other[0] for other in store().marks()}
    _curves_held(str(home())).let_go(lambda run_id: run_id not in there)
    return _Read(RunCurves(store(), run.id).read_on(), run.status, _tick())


def _frame_of(kind: str, run: Run) -> pd.DataFrame:
    """The rows of one run; never written to."""
    curves = _curves(run)
    if kind != "phases":
        return curves.frames[kind]
    key = (kind, run.id, run.status, curves.version(kind))
    return _frames_held(str(home())).get(key, lambda: series.phase_frame(store(), [run.id]))


def _stamp(kind: str, runs: list[Run]) -> tuple[tuple[str, str, int], ...]:
    """Another one when one of the runs has new events of the kind."""
    return tuple((run.id, run.status, _curves(run).version(kind)) for run in runs)


def frame(kind: str, runs: list[Run], cast: Cast | None = None, *, by: str = "") -> pd.DataFrame:
    """A frame for charts, with the runs named as ``cast`` says; with ``by`` those that share a name are their mean. Never written to."""
    cast = cast or cast_of(runs)

    def make() -> pd.DataFrame:
        parts = [_frame_of(kind, run) for run in runs]
        nonempty = [part for part in parts if len(part)]
        combined = pd.concat(nonempty, ignore_index=True) if nonempty else parts[0] if parts else FRAMES[kind](store(), [])
        if kind == "scores" and by:
            combined = combined[combined["split"] == "validation"]
        named = cast.name(combined)
        if not by:
            return named
        means = group_means(named, by).assign(**({"split": "validation", "best": False} if kind == "scores" else {}))
        means.attrs = named.attrs
        return means

    return _frames_held(str(home())).get((kind, by, _stamp(kind, runs), cast), make)


def settled(chart: str, kind: str, runs: list[Run], cast: Cast, *, by: str = "", **options: Any) -> Settled | None:
    """What a chart draws of runs that have ended, drawn once; None when that is nothing."""
    if not runs:
        return None
    key = (chart, by, _stamp(kind, runs), cast, repr(options))
    return _settled_held(str(home())).get(key, lambda: settle(CHARTS[chart].draw(frame(kind, runs, cast, by=by), **options)))


def drawn(
    chart: str,
    runs: list[Run],
    ended: list[Run],
    cast: Cast,
    *,
    key: str,
    legend: bool,
    options: dict[str, Any],
    extra: dict[str, Any],
    by: str = "",
    reach: float | None = None,
) -> tuple[Drawn, Settled | None]:
    """A chart as it is sent to every tab that shows it: of ``runs`` anew when they have new events, of those ``ended`` once.

    ``extra`` holds what only the lines of ``runs`` are drawn with; a frame in it is one of their phases. ``by`` is as in ``frame``,
    ``reach`` as in ``compose``.
    """
    kind = CHARTS[chart].frame
    still = settled(chart, kind, ended, cast, by=by, **options)
    extra_stamp = repr({name: _stamp("phases", runs) if isinstance(value, pd.DataFrame) else value for name, value in extra.items()})
    stamp = (chart, key, legend, by, reach, _stamp(kind, runs), cast, repr(options), extra_stamp, still.stamp if still else "")

    def make() -> Drawn:
        figure = CHARTS[chart].draw(frame(kind, runs, cast, by=by), **options, **extra)
        return compose(figure, key=key, settled=still, legend=legend, reach=reach)

    return _drawn_held(str(home())).get(stamp, make), still


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh brings."""

    meters: tuple[list[str], str]
    """Of memory that have spoken, and the one that speaks for the device."""
    card: str
    """What the card was read to do, as a sentence."""
    figures: dict[str, str]
    """As JSON, by the key of their chart."""


@dataclass(frozen=True, slots=True)
class Look:
    """The runs of a sweep at a moment; what changes between the stamp and the runs is seen as a change at the next look."""

    moment: float
    """In monotonic seconds."""
    stamp: str
    """As ``stamp_of``."""
    runs: list[Run]


def look(sweep: str) -> Look:
    """The runs of a sweep as they are now."""
    return Look(time.monotonic(), stamp_of(sweep), store().runs(sweep))


def watched(sweep: str, drawn: Look) -> Look:
    """A look that all tabs share, up to a second old; ``drawn``, which a page had itself, where that is newer."""
    key = ("look", sweep, _tick())
    shared: Look = _alike_held(str(home())).get(key, lambda: look(sweep))
    return shared if shared.moment > drawn.moment else drawn


def alike(look: Look, what: str, make: Callable[[], Value]) -> Value:
    """What is the same for all tabs that draw a look, made by the first of them."""
    value: Value = _alike_held(str(home())).get((what, look.moment, look.stamp), make)
    return value


def reach(kind: str, column: str, runs: list[Run]) -> float:
    """The largest value of a column over runs; NaN when there is none."""
    return float(
        _figures_held(str(home())).get(
            ("reach", column, _stamp(kind, runs)),
            lambda: max((float(_frame_of(kind, run)[column].max()) for run in runs if len(_frame_of(kind, run))), default=float("nan")),
        )
    )


@dataclass(frozen=True, slots=True)
class Latest:
    """Where a run stands; None is not known, or not yet."""

    progress: Progress
    loss: float | None
    best: float | None
    """The best validation score, on the metric that was asked for."""
    held_bytes: float | None
    """On the meter that speaks for the device."""


def _latest(run: Run, metric: str) -> Latest:
    evaluations, samples = _frame_of("scores", run), _frame_of("memory", run)
    validation = evaluations.loc[evaluations["split"] == "validation", metric].dropna() if metric in evaluations else pd.Series(dtype=float)
    return Latest(
        series.progress(store(), run),
        _last(_frame_of("steps", run)["loss"].dropna()),
        None if validation.empty else float(validation.max() if METRICS[metric].higher_is_better else validation.min()),
        _last(samples[speaking_meter(samples)].dropna()),
    )


def _last(known: pd.Series) -> float | None:
    return None if known.empty else float(known.iloc[-1])


def latest(look: Look, metric: str) -> dict[str, Latest]:
    """How far each run is and its last figures, by id."""
    cache = _figures_held(str(home()))

    def make() -> dict[str, Latest]:
        stamps = {run.id: tuple(_stamp(kind, [run]) for kind in FRAMES) for run in look.runs}
        return {run.id: cache.get((metric, stamps[run.id]), partial(_latest, run, metric)) for run in look.runs}

    return alike(look, f"latest {metric}", make)
