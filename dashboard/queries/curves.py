"""Curves of runs for charts, and what the runs are called and look like there.

Read and made once for all tabs: what has ended once, what goes on when it has new events.

In: the events of runs. Out: frames, and whatever else is the same in all tabs; ``shared`` is the one cache of both.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from dashboard.formatting import labels
from dashboard.queries.workspace import home, stamp_of, store
from tabtune_core.analysis.curves import Progress, frame_of, progress
from tabtune_core.analysis.run_curves import RunCurves, group_means
from tabtune_core.charts.memory import speaking_meter
from tabtune_core.charts.style import Role, Styles, roles, styles_of
from tabtune_core.metrics import METRICS
from tabtune_core.store.run_row import Run


@dataclass(frozen=True, slots=True)
class Legend:
    """The names of runs, in the order of a legend."""

    names: tuple[tuple[str, str], ...]
    """Run id and name; runs that share a name are drawn as their mean."""
    styles: Styles
    """One a name, in their order."""

    @property
    def labels(self) -> dict[str, str]:
        """By run id."""
        return dict(self.names)

    @property
    def together(self) -> bool:
        """Whether some runs share a name."""
        return len(self.styles) < len(self.names)

    def name(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its column ``run`` (ids) as names that carry their looks."""
        named = self.labels
        run = pd.Categorical(frame["run"].map(named), categories=list(dict.fromkeys(named.values())))
        frame = frame.assign(run=run)
        frame.attrs["styles"] = self.styles
        return frame


def legend_of(runs: list[Run], among: list[Run] | None = None) -> Legend:
    """Each run under a name of its own, with the name and look that it has ``among`` all runs of its sweep."""
    whole = among or runs
    in_time = sorted(whole, key=lambda run: run.created)  # not as queued, which a person can change
    looks = dict(zip([run.id for run in in_time], styles_of(roles([run.settings for run in in_time])), strict=True))
    named = labels(whole)
    return Legend(tuple((run.id, named[run.id]) for run in runs), Styles(looks[run.id] for run in runs))


def grouped_legend(groups: dict[str, str], shown: list[Run]) -> Legend:
    """The runs that are ``shown`` under the name of their group, by run id; each group of all is a colour."""
    names = list(dict.fromkeys(groups.values()))
    looks = dict(zip(names, styles_of([Role(name, name) for name in names]), strict=True))
    sizes = Counter(groups[run.id] for run in shown)
    written = {name: name if size == 1 else f"{name} · mean of {size}" for name, size in sizes.items()}
    return Legend(tuple((run.id, written[groups[run.id]]) for run in shown), Styles(looks[name] for name in sizes))


Value = TypeVar("Value")
EVERY_SECONDS = 1.0
"""What goes on is read on at most so often, however many tabs watch, and all runs at once: a chart of several is drawn anew with each."""
MOST_BYTES = 400e6
LEAST_BYTES = 2_000
"""That any value is taken to hold, with its key."""


