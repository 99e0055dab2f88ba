"""The target: how many rows each class has, or how its numbers are distributed."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import COLOURS, figure, say, shortened

MOST = 12
LABEL_LETTERS = 40


def class_counts(counts: pd.DataFrame) -> go.Figure:
    """``counts`` has one row per class, largest first: label, rows; the largest have their shares of all rows."""
    largest = counts.head(MOST)
    drawn = figure("Rows", "Class", height=max(140, 60 + 30 * len(largest)))
    if counts.empty:
        return say(drawn, "No class to count")
    share = largest["rows"] / counts["rows"].sum()
    labels = largest["label"].astype(str)
    # not the labels: two may be equal when shortened, and Plotly takes "1" and "01" for one number
    places = -np.arange(len(largest))
    drawn.add_bar(
        x=largest["rows"].to_numpy(),
        y=places,
        orientation="h",
        marker={"color": COLOURS[0]},
        text=[f"{rows:,} ({part:.1%})" for rows, part in zip(largest["rows"], share, strict=True)],
        textposition="auto",
        cliponaxis=False,
        customdata=labels.to_numpy(dtype=object),
        hovertemplate="%{customdata}: %{text}<extra></extra>",
        showlegend=False,
    )
    drawn.update_yaxes(tickvals=places, ticktext=[shortened(label, LABEL_LETTERS) for label in labels])
    return drawn.update_xaxes(range=[0, float(largest["rows"].max()) * 1.05])


def target_values(bars: pd.DataFrame) -> go.Figure:
    """``bars`` has one row per bin of values: low, high (in the unit of the target), rows."""
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
        hovertemplate="%{customdata[0]:,.5~r} to %{customdata[1]:,.5~r}: %{y:,} rows<extra></extra>",
        showlegend=False,
    )
    return drawn
