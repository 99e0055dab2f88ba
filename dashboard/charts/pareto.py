"""What a better score costs: each run as a point, the runs that nothing beats on both axes joined by a line."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import MEGABYTE, figure, leave_room, run_styles, say
from tabtune_core.metrics import METRICS
from tabtune_core.runs.ranking import front_of

COSTS = {
    "growth_memory_bytes": ("Memory over the loaded model (MB)", MEGABYTE),
    "peak_memory_bytes": ("Peak memory (MB)", MEGABYTE),
    "train_seconds": ("Training time (s)", 1.0),
    "adapter_bytes": ("Size of the adapter (kB)", 1e3),
}


def pareto(runs: pd.DataFrame, *, cost: str = "growth_memory_bytes", metric: str = "log_loss", split: str = "validation") -> go.Figure:
    """``runs`` has one row a run: run (label), the cost in bytes or seconds, and ``<split>_<metric>``."""
    title, unit = COSTS[cost]
    meaning = METRICS[metric]
    drawn = figure(title, f"{split.capitalize()} {meaning.label} ({meaning.unit})", height=420)
    column = f"{split}_{metric}"
    known = runs.dropna(subset=[cost, column]) if {cost, column} <= set(runs) else runs.iloc[:0]
    if known.empty:
        return say(drawn, "No finished run has both numbers")
    x_N, y_N = known[cost].to_numpy(dtype=np.float64) / unit, known[column].to_numpy(dtype=np.float64)
    digits = meaning.decimals(float(np.abs(y_N).max()))
    front = front_of(x_N, y_N, higher_is_better=meaning.higher_is_better)
    drawn.add_scatter(
        x=x_N[front], y=y_N[front], mode="lines", name="Best trade-offs", hoverinfo="skip",
        line={"color": "#7F8C99", "width": 1.5, "dash": "dot", "shape": "hv"},
    )  # fmt: skip
    styles = run_styles([str(label) for label in (runs["run"].cat.categories if hasattr(runs["run"], "cat") else runs["run"].unique())])
    for label, x, y in zip(known["run"].astype(str), x_N, y_N, strict=True):
        style = styles[label]
        drawn.add_scatter(
            x=[x], y=[y], name=label, mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 12, "line": {"width": 1, "color": "white"}},
            hovertemplate=f"{label}<br>{title}: %{{x:,.2f}}<br>{meaning.label}: %{{y:,.{digits}f}}<extra></extra>",
        )  # fmt: skip
    return leave_room(drawn, y_N)
