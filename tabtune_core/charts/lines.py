"""Charts with one line per run over steps or seconds: scores, loss, gradient norm and time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from tabtune_core.analysis.run_curves import HIGH, LOW
from tabtune_core.charts.style import (
    LEVEL,
    X_TITLES,
    RunStyle,
    each_run,
    figure,
    focus,
    label_ends,
    labels_of,
    mark_outside,
    say,
    span,
)
from tabtune_core.metrics import METRICS

RUN_X_TITLES = X_TITLES | {"seconds": "Time since the run started (s)"}
MOST_POINTS = 8_000
"""Most points of all runs in one chart."""
FAR = 30.0
"""A run is marked at the edge if its usual value is this many times as far away as the others'."""


def line(
    drawn: go.Figure, label: str, style: RunStyle, x: NDArray[np.generic], y: NDArray[np.floating], **more: Any
) -> None:
    """Draws the line of one run, as its style says."""
    look = {
        "name": label,
        "mode": "lines" if len(x) > 1 else "markers",
        "line": {"color": style.colour, "dash": style.dash, "width": 2},
        "marker": {"color": style.colour, "symbol": style.marker, "size": 6},
        "opacity": style.opacity,
        "legendgroup": label,
        "legendrank": style.place,
    }
    drawn.add_scatter(x=compact(x), y=compact(y), **(look | more))