class Shared:
    """Values by key, made by the first who asks, while others who ask for the same wait. The ones least lately asked for go first."""

    def __init__(self, most_bytes: float = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._bytes: dict[Hashable, int] = {}
        self.bytes = 0
        """What all values hold."""

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key; an error of ``make`` is raised for all who wait, and not kept.

        Where the script that makes it is stopped meanwhile, as by a click in its tab, the next who waits makes it.
        """
        with self._lock:
            future: Future[Value] | None = self._held.get(key)
            if future is None:
                mine = self._held[key] = Future()
            else:
                self._held.move_to_end(key)
        if future is not None:
            try:
                return future.result()
            except CancelledError:
                return self.get(key, make)
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                self._held.pop(key, None)
            if isinstance(error, Exception):
                mine.set_exception(error)
            else:
                mine.cancel()
            raise
        mine.set_result(value)
        self.weigh(key, value)
        return value

    def weigh(self, key: Hashable, value: Any) -> None:
        """Notes what a value holds now, for one that grows, and lets others go where there is too much."""
        with self._lock:
            if key not in self._held:
                return
            self.bytes += _size_bytes(value) - self._bytes.get(key, 0)
            self._bytes[key] = _size_bytes(value)
            while self.bytes > self._most_bytes and (oldest := next(iter(self._held))) != key:
                del self._held[oldest]
                self.bytes -= self._bytes.pop(oldest, 0)


def _size_bytes(value: Any) -> int:
    frame = isinstance(value, pd.DataFrame)
    return LEAST_BYTES + (int(value.memory_usage().sum()) if frame else getattr(value, "size_bytes", 0))


@cache  # and not Streamlit's, which takes as long as all else of a look-up
def _held(folder: Path) -> Shared:
    return Shared()


def shared(key: Hashable, make: Callable[[], Value]) -> Value:
    """What is the same for all tabs on this workspace, made by the first that asks; its attribute ``size_bytes`` says what it holds."""
    return _held(home()).get(key, make)


@dataclass(slots=True)
class _Read:
    """A run's curves and when they were read."""

    curves: RunCurves
    status: str = ""
    """Of the run when it was last read: once that is an end, nothing new comes."""
    tick: int = 0
    """The moment, counted in ``EVERY_SECONDS``."""

    @property
    def size_bytes(self) -> int:
        return self.curves.size_bytes


def _tick() -> int:
    return int(time.monotonic() / EVERY_SECONDS)


def _curves(run: Run) -> RunCurves:
    """What one run has emitted, up to a second ago while it goes on."""
    key = ("curves", run.id)
    read = shared(key, lambda: _Read(RunCurves(store(), run.id)))
    if read.status != run.status or (run.status == "running" and _tick() > read.tick):
        tick = _tick()
        read.curves.read_on()  # first, so that a partly read curve is never taken for the whole
        read.status, read.tick = run.status, tick
        _held(home()).weigh(key, read)
    return read.curves


def _frame_of(kind: str, run: Run) -> pd.DataFrame:
    """The rows of one run; never written to."""
    curves = _curves(run)
    if kind != "phases":
        return curves.frames[kind]
    return shared((kind, run.id, run.status, curves.version(kind)), lambda: frame_of(store(), [run.id], kind))


def stamp(kind: str, runs: list[Run]) -> tuple[tuple[str, str, int], ...]:
    """Another one when one of the runs has new events of the kind."""
    return tuple((run.id, run.status, _curves(run).version(kind)) for run in runs)


def frame(kind: str, runs: list[Run], legend: Legend | None = None, *, by: str = "") -> pd.DataFrame:
    """A frame for charts, with the runs named as in ``legend``; with ``by`` those that share a name are their mean. Never written to."""
    legend = legend or legend_of(runs)

    def make() -> pd.DataFrame:
        parts = [_frame_of(kind, run) for run in runs]
        nonempty = [part for part in parts if len(part)]
        combined = pd.concat(nonempty, ignore_index=True) if nonempty else parts[0] if parts else frame_of(store(), [], kind)
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
    """The largest value of a column over runs; 0 if the column is missing."""
    ends = [shared(("end", column, stamp(kind, [run])), partial(_column_end, kind, column, run)) for run in runs]
    return max((end for end in ends if end == end), default=0.0)


def _column_end(kind: str, column: str, run: Run) -> float:
    return float(_frame_of(kind, run)[column].max())


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
    of_all = shared(("look", sweep, _tick()), lambda: look(sweep))
    return of_all if of_all.moment > drawn.moment else drawn


def of_look(look: Look, what: Hashable, make: Callable[[], Value]) -> Value:
    """What is the same for all tabs that draw a look."""
    return shared((what, look.moment, look.stamp), make)


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
        progress(store(), run),
        _last(_frame_of("steps", run)["loss"].dropna()),
        None if validation.empty else float(validation.max() if METRICS[metric].higher_is_better else validation.min()),
        _last(samples[speaking_meter(samples)].dropna()),
    )


def _last(known: pd.Series) -> float | None:
    return None if known.empty else float(known.iloc[-1])


def latest(look: Look, metric: str) -> dict[str, Latest]:
    """How far each run is and its last figures, by id."""

    def make() -> dict[str, Latest]:
        stamps = {run.id: tuple(stamp(kind, [run]) for kind in ("steps", "scores", "memory", "phases")) for run in look.runs}
        return {run.id: shared(("latest", metric, stamps[run.id]), partial(_latest, run, metric)) for run in look.runs}

    return of_look(look, f"latest {metric}", make)
