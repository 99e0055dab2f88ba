"""Whether a model is right as often as it says: how sure it was against how often that was right, bin by bin, and the rows of each bin."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import FAINT, each_run, figure, say


def reliability_diagram(bins: pd.DataFrame) -> go.Figure:
    """``bins`` has one row a bin of a run: run, low, high, rows, confidence and accuracy (means of the bin, 0 to 1; NaN without rows).

    The larger a marker, the more rows; the legend has the calibration error over these bins (Guo et al. 2017).
    """
    drawn = figure("Confidence, mean of the bin (share)", "Correct rows (share)", height=420)
    known = bins[bins["rows"] > 0]
    if known.empty:
        return say(drawn, "No prediction to count")
    lowest = float(known["confidence"].min())
    drawn.add_scatter(
        x=[lowest, 1],
        y=[lowest, 1],
        name="Perfect calibration",
        mode="lines",
        hoverinfo="skip",
        line={"color": FAINT, "width": 4},
        opacity=0.35,
    )
    most = known["rows"].max()
    for label, rows, style in each_run(known):
        error = float((rows["rows"] * (rows["confidence"] - rows["accuracy"]).abs()).sum() / rows["rows"].sum())
        drawn.add_scatter(
            x=rows["confidence"].to_numpy(),
            y=rows["accuracy"].to_numpy(),
            name=f"{label} (error {error:.4f})",
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 1.5},
            marker={"color": style.colour, "symbol": style.marker, "size": 6 + 14 * np.sqrt(rows["rows"].to_numpy() / most)},
            customdata=rows[["low", "high", "rows"]].to_numpy(),
            hovertemplate=f"{label}<br>confidence %{{customdata[0]:.0%}} to %{{customdata[1]:.0%}}: %{{customdata[2]:,}} rows"
            "<br>mean confidence %{x:.1%}, right %{y:.1%}<extra></extra>",
        )
    for update in (drawn.update_xaxes, drawn.update_yaxes):
        update(tickformat=".0%")
    return drawn


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
