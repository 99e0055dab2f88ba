"""Many runs at once: one line per run through its settings, costs and score; drag along an axis to select lines."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import GOOD_TO_BAD, MEGABYTE, say, with_numbers
from tabtune_core.metrics import METRICS
from tabtune_core.wording import number

AXES = {
    "rank": ("Rank", 1.0, "logarithmic"),
    "alpha": ("Alpha", 1.0, "logarithmic"),
    "dropout": ("Dropout", 1.0, "chosen"),
    "learning_rate": ("Learning rate", 1.0, "logarithmic"),
    "growth_memory_bytes": ("Memory (MB)", MEGABYTE, "measured"),
    "train_seconds": ("Training (s)", 1.0, "measured"),
}
"""By column: title, size of a unit, and kind of axis: ``chosen`` and ``logarithmic`` have the chosen values as marks.
"""
MOST_MARKS = 8


def parallel(runs: pd.DataFrame, *, metric: str = "log_loss") -> go.Figure:
    """``runs`` has one row per run: strategy, the columns of AXES and ``validation_<metric>``. LoRA runs alone have all
    of them.

    Columns with the same value in all runs have no axis.
    """
    drawn = go.Figure()
    clear = dict.fromkeys(("paper_bgcolor", "plot_bgcolor"), "rgba(0,0,0,0)")
    drawn.update_layout(
        height=420, margin={"l": 56, "r": 56, "t": 56, "b": 24}, xaxis_visible=False, yaxis_visible=False, **clear
    )
    meaning, column = METRICS[metric], f"validation_{metric}"
    known = with_numbers(runs[runs["strategy"] == "peft"], column)
    varied = [name for name in AXES if name in known and known[name].notna().all() and known[name].nunique() > 1]
    if len(known) < 2 or not varied:
        return say(drawn, "Two LoRA runs that differ in a setting are needed")
    score_N = known[column].to_numpy(dtype=np.float64)
    form = meaning.form(score_N, [np.ptp(score_N)])  # marks differ even if the scores are close
    scale = {"color": score_N, "colorscale": GOOD_TO_BAD, "reversescale": meaning.higher_is_better}
    drawn.add_parcoords(
        dimensions=[
            *(_dimension(known[name].to_numpy(dtype=np.float64), *AXES[name]) for name in varied),
            {"label": meaning.label, "values": score_N, "tickformat": form},
        ],
        line=scale,
        labelfont={"size": 13},
        tickfont={"size": 12},
        rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
    )
    return drawn


def _dimension(values_N: np.ndarray[Any, np.dtype[np.float64]], title: str, size: float, kind: str) -> dict[str, Any]:
    values_N = values_N / size
    place = np.log10 if kind == "logarithmic" and (values_N > 0).all() else np.asarray
    if kind == "measured":
        return {"label": title, "values": values_N, "tickformat": ",.4~r"}
    marks = np.unique(values_N)
    marks = marks[np.linspace(0, len(marks) - 1, min(len(marks), MOST_MARKS)).round().astype(int)]
    return {
        "label": title,
        "values": place(values_N),
        "tickvals": place(marks),
        "ticktext": [number(mark, 4) for mark in marks],
    }
