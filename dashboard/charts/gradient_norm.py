"""Length of the gradient: a sudden rise is the first sign of a run that diverges."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def gradient_norm(steps: pd.DataFrame, *, x: str = "step", log: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, gradient_norm (before clipping, no unit)."""
    return lines(steps, "gradient_norm", y_title="Gradient norm before clipping (no unit)", x=x, log=log, smoothing=smoothing)
