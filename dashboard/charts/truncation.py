"""The rank curve from one run: the scores of its update cut to lower ranks, beside runs that trained at those ranks."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import BASELINES, COLOURS, figure, leave_room, say
from tabtune_core.metrics import METRICS


def truncation(curve: pd.DataFrame, *, metric: str = "log_loss", trained: pd.DataFrame | None = None) -> go.Figure:
    """``curve`` has one row a rank that was kept: rank, ``validation_<metric>`` and, where there are test rows, ``test_<metric>``.

    Rank 0 is zero-shot, a level line. ``trained``: rank and ``validation_<metric>`` of runs that trained at their rank.
    """
    meaning = METRICS[metric]
    drawn = figure("Rank after truncation (no unit)", f"{meaning.label} ({meaning.unit})", height=400)
    if curve.empty:
        return say(drawn, "Not computed yet")
    cut = curve[curve["rank"] > 0]
    written = f"%{{y:,.{meaning.decimals(float(curve[f'validation_{metric}'].abs().max()))}f}}<extra></extra>"
    ranks = cut["rank"].to_numpy(dtype=np.float64)
    styles = {"validation": (COLOURS[0], "solid", "circle"), "test": (COLOURS[1], "dash", "square")}
    for split, (colour, dash, marker) in styles.items():
        column = f"{split}_{metric}"
        if column not in curve:
            continue
        drawn.add_scatter(
            x=ranks,
            y=cut[column].to_numpy(dtype=np.float64),
            name=f"Truncated to the rank, {split}",
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"size": 9, "symbol": marker},
            hovertemplate=f"truncated to rank %{{x}}, {split}<br>{written}",
        )
        base = float(curve.loc[curve["rank"] == 0, column].iloc[0])
        drawn.add_scatter(
            x=ranks[[0, -1]],
            y=[base, base],
            name=f"Zero-shot, {split}",
            mode="lines",
            line={"color": BASELINES["Zero-shot"].colour, "dash": "dot" if split == "validation" else "dashdot", "width": 2},
            hovertemplate=f"Zero-shot, {split}: {written}",
        )
    if trained is not None and len(trained):
        drawn.add_scatter(
            x=trained["rank"].to_numpy(dtype=np.float64),
            y=trained[f"validation_{metric}"].to_numpy(dtype=np.float64),
            name="Trained at the rank, validation",
            mode="markers",
            marker={"color": COLOURS[2], "symbol": "diamond-open", "size": 11, "line": {"width": 2}},
            hovertemplate=f"trained at rank %{{x}}, validation<br>{written}",
        )
    drawn.update_xaxes(type="log", tickvals=ranks, ticktext=[f"{rank:g}" for rank in ranks])
    return leave_room(drawn, curve[f"validation_{metric}"].to_numpy(dtype=np.float64))
