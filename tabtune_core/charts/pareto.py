"""What a better score costs: each run as a point over two or three of its numbers, with the Pareto front marked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.pareto import front, within_limits
from tabtune_core.charts.style import FAINT, GOOD_TO_BAD, MEGABYTE, figure, leave_room, run_styles, say, with_numbers
from tabtune_core.metrics import METRICS
from tabtune_core.settings import STRATEGY_NAMES

COSTS = {
    "run_growth_memory_bytes": ("Memory over the loaded model (MB)", MEGABYTE),
    "growth_memory_bytes": ("Memory of training (MB)", MEGABYTE),
    "predict_growth_memory_bytes": ("Memory of prediction (MB)", MEGABYTE),
    "peak_memory_bytes": ("Peak memory (MB)", MEGABYTE),
    "train_seconds": ("Training time (s)", 1.0),
    "adapter_bytes": ("Size of the adapter (kB)", 1e3),
}
SCORE = "score"
MOST_NAMED = 12
"""Most runs, or ranks, that a legend names one by one."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One of the numbers of a run."""

    column: str
    title: str
    size: float
    """One unit of the axis, in the unit of the column."""
    smaller_is_better: bool

    def values(self, runs: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Returns the numbers of the runs in the unit of the axis."""
        return runs[self.column].to_numpy(dtype=np.float64) / self.size


def axis_of(name: str, metric: str) -> Axis:
    """Returns the axis for ``name``, one of COSTS or the validation score."""
    if name == SCORE:
        meaning = METRICS[metric]
        return Axis(
            f"validation_{metric}", f"Validation {meaning.written} ({meaning.unit})", 1.0, not meaning.higher_is_better
        )
    title, size = COSTS[name]
    return Axis(name, title, size, True)


def pareto(
    runs: pd.DataFrame,
    *,
    x: str = "run_growth_memory_bytes",
    y: str = SCORE,
    third: str | None = None,
    metric: str = "log_loss",
    limits: Mapping[str, float] | None = None,
    score_noise: float = 0.0,
) -> go.Figure:
    """``runs`` has one row per run: run (label), strategy, rank, costs in bytes or seconds, and
    ``validation_<metric>``.

    Runs that are ``apart``, if there is such a column, are never best trade-offs.
    ``x``, ``y`` and ``third`` (a colour) are names of COSTS or the score; ``limits`` are the largest allowed values of
    columns: runs beyond them are grey. Scores within ``score_noise`` tie.
    """
    axes = [axis_of(name, metric) for name in (x, y, third) if name]
    drawn = figure(axes[0].title, axes[1].title, height=460)
    known = with_numbers(runs, *(axis.column for axis in axes))
    if known.empty:
        return say(drawn, "No finished run has these numbers")
    fits = within_limits(known, limits or {})
    inside, outside = known[fits], known[~fits]
    hover = _hover(axes, METRICS[metric].form(known[f"validation_{metric}"]))
    if len(outside):
        pale = {"color": FAINT, "symbol": "circle", "size": 9, "opacity": 0.45}
        _points(drawn, outside, axes, hover, name="Outside the limits", marker=pale)
    complete = inside[inside["apart"] == ""] if "apart" in inside else inside
    best = complete[front(complete, {axis.column: axis.smaller_is_better for axis in axes}, score_noise=score_noise)]
    if third:
        ring = {"symbol": "circle-open", "size": 20, "color": FAINT, "line": {"width": 2}}
        named = {"mode": "markers+text", "text": best["run"].astype(str), "textposition": "top center"}
        _points(drawn, best, axes, hover, name="Best trade-offs on all three", marker=ring, **named)
        bar = {"title": {"text": axes[2].title, "side": "right"}, "thickness": 12, "outlinewidth": 0}
        drawn.update_layout(
            coloraxis={"colorscale": GOOD_TO_BAD, "reversescale": not axes[2].smaller_is_better, "colorbar": bar}
        )
    else:
        _steps(drawn, best, axes)
    groups = group_runs(runs)
    names = list(groups.cat.categories)
    styles = runs.attrs.get("styles") if groups.name == "run" else None
    for label, style in zip(names, styles or run_styles(names).values(), strict=True):
        rows = inside[groups[inside.index] == label]
        if len(rows):
            marker = {"symbol": style.marker, "size": 12, "line": {"width": 1, "color": "white"}}
            marker |= {"color": axes[2].values(rows), "coloraxis": "coloraxis"} if third else {"color": style.colour}
            _points(drawn, rows, axes, hover, name=label, marker=marker)
    _limits(drawn, axes, limits or {})
    return leave_room(drawn, axes[1].values(known))


def group_runs(runs: pd.DataFrame) -> pd.Series:
    """Returns each run's legend entry, as an ordered category: the run; with many runs strategy and rank; with many
    ranks strategy.
    """
    run = runs["run"]
    if not isinstance(run.dtype, pd.CategoricalDtype):
        run = run.astype(pd.CategoricalDtype(list(run.unique())))
    ways = runs["strategy"].map(STRATEGY_NAMES)
    ranks = ways + runs["rank"].map(lambda rank: "" if pd.isna(rank) else f" r={rank:g}")
    for names in (
        run,
        ranks.astype(pd.CategoricalDtype(list(ranks[runs["rank"].sort_values(na_position="first").index].unique()))),
    ):
        if len(names.cat.categories) <= MOST_NAMED:
            return names
    return ways.astype("category")


def _points(drawn: go.Figure, rows: pd.DataFrame, axes: list[Axis], hover: str, **trace: object) -> None:
    numbers = np.column_stack([axis.values(rows) for axis in axes])
    trace = {
        "mode": "markers",
        "customdata": np.column_stack([rows["run"].astype(str).to_numpy(dtype=object), numbers]),
    } | trace
    drawn.add_scatter(x=numbers[:, 0], y=numbers[:, 1], hovertemplate=hover, **trace)


def _hover(axes: list[Axis], score_form: str) -> str:
    lines = ["%{customdata[0]}"]
    for place, axis in enumerate(axes, start=1):
        form = ",.2f" if axis.column in COSTS else score_form
        lines.append(f"{axis.title}: %{{customdata[{place}]:{form}}}")
    return "<br>".join(lines) + "<extra></extra>"


def _steps(drawn: go.Figure, best: pd.DataFrame, axes: list[Axis]) -> None:
    """Draws the best reachable value at each place of the first axis: a staircase through the front."""
    points = np.unique(np.column_stack([axis.values(best) for axis in axes]), axis=0)
    shape = "hv" if axes[0].smaller_is_better else "vh"
    line = {"color": FAINT, "width": 1.5, "dash": "dot", "shape": shape}
    drawn.add_scatter(x=points[:, 0], y=points[:, 1], mode="lines", name="Best trade-offs", hoverinfo="skip", line=line)


def _limits(drawn: go.Figure, axes: list[Axis], limits: Mapping[str, float]) -> None:
    line = {"line_color": FAINT, "line_dash": "dash", "line_width": 1.5}
    for axis, add in zip(axes, (drawn.add_vline, drawn.add_hline), strict=False):
        if axis.column in limits:
            add(limits[axis.column] / axis.size, **line)
