"""How fast training goes: seconds of each step, or their sum."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def seconds(steps: pd.DataFrame, *, cumulative: bool = False, log: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds (since training began, validation included)."""
    if cumulative:
        return _from_zero(lines(steps, "seconds", y_title="Training time (s)", log=log), log)
    by_run = steps.groupby("run", observed=True, sort=False)
    spent = by_run["seconds"].diff().fillna(steps["seconds"]) / by_run["step"].diff().fillna(steps["step"])
    title = "Time per step, evaluation included (s)"
    return _from_zero(lines(steps.assign(spent=spent), "spent", y_title=title, log=log, smoothing=smoothing), log)


def _from_zero(drawn: go.Figure, log: bool) -> go.Figure:
    """Times compare by their length, so the axis begins at 0."""
    if not log:
        drawn.update_yaxes(rangemode="tozero")
    return drawn
