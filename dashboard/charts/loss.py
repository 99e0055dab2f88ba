"""Training loss."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def loss(steps: pd.DataFrame, *, unit: str = "nats", x: str = "step", log: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, loss (in ``unit``, on the query rows of the episode)."""
    return lines(steps, "loss", y_title=f"Training loss ({unit})", x=x, log=log, smoothing=smoothing)
