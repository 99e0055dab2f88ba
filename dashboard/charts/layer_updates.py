"""Where training changed the model: the size of the update of each adapted layer, side by side for the runs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import each_run, figure, say

MOST = 40
LETTERS = 34


def layer_updates(layers: pd.DataFrame) -> go.Figure:
    """``layers`` has one row a layer of a run: run, layer, relative_update (Frobenius norm of the update over that of the weight).

    The forty layers that changed most, in the order in which the model uses them.
    """
    known = layers.dropna(subset=["relative_update"])
    largest = known.groupby("layer", sort=False)["relative_update"].max()
    kept = list(largest.index[largest.rank(method="first", ascending=False) <= MOST])
    drawn = figure("Norm of the update / norm of the weight (share)", "Adapted layer (no unit)", height=max(220, 120 + 18 * len(kept)))
    if known.empty:
        return say(drawn, "Not computed yet")
    places = {name: place for place, name in enumerate(kept)}
    for label, rows, style in each_run(known[known["layer"].isin(kept)]):
        drawn.add_scatter(
            x=rows["relative_update"].to_numpy(dtype=np.float64),
            y=rows["layer"].map(places).to_numpy(),
            name=label,
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 9, "line": {"width": 1, "color": "white"}},
            customdata=rows["layer"].to_numpy(dtype=object),
            hovertemplate=f"%{{customdata}}<br>{label}: %{{x:.2%}}<extra></extra>",
        )
    downwards = [len(kept) - 0.5, -0.5]
    drawn.update_yaxes(range=downwards, tickvals=list(places.values()), ticktext=[_cut(name) for name in kept], tickfont={"size": 10})
    drawn.update_xaxes(tickformat=".1%", rangemode="tozero", side="bottom")
    return drawn


def _cut(path: str) -> str:
    """The last letters of a path: its beginning is what paths share."""
    return path if len(path) <= LETTERS else f"…{path[1 - LETTERS :].lstrip('.')}"
