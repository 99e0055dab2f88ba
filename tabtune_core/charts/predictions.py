"""Predictions for held-out rows: confusion of classes, calibration, and errors of regression."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.lines import line
from tabtune_core.charts.style import FAINT, each_run, figure, label_ends, say, shortened, span

LABEL_LETTERS = 16
"""Most letters of a class name beside a confusion matrix; the whole name is shown under the pointer."""
MOST_LEVEL = 36
"""Most letters that fit side by side below a narrow matrix; more are turned."""


def confusion_matrix(pairs: pd.DataFrame) -> go.Figure:
    """``pairs`` has one row per pair of classes: label, predicted, rows, share (of that label, 0 to 1)."""
    names = list(dict.fromkeys(pairs["label"].astype(str)))
    ticks = [shortened(name, LABEL_LETTERS) for name in names]
    longest = max(map(len, ticks), default=0)
    turned = longest * len(names) > MOST_LEVEL
    drawn = figure("Predicted class", "True class", height=max(260, 130 + 34 * len(names)) + 6 * longest * turned)
    if pairs.empty:
        return say(drawn, "No prediction to count")
    rows_KK, share_KK = (pairs[name].to_numpy(dtype=np.float64).reshape(len(names), -1) for name in ("rows", "share"))
    places = np.arange(len(names))
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
        hovertemplate="label %{customdata[0]}, predicted %{customdata[1]}<br>%{customdata[2]:,} rows, %{z:.1%} of "
        "the label<extra></extra>",
    )
    counts = [{"x": j, "y": i, "text": f"{rows_KK[i, j]:,.0f}", "showarrow": False} for i in places for j in places]
    drawn.update_layout(annotations=counts)
    drawn.update_xaxes(tickvals=places, ticktext=ticks, tickangle=90 if turned else 0, showgrid=False)
    return drawn.update_yaxes(tickvals=places, ticktext=ticks, showgrid=False, range=[len(names) - 0.5, -0.5])


def reliability_diagram(bins: pd.DataFrame) -> go.Figure:
    """``bins`` has one row per bin of a run: run, low, high, rows, confidence and accuracy (means of the bin, 0 to 1;
    NaN without rows).

    The larger a marker, the more rows; beside a name is the calibration error over these bins (Guo et al. 2017).
    """
    drawn = figure("Confidence, mean of the bin (share)", "Correct rows (share)", height=420)
    known = bins[bins["rows"] > 0]
    if known.empty:
        return say(drawn, "No prediction to count")
    _diagonal(drawn, float(known["confidence"].min()), 1.0)
    most, ends_of = known["rows"].max(), dict[str, tuple[float, str]]()
    for label, rows, style in each_run(known):
        error = float((rows["rows"] * (rows["confidence"] - rows["accuracy"]).abs()).sum() / rows["rows"].sum())
        size = 6 + 14 * np.sqrt(rows["rows"].to_numpy() / most)
        x, y = rows["confidence"].to_numpy(), rows["accuracy"].to_numpy()
        more = {
            "mode": "lines+markers",
            "marker": {"color": style.colour, "symbol": style.marker, "size": size},
            "customdata": rows[["low", "high", "rows"]].to_numpy(),
            "hovertemplate": f"{label}<br>confidence %{{customdata[0]:.0%}} to %{{customdata[1]:.0%}}: "
            "%{customdata[2]:,} rows<br>mean confidence %{x:.1%}, right %{y:.1%}<extra></extra>",
        }
        line(drawn, label, style, x, y, **more)
        ends_of[f"{label}: {error:.4f}"] = (float(rows["accuracy"].iloc[-1]), style.colour)
    drawn.layout.yaxis.range = span([np.array(trace.y, dtype=np.float64) for trace in drawn.data])
    label_ends(drawn, ends_of)
    return drawn.update_xaxes(tickformat=".0%").update_yaxes(tickformat=".0%")


MOST_POINTS = 1500
"""Most points of a run; of more points, every n-th is drawn."""


def predicted_true(errors: pd.DataFrame) -> go.Figure:
    """``errors`` has one row per held-out row of a run: run, row (its number in the table), label, predicted."""
    drawn = figure("True value (unit of the target)", "Predicted value (unit of the target)", height=420)
    if errors.empty:
        return say(drawn, "No prediction to draw")
    _diagonal(drawn, float(errors["label"].min()), float(errors["label"].max()))
    ends = dict[str, tuple[float, str]]()
    for label, rows, style in each_run(errors):
        points = rows.iloc[:: max(1, -(-len(rows) // MOST_POINTS))]
        x, y = (points[name].to_numpy(dtype=np.float64) for name in ("label", "predicted"))
        hover = f"{label}, row %{{customdata}}<br>true %{{x:,.5~r}}, predicted %{{y:,.5~r}}<extra></extra>"
        more = {"mode": "markers", "customdata": points["row"].to_numpy(), "hovertemplate": hover, "opacity": 0.6}
        line(drawn, label, style, x, y, **more)
        ends[label] = (float(y[x.argmax()]), style.colour)
    drawn.layout.yaxis.range = span([errors["label"].to_numpy(), errors["predicted"].to_numpy()])
    label_ends(drawn, ends)
    return drawn


def _diagonal(drawn: go.Figure, low: float, high: float) -> None:
    """Draws the line on which both axes are equal."""
    broad = {"color": FAINT, "width": 4}
    drawn.add_scatter(
        x=[low, high], y=[low, high], name="Equal", mode="lines", hoverinfo="skip", line=broad, opacity=0.35
    )
