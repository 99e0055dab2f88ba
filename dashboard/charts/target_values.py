"""How the numbers of the target are spread."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import COLOURS, figure, say


def target_values(bars: pd.DataFrame) -> go.Figure:
    """``bars`` has one row a stretch of values: low, high (in the unit of the target), rows."""
    drawn = figure("Value (unit of the target)", "Rows", height=260)
    if bars.empty:
        return say(drawn, "No number to show")
    low, high = bars["low"].to_numpy(dtype=np.float64), bars["high"].to_numpy(dtype=np.float64)
    drawn.add_bar(
        x=(low + high) / 2,
        y=bars["rows"].to_numpy(),
        width=high - low,
        marker={"color": COLOURS[0], "line": {"width": 1, "color": "white"}},
        customdata=np.column_stack([low, high]),
        hovertemplate="%{customdata[0]:,.5~g} to %{customdata[1]:,.5~g}: %{y:,} rows<extra></extra>",
        showlegend=False,
    )
    return drawn
