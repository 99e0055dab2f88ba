"""A leaderboard as one page that needs no network: what a better score costs, and the table.

In: the rows, of pipelines, runs or configurations. Out: HTML.
"""

from functools import partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.figures import CONFIG, plain_in_figure
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.pareto import front
from tabtune_core.metrics import METRICS
from tabtune_core.wording import number

_COSTS = {
    "run_growth_memory_bytes": ("Memory over the loaded model (MB)", 1e6),
    "trainable_parameters": ("Trained parameters (thousands)", 1e3),
}
_INTERVALS = f"Bars, and columns that end in {half_width('')}, are half the width of a 95 % interval."
_STYLE = (
    "body{font:14px system-ui;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:right}"
)


_ALONE = (
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; """
    """style-src 'unsafe-inline'; img-src data: blob:">"""
)
"""The page never makes a network request, whatever text it holds."""


def page(board: pd.DataFrame, rank_by: str) -> str:
    """The whole page; names of entries are text in it, never markup."""
    figures = [
        pareto(board, rank_by, cost).to_html(config=CONFIG, full_html=False, include_plotlyjs=cost == next(iter(_COSTS))) for cost in _COSTS
    ]
    table = board.to_html(index=False, na_rep="", float_format=partial(number, digits=4))
    title = f"Leaderboard by validation {METRICS[rank_by].written}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_ALONE}<title>{title}</title><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1>{''.join(figures)}<p>{_INTERVALS}</p>{table}</body></html>"
    )


def pareto(board: pd.DataFrame, rank_by: str, cost: str) -> go.Figure:
    """Each entry as a point, with its interval where it has one; those that nothing beats on both axes are joined by a line."""
    title, unit = _COSTS[cost]
    meaning, score = METRICS[rank_by], f"validation_{rank_by}"
    known = board.dropna(subset=["place", cost, score])
    x_N, y_N = known[cost].to_numpy(dtype=np.float64) / unit, known[score].to_numpy(dtype=np.float64)
    best = np.flatnonzero(front(known, {cost: True, score: not meaning.higher_is_better}))
    best = best[np.argsort(x_N[best], kind="stable")]
    figure = go.Figure(layout={"height": 420, "template": "plotly_white"})
    figure.update_xaxes(title=title).update_yaxes(title=f"Validation {meaning.written} ({meaning.unit})")
    figure.add_scatter(
        x=x_N[best], y=y_N[best], mode="lines", name="Best trade-offs", hoverinfo="skip", line={"dash": "dot", "shape": "hv"}
    )
    figure.add_scatter(
        x=x_N,
        y=y_N,
        text=known["name"].astype(str).map(plain_in_figure),
        mode="markers+text",
        textposition="top center",
        name="Entries",
        marker={"size": 11},
        error_y={"type": "data", "array": known[half_width(score)]} if half_width(score) in known else None,
        cliponaxis=False,
    )
    return figure
