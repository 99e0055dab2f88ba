"""How fast training goes: seconds of each step, or their sum."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def seconds(steps: pd.DataFrame, *, cumulative: bool = False, log: bool = False) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds (since training began, validation included)."""
    if cumulative:
        return lines(steps, "seconds", y_title="Time since training began (s)", log=log)
    by_run = steps.groupby("run", observed=True, sort=False)
    spent = by_run["seconds"].diff().fillna(steps["seconds"]) / by_run["step"].diff().fillna(steps["step"])
    return lines(steps.assign(spent=spent), "spent", y_title="Time of a step, looks at validation included (s)", log=log)
