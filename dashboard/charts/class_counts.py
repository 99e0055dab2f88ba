"""How many rows each class of the target has."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import COLOURS, figure, say


def class_counts(counts: pd.DataFrame) -> go.Figure:
    """``counts`` has one row a class, largest first: label, rows."""
    drawn = figure("Rows", "Class", height=max(140, 60 + 30 * len(counts)))
    if counts.empty:
        return say(drawn, "No class to count")
    share = counts["rows"] / counts["rows"].sum()
    drawn.add_bar(
        x=counts["rows"].to_numpy(),
        y=counts["label"].astype(str).str.slice(0, 40).to_numpy(dtype=object),
        orientation="h",
        marker={"color": COLOURS[0]},
        text=[f"{rows:,} ({part:.1%})" for rows, part in zip(counts["rows"], share, strict=True)],
        textposition="auto",
        cliponaxis=False,
        hovertemplate="%{y}: %{text}<extra></extra>",
        showlegend=False,
    )
    drawn.update_yaxes(autorange="reversed", type="category")
    drawn.update_xaxes(range=[0, float(np.max(counts["rows"])) * 1.05])
    return drawn