def points_each(frame: pd.DataFrame) -> int:
    """Returns how many points a run may have: at most 400, fewer if all runs together would have MOST_POINTS."""
    return max(90, min(400, MOST_POINTS // max(len(labels_of(frame)), 1)))


def thin(y_N: NDArray[np.floating], most: int = 400) -> NDArray[np.integer]:
    """Returns the indices of about ``most`` points: first, lowest and highest of equal stretches, so every spike."""
    if len(y_N) <= most:
        return np.arange(len(y_N))
    width = -(-len(y_N) // (most // 3))
    starts = np.arange(0, len(y_N), width)
    value_SW = y_N[np.minimum(starts[:, None] + np.arange(width), len(y_N) - 1)]  # S stretches, each W wide
    lowest = starts + np.where(np.isnan(value_SW), np.inf, value_SW).argmin(axis=1)
    highest = starts + np.where(np.isnan(value_SW), -np.inf, value_SW).argmax(axis=1)
    return np.unique(np.minimum(np.concatenate([starts, lowest, highest, [len(y_N) - 1]]), len(y_N) - 1))


def compact(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the numbers in fewer bytes, as precise as a chart shows them."""
    if np.issubdtype(values.dtype, np.integer) and len(values) and values.min() >= 0:
        return values.astype(np.min_scalar_type(values.max()))
    return values.astype(np.float32) if np.issubdtype(values.dtype, np.floating) else values


def band(drawn: go.Figure, rows: pd.DataFrame, x: str, y: str, label: str, style: RunStyle) -> None:
    """Draws the band from the lowest to the highest run of a group behind its mean, if ``rows`` has these columns."""
    if y + LOW not in rows:
        return
    places = rows[x].to_numpy(dtype=np.float64)
    low, high = (rows[y + end].to_numpy(dtype=np.float64) for end in (LOW, HIGH))
    kept = np.intersect1d(np.flatnonzero(np.isfinite(low + high)), np.union1d(thin(low, 200), thin(high, 200)))
    around, ends = np.append(places[kept], places[kept][::-1]), np.append(high[kept], low[kept][::-1])
    filled = f"rgba({','.join(map(str, bytes.fromhex(style.colour[1:])))},0.16)"
    quiet = {"name": None, "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    edge = {"line": {"width": 0, "color": style.colour}, "fill": "toself", "fillcolor": filled}
    line(drawn, label, style, around, ends, **quiet, **edge)


def lines(
    frame: pd.DataFrame,
    y: str,
    *,
    y_title: str,
    x: str = "step",
    x_titles: Mapping[str, str] = X_TITLES,
    hover: str = ",.4~r",
    nothing: str = "No training step yet",
    from_zero: bool = False,
) -> go.Figure:
    """``frame`` has one row per point: run, step, seconds and the column ``y``."""
    drawn = figure(x_titles[x], y_title).update_xaxes(rangemode="nonnegative")
    most, all_values, ends = points_each(frame), dict[str, NDArray[np.float64]](), dict[str, tuple[float, str]]()
    for label, rows, style in each_run(frame):
        hovered = f"{label}<br>{x_titles[x]}: %{{x:,.6~r}}<br>{y_title}: %{{y:{hover}}}<extra></extra>"
        all_values[label] = values = _draw_run(drawn, rows, x, y, label, style, most, hovertemplate=hovered)
        known = values[np.isfinite(values)]
        if len(known) and style.opacity == 1:
            ends[label] = (float(known[-1]), style.colour)
    if not drawn.data:
        return say(drawn, nothing)
    _show(drawn, all_values, hover, from_zero=from_zero)
    label_ends(drawn, ends)
    return drawn


def _draw_run(
    drawn: go.Figure, rows: pd.DataFrame, x: str, y: str, label: str, style: RunStyle, most: int, **more: Any
) -> NDArray[np.float64]:
    """Draws the line of one run in about ``most`` points, and its band; returns all its values."""
    values = rows[y].to_numpy(dtype=np.float64)
    band(drawn, rows, x, y, label, style)
    kept = thin(values, most)
    line(drawn, label, style, rows[x].to_numpy()[kept], values[kept], **more)
    return values


def _show(drawn: go.Figure, values: Mapping[str, NDArray[np.float64]], form: str, *, from_zero: bool) -> None:
    """Sets a vertical range for all runs but those that are far from the others, which are named at the edge."""
    usual = {name: float(np.nanmedian(line)) for name, line in values.items() if np.isfinite(line).any()}
    shown = None if from_zero else focus(np.array(list(usual.values())), factor=FAR)
    far = {name: value for name, value in usual.items() if shown and not shown[0] <= value <= shown[1]}
    range_ = span((line for name, line in values.items() if name not in far), from_zero=from_zero)
    mark_outside(drawn, far, range_, form.replace("~r", "g"))


def score(
    scores: pd.DataFrame, *, metric: str = "accuracy", x: str = "step", axis_end: float | None = None
) -> go.Figure:
    """``scores`` has one row an evaluation: run, step, seconds, split, best, and a column per metric.

    Zero-shot and references, which have one evaluation, are level lines up to ``axis_end``; a ring marks a run's best.
    """
    meaning = METRICS[metric]
    y_title = f"Validation {meaning.written} ({meaning.unit})"
    drawn = figure(X_TITLES[x], y_title)
    validation = scores[scores["split"] == "validation"]
    if metric not in validation or validation[metric].isna().all():
        return say(drawn, "Not validated yet")
    axis_end = max(float(validation[x].max()) if axis_end is None else axis_end, 1.0)
    most, form = points_each(validation), meaning.form(validation[metric])
    ends, bests = dict[str, tuple[float, str]](), dict[str, float]()
    zero_shot, trained = np.nan, [np.empty(0)]
    for label, rows, style in each_run(validation):
        level = len(rows) == 1 and label.startswith(LEVEL)
        drawn_rows = pd.concat([rows, rows]).assign(**{x: [0.0, axis_end]}) if level else rows
        more = {"mode": "lines" if level else "lines+markers"}
        hover = f"{label}<br>{X_TITLES[x]}: %{{x:,.6~r}}<br>{y_title}: %{{y:{form}}}<extra></extra>"
        values = _draw_run(drawn, drawn_rows, x, metric, label, style, most, hovertemplate=hover, **more)
        known = values[np.isfinite(values)]
        if style.opacity == 1 and len(known):
            ends[label] = (float(known[-1]), style.colour)
            bests[label] = float(known.max() if meaning.higher_is_better else known.min())
        if level:
            zero_shot = values[0] if label.startswith("Zero-shot") else zero_shot
            continue
        trained.append(values)
        best = rows[rows["best"].astype(bool)].tail(1)
        if len(best) and style.opacity == 1:
            ring = {"color": style.colour, "symbol": f"{style.marker}-open", "size": 14, "line": {"width": 2}}
            around = {"mode": "markers", "marker": ring, "name": None, "hovertemplate": f"Best so far<br>{hover}"}
            line(drawn, label, style, best[x].to_numpy(), best[metric].to_numpy(), **around)
    shown = focus(np.concatenate(trained), zero_shot=float(zero_shot), higher=meaning.higher_is_better)
    mark_outside(drawn, bests, shown, form)
    label_ends(drawn, ends)
    return drawn


def loss(steps: pd.DataFrame, *, unit: str = "nats", x: str = "step") -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds, loss (in ``unit``, on its query rows)."""
    return lines(steps, "loss", y_title=f"Training loss ({unit})", x=x)


def gradient_norm(steps: pd.DataFrame, *, x: str = "step") -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds, gradient_norm (before clipping, no unit)."""
    return lines(steps, "gradient_norm", y_title="Gradient norm before clipping", x=x)


def seconds(steps: pd.DataFrame) -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds (since training began, validation included)."""
    by_run = steps.groupby("run", observed=True, sort=False)
    spent = by_run["seconds"].diff().fillna(steps["seconds"]) / by_run["step"].diff().fillna(steps["step"])
    title = "Time per step, evaluation included (s)"
    return lines(steps.assign(spent=spent), "spent", y_title=title, from_zero=True)
