"""The score at each rank, with the baselines and references as level lines."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.comparison import WRITTEN, differing_settings
from tabtune_core.analysis.intervals import half_width
from tabtune_core.charts.style import BASELINES, COLOURS, DASHES, FAINT, MARKERS, figure, leave_room, say, with_numbers
from tabtune_core.metrics import METRICS
from tabtune_core.settings import STRATEGY_NAMES

HALF = half_width("lora_gap")


def rank_curve(runs: pd.DataFrame, *, metric: str = "log_loss", smallest: int | None = None) -> go.Figure:
    """``runs`` has one row per run: strategy, rank (no unit), seed, ``validation_<metric>``, and settings that may
    differ at one rank.

    Runs that differ only in rank and seed form a line; each point is a mean over seeds. If there is a column
    ``lora_gap_half_width`` (the ± of the difference to the best rank), it is drawn as bars, in the metric's unit.
    ``smallest`` is r*, the smallest rank within one standard error of the best.
    """
    meaning, column = METRICS[metric], f"validation_{metric}"
    drawn = figure("LoRA rank (no unit)", f"Validation {meaning.written} ({meaning.unit})", height=420)
    known = with_numbers(runs, column)
    if known.empty:
        return say(drawn, "No finished run yet")
    written = f"%{{y:{meaning.form(known[column])}}}<extra></extra>"
    lora = known[known["strategy"] == "peft"].astype({"rank": "float64"})
    ranks = np.sort(lora["rank"].unique())
    several = lora["seed"].nunique() > 1
    for place, (name, rows) in enumerate(_lines(lora, differing_settings(lora), "LoRA")):
        colour, marker, hover = (
            COLOURS[place % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            f"{name}, rank %{{x}}<br>{written}",
        )
        means = rows.groupby(["rank", "seed"])[column].mean().groupby("rank").mean()
        halves = rows.groupby("rank")[HALF].first().to_numpy(dtype=np.float64) if HALF in rows else None
        drawn.add_scatter(
            x=means.index.to_numpy(),
            y=means.to_numpy(),
            name=f"{name} (mean over seeds)" if several else name,
            mode="lines+markers",
            line={"color": colour, "dash": DASHES[place % len(DASHES)], "width": 2},
            legendgroup=name,
            marker={"size": 9, "symbol": marker},
            error_y={"visible": False} if halves is None else {"array": halves, "thickness": 1.5, "width": 5},
            hovertemplate=hover,
        )
        if len(rows) > len(means):
            x, y, ring = (
                rows["rank"].to_numpy(),
                rows[column].to_numpy(),
                {"color": colour, "symbol": f"{marker}-open", "size": 9},
            )
            drawn.add_scatter(
                x=x, y=y, name=f"{name}, each seed", mode="markers", legendgroup=name, marker=ring, hovertemplate=hover
            )
    left, right = (ranks[0], ranks[-1]) if len(ranks) > 1 else (1.0, 64.0)
    for strategy, label in ((name, label) for name, label in STRATEGY_NAMES.items() if label in BASELINES):
        baseline = known[known["strategy"] == strategy]
        rates = ["learning_rate"] if "learning_rate" in baseline and baseline["learning_rate"].nunique() > 1 else []
        for place, (name, rows) in enumerate(_lines(baseline.sort_values(rates), rates, label)):
            level, style = float(rows.groupby("seed")[column].mean().mean()), BASELINES[label]
            line = {"color": style.colour, "dash": DASHES[place % len(DASHES)] if place else style.dash, "width": 2}
            drawn.add_scatter(
                x=[left, right],
                y=[level, level],
                name=name,
                mode="lines",
                line=line,
                hovertemplate=f"{name}: {written}",
            )
    if smallest is not None:
        at = {"x": np.log10(smallest), "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "left", "showarrow": False}
        drawn.add_vline(smallest, line_color=FAINT, line_dash="dash", line_width=1.5)
        drawn.add_annotation(text=f" r* = {smallest}", **at)
    drawn.update_xaxes(type="log", tickvals=ranks, ticktext=[f"{rank:g}" for rank in ranks])
    return leave_room(drawn, known[column].to_numpy(dtype=np.float64))


def _lines(runs: pd.DataFrame, apart: list[str], label: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yields the name and the runs of each line: those with the same values of the settings in ``apart``."""
    if not apart:
        yield from [(label, runs)] * bool(len(runs))
        return
    for values, rows in runs.groupby(apart, dropna=False, sort=False):
        yield ", ".join([label, *(WRITTEN[name](value) for name, value in zip(apart, values, strict=True))]), rows
