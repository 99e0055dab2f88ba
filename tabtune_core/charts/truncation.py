"""Scores against the rank to which a trained update is truncated."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.lines import line
from tabtune_core.charts.style import COLOURS, FAINT, RunStyle, figure, label_ends, say, span
from tabtune_core.metrics import METRICS


def truncation(curve: pd.DataFrame, *, metric: str = "log_loss", trained: pd.DataFrame | None = None) -> go.Figure:
    """``curve`` has one row per rank that was kept: rank, ``validation_<metric>`` and, if known, ``test_<metric>``.

    Rank 0 is zero-shot, a level line. ``trained``: rank and ``validation_<metric>`` of runs that trained at their rank.
    """
    meaning = METRICS[metric]
    drawn = figure("Rank after truncation", f"{meaning.label} ({meaning.unit})", height=400)
    if curve.empty:
        return say(drawn, "Not computed yet")
    form, ends = meaning.form(curve[f"validation_{metric}"]), dict[str, tuple[float, str]]()

    def draw(label: str, style: RunStyle, x: pd.Series, y: pd.Series, mode: str = "lines+markers") -> None:
        hover = f"{label}, %{{x:,}}<br>%{{y:{form}}}<extra></extra>"
        line(drawn, label, style, x.to_numpy(float), y.to_numpy(float), mode=mode, hovertemplate=hover)
        ends[label] = (float(y.iloc[-1]) if len(y) else np.nan, style.colour)

    cut = curve[curve["rank"] > 0]
    splits = {"validation": (COLOURS[0], "solid", "circle", "dot"), "test": (COLOURS[1], "dash", "square", "dashdot")}
    for split, (colour, dash, marker, level) in splits.items():
        if (column := f"{split}_{metric}") in curve:
            draw(f"Truncated, {split}", RunStyle(colour, dash, marker), cut["rank"], cut[column])
            base = pd.Series(curve.loc[curve["rank"] == 0, column].iloc[0], index=range(2))
            draw(f"Zero-shot, {split}", RunStyle(FAINT, level, "star"), cut["rank"].iloc[[0, -1]], base, mode="lines")
    if trained is not None and len(trained):
        ring = RunStyle(COLOURS[2], "solid", "diamond-open")
        draw("Trained, validation", ring, trained["rank"], trained[f"validation_{metric}"], mode="markers")
    places = np.unique([place for trace in drawn.data for place in trace.x])
    ticks = [x for x, larger in zip(places, [*places[1:], np.inf], strict=True) if larger > 1.5 * x]
    drawn.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{x:,g}" for x in ticks])
    drawn.layout.yaxis.range = span([trace.y for trace in drawn.data])
    label_ends(drawn, ends)
    return drawn
