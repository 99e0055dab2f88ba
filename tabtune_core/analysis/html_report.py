"""A leaderboard as one page that needs no network: what a better score costs, and the table.

In: the rows, of pipelines or runs, and the other content of the page. Out: HTML.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.analysis.runs_table import MEMORY, one_meter
from tabtune_core.charts import CHARTS
from tabtune_core.charts.style import CONFIG
from tabtune_core.metrics import METRICS
from tabtune_core.wording import decimal, number

COSTS = {"Score and memory": "run_growth_memory_bytes", "Score and time": "train_seconds"}
"""Title of a chart -> the cost that it draws the score against."""
MOST_NAMED = 12
"""Most lines that a legend names; if there are more, hovering shows the names."""
_ALONE = (
    """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; """
    """style-src 'unsafe-inline'; img-src data: blob:">"""
)
"""The page never makes a network request, whatever text it holds."""
_UNITS = {"growth_memory_bytes": ("Memory of training (MB)", 1e6), "adapter_bytes": ("Adapter (kB)", 1e3)}
_SHORT = {
    "gain": "Gain on validation",
    half_width("gain"): "± on validation",
    "test_gain": "Gain on test",
    half_width("test_gain"): "± on test",
    "train_seconds": "Training (s)",
    "trainable_percent": "Trainable (%)",
    "note": "Note",
}


def page(
    board: pd.DataFrame,
    rank_by: str,
    *,
    title: str = "",
    lead: Sequence[str] = (),
    figures: Mapping[str, go.Figure] | None = None,
    parts: Mapping[str, str] | None = None,
) -> str:
    """Returns the whole page; texts and names of entries are escaped.

    ``lead`` comes first; ``figures`` follow those of the costs, and ``parts`` (HTML) the board, each under its heading.
    """
    from plotly.offline import get_plotlyjs

    title = title or f"Leaderboard by validation {METRICS[rank_by].written}"
    labelled = board if "run" in board else board.assign(run=board["name"])
    ranked = labelled[labelled["place"].notna()] if "place" in labelled else labelled  # without archived runs
    alike = one_meter(ranked)
    some = "" if alike.notna().equals(ranked.notna()) else ", runs of one kind of memory only (GPU or process)"
    costs = {
        name + some * (cost in MEMORY): CHARTS["pareto"].draw(alike, x=cost, metric=rank_by)
        for name, cost in COSTS.items()
    }
    drawn = "".join(_section(name, _drawn(figure), "chart") for name, figure in {**costs, **(figures or {})}.items())
    told = "".join(f"<p>{escape(text)}</p>" for text in lead)
    beside = {
        name: Path(__file__).with_name(f"html_report.{name}").read_text(encoding="utf-8") for name in ("css", "js")
    }
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{_ALONE}'
        '<meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(title)}</title><style>{beside["css"]}</style>'
        f"<script>{get_plotlyjs()}</script></head><body><h1>{escape(title)}</h1>{f'<div class=lead>{told}</div>' if told else ''}"
        f"<div class=charts>{drawn}</div>{_section('Leaderboard', _tables(board, rank_by))}"
        f"{''.join(_section(name, part) for name, part in (parts or {}).items())}<script>{beside['js']}</script></body></html>"
    )


def table_of(frame: pd.DataFrame) -> str:
    """Returns a frame as a table that scrolls if it is wider than the page."""
    plain = frame.astype(object).mask(frame.isna(), float("nan"))  # pandas writes None and <NA> whatever na_rep says
    made = plain.to_html(index=False, na_rep="", border=0, float_format=partial(number, digits=4))
    return f"<div class=wide tabindex=0>{made}</div>"


def _tables(board: pd.DataFrame, rank_by: str) -> str:
    """Returns the main columns with their units, and every column in a section that opens on click."""
    names = {
        "place": "Place",
        "name": "Name",
        f"validation_{rank_by}": "Validation",
        f"test_{rank_by}": "Test",
        **_SHORT,
    }
    short = board[[name for name in names if name in board]].rename(columns=names)
    for place, (name, (label, size)) in enumerate(_UNITS.items()):
        short.insert(len(short.columns) - 2 + place, label, board[name].astype("Float64").astype("float64") / size)
    metric, parts = METRICS[rank_by], [name for name in ("Validation", "Test") if name in short]
    places = metric.decimals(short[parts].astype("float64").to_numpy().ravel())
    for part in parts:
        short[part] = [None if pd.isna(score) else decimal(score, places) for score in short[part]]
    ranked = f"{metric.label}: validation ranks, test is only reported. {PLUS_MINUS}."
    rest = f"<details><summary>Every column</summary>{table_of(board.drop(columns='run', errors='ignore'))}</details>"
    return f"<p>{escape(ranked)}</p>{table_of(short)}{rest}"


def _section(name: str, inner: str, kind: str = "") -> str:
    return f'<section class="{kind}"><h2>{escape(name)}</h2>{inner}</section>'


def _drawn(figure: go.Figure) -> str:
    figure.update_layout(
        showlegend=sum(trace.showlegend is not False for trace in figure.data) <= MOST_NAMED, template="none"
    )
    return str(figure.to_html(config=CONFIG | {"responsive": True}, full_html=False, include_plotlyjs=False))
