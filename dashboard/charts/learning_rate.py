"""Learning rate: warm-up, then a cosine down."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines


def learning_rate(steps: pd.DataFrame, *, x: str = "step", log: bool = False) -> go.Figure:
    """``steps`` has one row a training step: run, step, seconds, learning_rate (a step; with LoRA+, that of the A factors)."""
    return lines(steps, "learning_rate", y_title="Learning rate (per step)", x=x, log=log, hover=".2e")
