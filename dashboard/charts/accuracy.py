"""Accuracy on the validation rows while training goes on."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.score import score


def accuracy(scores: pd.DataFrame, *, x: str = "step", log: bool = False) -> go.Figure:
    """``scores`` has one row a look: run, step, seconds, split, best, accuracy (share of rows predicted right)."""
    return score(scores, metric="accuracy", x=x, log=log)
