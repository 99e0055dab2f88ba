"""The charts that draw one column of the training steps as it is: loss, length of the gradient, learning rate."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def loss(steps: pd.DataFrame, *, unit: str = "nats", x: str = "step", log: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, loss (in ``unit``, on the query rows of the episode)."""
    return lines(steps, "loss", y_title=f"Training loss ({unit})", x=x, log=log, smoothing=smoothing)


def gradient_norm(steps: pd.DataFrame, *, x: str = "step", log: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, gradient_norm (before clipping, no unit)."""
    return lines(steps, "gradient_norm", y_title="Gradient norm before clipping (no unit)", x=x, log=log, smoothing=smoothing)


def learning_rate(steps: pd.DataFrame, *, x: str = "step", log: bool = False) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, learning_rate (a step; with LoRA+, that of the A factors)."""
    return lines(steps, "learning_rate", y_title="Learning rate (per step)", x=x, log=log, hover=".2e")
