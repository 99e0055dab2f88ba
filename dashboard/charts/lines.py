"""One line a run over steps or seconds: the body of the loss, gradient norm, learning rate, speed and GPU charts."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import PALE, X_TITLES, band, compact, each_run, figure, points_each, say, smooth, thin
from tabtune_core.analysis.run_curves import LOW


def lines(
    frame: pd.DataFrame,
    y: str,
    *,
    y_title: str,
    x: str = "step",
    x_title: str = "",
    log: bool = False,
    smoothing: float = 0.0,
    hover: str = ".4g",
    nothing: str = "No training step yet",
) -> go.Figure:
    """``frame`` has one row a point: run, step, seconds and the column ``y``.

    With ``smoothing`` above 0 the line is the weighted mean of the points so far, and the points themselves are a pale line behind it, or
    the band of a group is smoothed with its mean.
    """
    x_title = x_title or X_TITLES[x]
    drawn = figure(x_title, y_title, log=log)
    most = points_each(frame)
    value_title = f"{y_title}, smoothed" if smoothing else y_title
    for label, rows, style in each_run(frame):
        places, values = rows[x].to_numpy(), rows[y].to_numpy(dtype=np.float64)
        common = {
            "line": {"color": style.colour, "dash": style.dash, "width": 2},
            "marker": {"color": style.colour, "symbol": style.marker, "size": 8},
            "legendgroup": label,
            "legendrank": style.place,
        }
        band(drawn, rows, x, y, label, style, weight=smoothing)
        if smoothing and y + LOW in rows:
            values = smooth(values, smoothing)
        elif smoothing:
            kept = thin(values, most // 2)
            behind = common | {"line": {"color": style.colour, "width": 1}, "opacity": PALE, "showlegend": False, "hoverinfo": "skip"}
            drawn.add_scatter(x=compact(places[kept]), y=compact(values[kept]), mode="lines", **behind)
            values = smooth(values, smoothing)
        kept = thin(values, most)
        drawn.add_scatter(
            x=compact(places[kept]),
            y=compact(values[kept]),
            name=label,
            mode="lines" if len(kept) > 1 else "markers",
            hovertemplate=f"{label}<br>{x_title}: %{{x:,.6~g}}<br>{value_title}: %{{y:{hover}}}<extra></extra>",
            **common,
        )
    return drawn if drawn.data else say(drawn, nothing)
