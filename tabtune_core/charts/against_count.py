"""Scores against a number: context rows at prediction, or the rank to which a trained update is truncated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from tabtune_core.analysis.intervals import half_width
from tabtune_core.charts.lines import line
from tabtune_core.charts.style import COLOURS, FAINT, RunStyle, figure, label_ends, run_styles, say, span
from tabtune_core.metrics import METRICS


@dataclass(frozen=True, slots=True)
class _State:
    """One line: a state of a model."""

    label: str
    style: RunStyle
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    half: NDArray[np.float64] | None = None
    """Half widths of the intervals."""
    mode: str = "lines+markers"


def _against(drawn: go.Figure, states: Sequence[_State], form: str) -> go.Figure:
    """Draws the states over a logarithmic axis, with their names at their ends."""
    for one in states:
        bars = None if one.half is None else {"type": "data", "array": one.half, "thickness": 1, "width": 3}
        hover = f"{one.label}, %{{x:,}}<br>%{{y:{form}}}<extra></extra>"
        line(drawn, one.label, one.style, one.x, one.y, mode=one.mode, error_y=bars, hovertemplate=hover)
    places = np.unique(np.concatenate([one.x for one in states]))
    ticks = [x for x, larger in zip(places, [*places[1:], np.inf], strict=True) if larger > 1.5 * x]
    drawn.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{x:,g}" for x in ticks])
    drawn.layout.yaxis.range = span([one.y for one in states])
    ends = {one.label: (float(one.y[-1]) if len(one.y) else np.nan, one.style.colour) for one in states}
    label_ends(drawn, ends)
    return drawn


def rows_shown(curve: pd.DataFrame, *, metric: str = "log_loss", split: str = "test") -> go.Figure:
    """``curve`` has one row per state and number of rows: name, context_rows, ``<split>_<metric>``, half width."""
    meaning, name = METRICS[metric], f"{split}_{metric}"
    title = f"{split.capitalize()} {meaning.written} ({meaning.unit})"
    drawn = figure("Context rows at prediction", title, height=400)
    if curve.empty or name not in curve:
        return say(drawn, "Not computed yet")
    ordered = curve.sort_values("context_rows").astype({"context_rows": float, name: float})
    by_state = {str(state): rows for state, rows in ordered.groupby("name", sort=False)}
    half, states = half_width(name), list[_State]()
    for state, style in run_styles(list(dict.fromkeys(curve["name"].astype(str)))).items():
        rows = by_state[state]
        bars = rows[half].to_numpy() if half in rows else None
        states.append(_State(state, style, rows["context_rows"].to_numpy(), rows[name].to_numpy(), bars))
    return _against(drawn, states, meaning.form(curve[name]))


def truncation(curve: pd.DataFrame, *, metric: str = "log_loss", trained: pd.DataFrame | None = None) -> go.Figure:
    """``curve`` has one row per rank that was kept: rank, ``validation_<metric>`` and, if known, ``test_<metric>``.

    Rank 0 is zero-shot, a level line. ``trained``: rank and ``validation_<metric>`` of runs that trained at their rank.
    """
    meaning = METRICS[metric]
    drawn = figure("Rank after truncation (no unit)", f"{meaning.label} ({meaning.unit})", height=400)
    if curve.empty:
        return say(drawn, "Not computed yet")
    cut, states = curve[curve["rank"] > 0].astype({"rank": float}), list[_State]()
    ranks = cut["rank"].to_numpy()
    splits = {"validation": (COLOURS[0], "solid", "circle", "dot"), "test": (COLOURS[1], "dash", "square", "dashdot")}
    for split, (colour, dash, marker, level) in splits.items():
        if (column := f"{split}_{metric}") in curve:
            scores = cut[column].to_numpy(dtype=np.float64)
            base = np.full(2, curve.loc[curve["rank"] == 0, column].iloc[0], dtype=np.float64)
            states.append(_State(f"Truncated, {split}", RunStyle(colour, dash, marker), ranks, scores))
            faint = RunStyle(FAINT, level, "star")
            states.append(_State(f"Zero-shot, {split}", faint, ranks[[0, -1]], base, mode="lines"))
    if trained is not None and len(trained):
        x, y = (trained[name].to_numpy(dtype=np.float64) for name in ("rank", f"validation_{metric}"))
        ring = RunStyle(COLOURS[2], "solid", "diamond-open")
        states.append(_State("Trained, validation", ring, x, y, mode="markers"))
    return _against(drawn, states, meaning.form(curve[f"validation_{metric}"]))
