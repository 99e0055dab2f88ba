"""Which classes one run takes for which."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import figure, say
from tabtune_core.charts.target import cut


def confusion_matrix(pairs: pd.DataFrame) -> go.Figure:
    """``pairs`` has one row a pair of classes: label, predicted, rows, share (of the rows with that label, 0 to 1: the colour)."""
    names = list(dict.fromkeys(pairs["label"].astype(str)))
    drawn = figure("Predicted class", "True class", height=max(260, 130 + 34 * len(names)))
    if pairs.empty:
        return say(drawn, "No prediction to count")
    shape = (len(names), len(names))
    rows_KK, share_KK = (pairs[name].to_numpy(dtype=np.float64).reshape(shape) for name in ("rows", "share"))
    places, ticks = np.arange(len(names)), [cut(name) for name in names]
    drawn.add_heatmap(
        x=places,
        y=places,
        z=share_KK,
        zmin=0,
        zmax=1,
        xgap=2,
        ygap=2,
        showscale=False,
        colorscale=[[0.0, "rgba(0,114,178,0.06)"], [1.0, "rgba(0,114,178,0.65)"]],
        customdata=np.dstack([np.array([[(a, b) for b in names] for a in names], dtype=object), rows_KK]),
        hovertemplate="label %{customdata[0]}, predicted %{customdata[1]}<br>%{customdata[2]:,} rows, %{z:.1%} of the label<extra></extra>",
    )
    for i in places:
        for j in places:
            drawn.add_annotation(x=j, y=i, text=f"{rows_KK[i, j]:,.0f}", showarrow=False)
    drawn.update_xaxes(tickvals=places, ticktext=ticks, showgrid=False)
    drawn.update_yaxes(tickvals=places, ticktext=ticks, showgrid=False, range=[len(names) - 0.5, -0.5])
    return drawn
