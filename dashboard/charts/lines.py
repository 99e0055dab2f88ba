"""One line a run over steps or seconds: the body of the loss, gradient norm, learning rate and speed charts."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import X_TITLES, each_run, figure, say, thin


def lines(
    frame: pd.DataFrame, y: str, *, y_title: str, x: str = "step", log: bool = False, hover: str = ".4g", height: int = 320
) -> go.Figure:
    """``frame`` has one row a point: run, step, seconds and the column ``y``."""
    drawn = figure(X_TITLES[x], y_title, log=log, height=height)
    for label, rows, style in each_run(frame):
        values = rows[y].to_numpy(dtype=np.float64)
        kept = thin(values)
        drawn.add_scatter(
            x=rows[x].to_numpy()[kept],
            y=values[kept],
            name=label,
            mode="lines" if len(kept) > 1 else "markers",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"color": style.colour, "symbol": style.marker, "size": 8},
            hovertemplate=f"{label}<br>{X_TITLES[x]}: %{{x:,.6~g}}<br>{y_title}: %{{y:{hover}}}<extra></extra>",
        )
    return drawn if drawn.data else say(drawn, "No training step yet")
