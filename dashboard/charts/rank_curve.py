"""What rank buys: the score at each rank, with the two baselines as level lines."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import BASELINES, COLOURS, FAINT, figure, leave_room, say
from tabtune_core.metrics import METRICS

ERROR = "standard_error_to_best_lora"


def rank_curve(runs: pd.DataFrame, *, metric: str = "log_loss", split: str = "validation", smallest: int | None = None) -> go.Figure:
    """``runs`` has one row a run: strategy, rank (no unit), seed and ``<split>_<metric>``. The line is the mean over seeds.

    A column ``standard_error_to_best_lora`` draws bars, in the metric's unit, where a rank has one configuration. ``smallest`` is r*, the
    smallest rank within one standard error of the best.
    """
    meaning = METRICS[metric]
    column = f"{split}_{metric}"
    drawn = figure("LoRA rank (no unit)", f"{split.capitalize()} {meaning.label} ({meaning.unit})", height=420)
    known = runs.dropna(subset=[column]) if column in runs else runs.iloc[:0]
    if known.empty:
        return say(drawn, "No finished run yet")
    written = f"%{{y:,.{meaning.decimals(float(known[column].abs().max()))}f}}<extra></extra>"
    lora = known[known["strategy"] == "peft"]
    ranks = np.sort(lora["rank"].astype(float).unique())
    if len(ranks):
        each = lora.groupby(lora["rank"].astype(float))
        means = each[column].mean()
        drawn.add_scatter(
            x=means.index.to_numpy(), y=means.to_numpy(), name="LoRA (mean over seeds)", mode="lines+markers",
            line={"color": COLOURS[0], "width": 2}, marker={"size": 9, "symbol": "circle"},
            error_y=_bars(each, split), hovertemplate=f"rank %{{x}}<br>{written}",
        )  # fmt: skip
        if len(lora) > len(ranks):
            drawn.add_scatter(
                x=lora["rank"].astype(float).to_numpy(), y=lora[column].to_numpy(), name="LoRA, each seed", mode="markers",
                marker={"color": COLOURS[1], "symbol": "diamond-open", "size": 9}, hovertemplate=f"rank %{{x}}<br>{written}",
            )  # fmt: skip
    left, right = (ranks[0], ranks[-1]) if len(ranks) > 1 else (1.0, 64.0)
    for strategy, label in (("inference", "Zero-shot"), ("base-ft", "Full fine-tuning")):
        rows = known[known["strategy"] == strategy]
        if len(rows):
            level = float(rows[column].mean())
            style = BASELINES[label]
            drawn.add_scatter(
                x=[left, right], y=[level, level], name=label, mode="lines",
                line={"color": style.colour, "dash": style.dash, "width": 2}, hovertemplate=f"{label}: {written}",
            )  # fmt: skip
    if smallest is not None:
        place = {"x": np.log10(smallest), "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "left", "showarrow": False}
        drawn.add_vline(smallest, line_color=FAINT, line_dash="dash", line_width=1.5)
        drawn.add_annotation(text=f" r* = {smallest}", **place)
    drawn.update_xaxes(type="log", tickvals=ranks, ticktext=[f"{rank:g}" for rank in ranks])
    return leave_room(drawn, known[column].to_numpy(dtype=np.float64))


def _bars(each_rank: Any, split: str) -> dict[str, Any]:
    """Errors are known for the validation score alone, and differ within a rank that has several configurations."""
    if split != "validation" or ERROR not in each_rank.obj:
        return {"visible": False}
    errors = each_rank[ERROR].agg(lambda known: known.iloc[0] if known.nunique() == 1 else np.nan)
    return {"array": errors.to_numpy(dtype=np.float64), "thickness": 1.5, "width": 5}
