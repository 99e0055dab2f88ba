"""A trained update: its scores when truncated to lower ranks."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import BASELINES, COLOURS, FAINT, figure, label_ends, say, span
from tabtune_core.metrics import METRICS


def truncation(curve: pd.DataFrame, *, metric: str = "log_loss", trained: pd.DataFrame | None = None) -> go.Figure:
    """``curve`` has one row per rank that was kept: rank, ``validation_<metric>`` and, if there are test rows,
    ``test_<metric>``.

    Rank 0 is zero-shot, a level line. ``trained``: rank and ``validation_<metric>`` of runs that trained at their rank.
    """
    meaning = METRICS[metric]
    drawn = figure("Rank after truncation (no unit)", f"{meaning.label} ({meaning.unit})", height=400)
    if curve.empty:
        return say(drawn, "Not computed yet")
    cut = curve[curve["rank"] > 0]
    written = f"%{{y:{meaning.form(curve[f'validation_{metric}'])}}}<extra></extra>"
    ranks = cut["rank"].to_numpy(dtype=np.float64)
    ends = dict[str, tuple[float, str]]()
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
        ends[f"Truncated, {split}"] = (float(cut[column].iloc[-1]) if len(cut) else np.nan, colour)
        ends[f"Zero-shot, {split}"] = (base, FAINT)
        line = {
            "color": BASELINES["Zero-shot"].colour,
            "dash": "dot" if split == "validation" else "dashdot",
            "width": 2,
        }
        name = f"Zero-shot, {split}"
        drawn.add_scatter(
            x=ranks[[0, -1]], y=[base, base], name=name, mode="lines", line=line, hovertemplate=f"{name}: {written}"
        )
    if trained is not None and len(trained):
        x, y = (trained[name].to_numpy(dtype=np.float64) for name in ("rank", f"validation_{metric}"))
        ring = {"color": COLOURS[2], "symbol": "diamond-open", "size": 11, "line": {"width": 2}}
        hover = f"trained at rank %{{x}}, validation<br>{written}"
        drawn.add_scatter(
            x=x, y=y, name="Trained at the rank, validation", mode="markers", marker=ring, hovertemplate=hover
        )
    drawn.update_xaxes(type="log", tickvals=ranks, ticktext=[f"{rank:g}" for rank in ranks])
    drawn.layout.yaxis.range = span([np.array(trace.y, dtype=np.float64) for trace in drawn.data])
    label_ends(drawn, ends)
    return drawn
