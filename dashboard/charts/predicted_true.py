"""Predicted against true numbers."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import FAINT, each_run, figure, say

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
            hovertemplate=f"{label}, row %{{customdata}}<br>true %{{x:,.5~g}}, predicted %{{y:,.5~g}}<extra></extra>",
        )
    return drawn
