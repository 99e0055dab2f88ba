"""Training loss."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def loss(steps: pd.DataFrame, *, x: str = "step", log: bool = False) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, loss (nats, on the query rows of the episode)."""
    return lines(steps, "loss", y_title="Training loss (nats)", x=x, log=log)
