"""Curves of runs for charts, made once for all tabs, and the names and styles of the runs there.

In: the events of runs. Out: frames, and other values that all tabs share; ``shared`` is the cache of both.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from dashboard.formatting import labels
from dashboard.queries.workspace import home, stamp_of, store
from tabtune_core.analysis.curves import Progress, progress
from tabtune_core.analysis.run_curves import GROWN, KINDS, RunCurves, group_means
from tabtune_core.charts.style import Styles, roles, run_styles, styles_of, with_names
from tabtune_core.metrics import METRICS
from tabtune_core.store.run_row import Run


@dataclass(frozen=True, slots=True)
class Legend:
    """The names of runs, in legend order."""

    names: tuple[tuple[str, str], ...]
    """Run id and name; runs that share a name are drawn as their mean."""
    styles: Styles
    """One per name, in the same order."""

    @property
    def labels(self) -> dict[str, str]:
        """Names by run id."""
        return dict(self.names)

    @property
    def together(self) -> bool:
        """True if some runs share a name."""
        return len(self.styles) < len(self.names)

    def name(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Returns the frame with names in place of ids in the column ``run``, and the styles in its attributes."""
        return with_names(frame, self.labels, self.styles)


def legend_of(runs: list[Run], among: list[Run] | None = None) -> Legend:
    """Returns a legend in which each run has the name and style that it has ``among`` all runs of its sweep."""
    whole = among or runs
    in_time = sorted(whole, key=lambda run: run.created)  # not in queue order, which a person can change
    styles = styles_of(roles([run.settings for run in in_time]), [run.status == "outrun" for run in in_time])
    looks = dict(zip([run.id for run in in_time], styles, strict=True))
    named = labels(whole)
    return Legend(tuple((run.id, named[run.id]) for run in runs), Styles(looks[run.id] for run in runs))


def grouped_legend(groups: dict[str, str], shown: list[Run]) -> Legend:
    """Returns a legend in which the runs ``shown`` have the name and colour of their group; ``groups`` is by run id."""
    looks = run_styles(list(dict.fromkeys(groups.values())))
    sizes = Counter(groups[run.id] for run in shown)
    written = {name: name if size == 1 else f"{name} · mean of {size}" for name, size in sizes.items()}
    return Legend(tuple((run.id, written[groups[run.id]]) for run in shown), Styles(looks[name] for name in sizes))


Value = TypeVar("Value")
EVERY_SECONDS = 1.0
"""Shortest time between two reads of running runs, however many tabs watch."""


MOST_VALUES = 1_000


class Shared:
    """The latest values that all tabs share, by key; the first tab that asks makes a value, others wait for it."""

    def __init__(self) -> None:
        self._lock, self._values = threading.RLock(), OrderedDict[Hashable, Any]()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Returns the value of a key; an error of ``make`` is raised and not kept."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
                while len(self._values) > MOST_VALUES:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            value: Value = self._values[key]
            return value


@cache  # Streamlit's cache would double the time of a look-up
def _held(folder: Path) -> Shared:
    return Shared()


def shared(key: Hashable, make: Callable[[], Value]) -> Value:
    """Returns a value that all tabs on this workspace share."""
    return _held(home()).get(key, make)


class _Read(RunCurves):
    """A run's curves and when they were read; once its status is an end, there are no new events."""

    tick = 0
    """Time of the last read, in units of ``EVERY_SECONDS``."""


def _tick() -> int:
    return int(time.monotonic() / EVERY_SECONDS)


def _curves(run: Run) -> RunCurves:
    """Returns the curves of one run, which must not be modified; at most ``EVERY_SECONDS`` old while it is running."""
    key = ("curves", run.id)
    read = shared(key, lambda: _Read(store(), run.id))
    if read.status != run.status or (run.status == "running" and _tick() > read.tick):
        tick = _tick()
        read.read_on(run.status)
        read.tick = tick
    return read


