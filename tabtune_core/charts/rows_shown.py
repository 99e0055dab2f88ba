"""What more context rows change at prediction: the score over context rows, one line per state of the model."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.intervals import half_width
from tabtune_core.charts.style import figure, label_ends, run_styles, say, span
from tabtune_core.metrics import METRICS


def rows_shown(curve: pd.DataFrame, *, metric: str = "log_loss", split: str = "test") -> go.Figure:
    """``curve`` has one row per state and number of rows: name, context_rows, ``<split>_<metric>``, half width."""
    meaning, name = METRICS[metric], f"{split}_{metric}"
    title = f"{split.capitalize()} {meaning.written} ({meaning.unit})"
    drawn = figure("Context rows at prediction", title, height=400)
    if curve.empty or name not in curve:
        return say(drawn, "Not computed yet")
    values = curve[name].astype(np.float64)
    form = meaning.form(values)
    states = {str(state): rows for state, rows in curve.groupby("name", sort=False)}
    ends = dict[str, tuple[float, str]]()
    for state, style in run_styles(list(states)).items():
        rows = states[state].sort_values("context_rows")
        half = rows.get(half_width(name))
        ends[state] = (float(values[rows.index].iloc[-1]), style.colour)
        drawn.add_scatter(
            x=rows["context_rows"].to_numpy(),
            y=values[rows.index].to_numpy(),
            name=state,
            mode="lines+markers",
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"size": 9, "symbol": style.marker},
            error_y=None if half is None else {"type": "data", "array": half.to_numpy(), "thickness": 1, "width": 3},
            hovertemplate=f"{state}, %{{x:,}} rows<br>%{{y:{form}}}<extra></extra>",
        )
    row_counts = np.unique(curve["context_rows"].to_numpy())
    close = [rows for rows, larger in zip(row_counts, [*row_counts[1:], np.inf], strict=True) if larger > 1.5 * rows]
    drawn.update_xaxes(type="log", tickvals=close, ticktext=[f"{rows:,}" for rows in close], tickangle=-45)
    drawn.layout.yaxis.range = span([values.to_numpy()])
    label_ends(drawn, ends)
    return drawn
