"""How sure a model is: rows by the probability of the predicted class."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import each_run, figure, say


def confidence_rows(bins: pd.DataFrame) -> go.Figure:
    """``bins`` has one row a bin of a run: run, low, high (confidence, 0 to 1), rows."""
    drawn = figure("Confidence (share)", "Rows", height=260)
    for label, rows, style in each_run(bins[bins["low"] >= bins.loc[bins["rows"] > 0, "low"].min()]):
        drawn.add_bar(
            x=((rows["low"] + rows["high"]) / 2).to_numpy(),
            y=rows["rows"].to_numpy(),
            name=label,
            marker={"color": style.colour},
            customdata=rows[["low", "high"]].to_numpy(),
            hovertemplate=f"{label}<br>confidence %{{customdata[0]:.0%}} to %{{customdata[1]:.0%}}: %{{y:,}} rows<extra></extra>",
        )
    if not drawn.data:
        return say(drawn, "No prediction to count")
    drawn.update_xaxes(tickformat=".0%")
    return drawn
