"""Predicted against true numbers, and how the errors are spread."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import FAINT, each_run, figure, say

MOST_POINTS = 1500
"""Of a run; of more, every so many."""


def predicted_true(errors: pd.DataFrame) -> go.Figure:
    """``errors`` has one row a held-out row of a run: run, row (its number in the table), label, predicted (unit of the target)."""
    drawn = figure("True value (unit of the target)", "Predicted value (unit of the target)", height=420)
    if errors.empty:
        return say(drawn, "No prediction to draw")
    ends = [float(errors["label"].min()), float(errors["label"].max())]
    drawn.add_scatter(
        x=ends, y=ends, name="Exactly right", mode="lines", hoverinfo="skip", line={"color": FAINT, "dash": "dot", "width": 1.5}
    )
    for label, rows, style in each_run(errors):
        points = rows.iloc[:: max(1, -(-len(rows) // MOST_POINTS))]
        drawn.add_scatter(
            x=points["label"].to_numpy(dtype=np.float64),
            y=points["predicted"].to_numpy(dtype=np.float64),
            name=label,
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 7, "opacity": 0.6},
            customdata=points["row"].to_numpy(),
            hovertemplate=f"{label}, row %{{customdata}}<br>true %{{x:,.5~r}}, predicted %{{y:,.5~r}}<extra></extra>",
        )
    return drawn


MOST_BINS = 30


def residuals(errors: pd.DataFrame) -> go.Figure:
    """``errors`` has one row a held-out row of a run: run, error (predicted minus true, unit of the target)."""
    drawn = figure("Predicted minus true value (unit of the target)", "Rows", height=420)
    if errors.empty:
        return say(drawn, "No prediction to draw")
    all_N = errors["error"].to_numpy(dtype=np.float64)
    rows_of_one = errors.groupby("run", observed=True).size().max()
    edges = np.histogram_bin_edges(all_N, min(MOST_BINS, int(np.ceil(2 * np.cbrt(rows_of_one)))))  # Rice's rule
    corners = edges[[0, *range(len(edges)), -1]]
    drawn.add_vline(0, line_color=FAINT, line_dash="dot", line_width=1.5)
    for label, rows, style in each_run(errors):
        counts, _ = np.histogram(rows["error"].to_numpy(dtype=np.float64), edges)
        drawn.add_scatter(
            x=corners,
            y=[0, *counts, counts[-1], 0],
            name=label,
            mode="lines",
            line={"color": style.colour, "dash": style.dash, "width": 2, "shape": "hv"},
            hovertemplate=f"{label}<br>from %{{x:,.4~r}}: %{{y:,}} rows<extra></extra>",
        )
    drawn.update_yaxes(rangemode="tozero")
    return drawn