def stamp(kind: str, runs: list[Run]) -> tuple[tuple[str, str, int], ...]:
    """Returns a stamp that changes when one of the runs has new events of the kind."""
    return tuple((run.id, run.status, _curves(run).version(kind)) for run in runs)


def frame(kind: str, runs: list[Run], legend: Legend | None = None, *, by: str = "") -> pd.DataFrame:
    """Returns a frame, not to be modified; with ``by``, runs that share a name in ``legend`` become their mean."""
    legend = legend or legend_of(runs)

    def make() -> pd.DataFrame:
        parts = [rows for run in runs if len(rows := _curves(run).frames[kind])]
        combined = pd.concat(parts, ignore_index=True) if parts else RunCurves(store(), "").frames[kind]
        if kind == "scores" and by:
            combined = combined[combined["split"] == "validation"]
        named = legend.name(combined)
        if not by:
            return named
        means = group_means(named, by)
        if kind == "scores":
            means = means.assign(split="validation", best=False)
        means.attrs = named.attrs
        return means

    return shared((kind, by, stamp(kind, runs), legend), make)


def axis_end(kind: str, column: str, runs: list[Run]) -> float:
    """Returns the largest value of a column over runs; 0 if there is none."""

    def end(run: Run) -> float:
        return float(_curves(run).frames[kind][column].max())

    ends = [shared(("end", column, stamp(kind, [run])), partial(end, run)) for run in runs]
    return max((end for end in ends if end == end), default=0.0)


@dataclass(frozen=True, slots=True)
class Look:
    """The runs of a sweep at a moment; a change between reading the stamp and the runs is noticed at the next look."""

    moment: float
    """In monotonic seconds."""
    stamp: str
    """From ``stamp_of``."""
    runs: list[Run]


def look(sweep: str) -> Look:
    """Reads the runs of a sweep now."""
    return Look(time.monotonic(), stamp_of(sweep), store().runs(sweep))


def watched(sweep: str, drawn: Look) -> Look:
    """Returns a look that all tabs share, up to a second old, or ``drawn``, the page's own look, if that is newer."""
    of_all = shared(("look", sweep, _tick()), lambda: look(sweep))
    return of_all if of_all.moment > drawn.moment else drawn


def of_look(look: Look, what: Hashable, make: Callable[[], Value]) -> Value:
    """Returns a value that all tabs with the same look share."""
    return shared((what, look.moment, look.stamp), make)


@dataclass(frozen=True, slots=True)
class Latest:
    """The progress and last figures of a run; None if not known, or not yet."""

    progress: Progress
    loss: float | None
    best: float | None
    """The best validation score by the requested metric, that of the result once the run has one."""
    held_bytes: float | None
    """What it adds to the loaded model now."""


def _latest(run: Run, metric: str) -> Latest:
    frames = _curves(run).frames
    evaluations, samples = frames["scores"], frames["memory"]
    validation = (
        evaluations.loc[evaluations["split"] == "validation", metric].dropna()
        if metric in evaluations
        else pd.Series(dtype=float)
    )
    best = (
        None if validation.empty else float(validation.max() if METRICS[metric].higher_is_better else validation.min())
    )
    return Latest(
        progress(store(), run),
        _last(frames["steps"]["loss"].dropna()),
        run.result.validation.get(metric, best) if run.result else best,
        _last(samples[GROWN].dropna()),
    )


def _last(known: pd.Series) -> float | None:
    return None if known.empty else float(known.iloc[-1])


def latest(look: Look, metric: str) -> dict[str, Latest]:
    """Returns run id -> its progress and last figures."""

    def make() -> dict[str, Latest]:
        stamps = {run.id: tuple(stamp(kind, [run]) for kind in KINDS) for run in look.runs}
        return {run.id: shared(("latest", metric, stamps[run.id]), partial(_latest, run, metric)) for run in look.runs}

    return of_look(look, f"latest {metric}", make)
