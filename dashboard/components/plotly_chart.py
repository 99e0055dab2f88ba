"""A Plotly chart that keeps its zoom while data arrives; lines that no longer change are sent once.

Streamlit's own ``st.plotly_chart`` builds the chart anew on every change of data. This component hands the figure to
``Plotly.react``, which draws the difference; colours of text and grid come from the theme of the page.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import streamlit as st

from dashboard.components import browser_part
from dashboard.components.unreadable import page_part
from dashboard.server.application import PLOTLY_PATH
from tabtune_core.access import below_base
from tabtune_core.charts.style import CONFIG, X_TITLES

_component = browser_part("plotly_chart", "<div class='lab-part'></div>", isolate_styles=False)
MOST_NUMBERS = 1_000
"""Rows of the table behind a chart that changes: the page sends it anew with every point."""
FEW_STEPS = 10
"""Up to which each has its tick; Plotly would put some between them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure that is ready to be sent."""

    figure: str
    """As JSON."""
    height: int
    """In pixels."""

    @property
    def stamp(self) -> str:
        """Another figure has another one."""
        return _hash(self.figure)

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return len(self.figure)


@dataclass(frozen=True, slots=True)
class Settled:
    """Lines that do not change any more, to which the browser adds those of another figure; ``legendrank`` orders them all."""

    traces: str
    """A list of Plotly traces as JSON."""
    stamp: str
    """Other lines have another stamp."""
    layout: go.Layout
    """For when the other figure has nothing to draw."""

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return len(self.traces)


def settle(figure: go.Figure) -> Settled | None:
    """What a figure draws; None when it draws nothing."""
    if not figure.data:
        return None
    traces = json.dumps(json.loads(pio.to_json(figure, validate=False))["data"], separators=(",", ":"))
    return Settled(traces, _hash(traces), figure.layout)


def compose(
    figure: go.Figure, *, key: str, settled: Settled | None = None, legend: bool = True, steps_to_come: float | None = None
) -> Drawn:
    """The figure with the axes of ``settled``, too, whose lines are sent beside it.

    Zoom is kept as long as ``key`` and what the axes mean are the same. An axis of steps is as long as ``steps_to_come``, and has no ticks
    between whole steps.
    """
    spec = join(figure, settled).to_plotly_json()
    layout = spec["layout"]
    across, up = layout.get("xaxis", {}), layout.get("yaxis", {})  # parallel coordinates have neither
    level = up.get("range") is not None
    axes = (across.get("title", {}).get("text"), up.get("title", {}).get("text"), up.get("type"))
    # a range that Plotly or we chose for an empty or level chart must not outlive it as if a person had zoomed there
    state = (bool(figure.data) or settled is not None, not level)
    layout |= {"template": None, "uirevision": f"{key} {axes} {state}", "autosize": True, "showlegend": legend}
    if not level:
        up["autorange"] = True
    if steps_to_come and axes[0] == X_TITLES["step"]:
        across |= {"range": [-0.02 * steps_to_come, 1.02 * steps_to_come], "tick0": 0}
        across |= {"dtick": 1} if steps_to_come <= FEW_STEPS else {}
    return Drawn(pio.to_json(spec, validate=False), layout["height"])


def join(figure: go.Figure, settled: Settled | None) -> go.Figure:
    """The figure with the axes of both; the lines of ``settled`` are not in it.

    A range that was chosen because all values are one holds only if those of the other part do not reach beyond it.
    """
    if settled is None:
        return figure
    if not figure.data:
        return go.Figure(layout=settled.layout)
    ours, theirs = figure.layout.yaxis.range, settled.layout.yaxis.range
    figure.layout.yaxis.range = (min(ours[0], theirs[0]), max(ours[1], theirs[1])) if ours and theirs else None
    return figure


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


Numbers = pd.DataFrame | Callable[[], pd.DataFrame]
"""The table behind a chart, or a function that is called when the table is opened."""


def show(figure: go.Figure, *, key: str, label: str, numbers: Numbers | None = None, together: str = "") -> None:
    """Draws the figure and, behind it, the table of its numbers. ``label`` is what a screen reader says.

    Zoom is kept as long as the axes mean the same. Charts that name the same ``together`` hide a run, show it where the pointer rests, and
    zoom into axes across that mean the same at once.
    """
    show_drawn(compose(figure, key=key), key=key, label=label, numbers=numbers, together=together)


def show_drawn(
    drawn: Drawn,
    *,
    key: str,
    label: str,
    numbers: Numbers | None = None,
    settled: Settled | None = None,
    together: str = "",
    every: float | None = None,
) -> None:
    """The same for a figure that was composed before, and that ``feed`` may replace. ``settled`` holds lines that do not change while
    others of the figure do: they are sent once, beside the figure. ``every`` is after how many seconds an open table is read again.
    """
    data = {
        "figure": drawn.figure,
        "stamp": drawn.stamp,
        "name": key,
        "config": CONFIG,
        "source": below_base(PLOTLY_PATH),
        "label": label,
        "settled": settled.stamp if settled else "",
        "together": together,
    }
    with st.container(gap=None):
        _component(data=data, key=key, height=drawn.height)
        if settled:
            _component(data={"traces": settled.traces, "stamp": settled.stamp}, key=f"settled_{key}", height=1)
    if numbers is None:
        return
    behind = st.expander("Numbers", key=f"{key}_numbers", on_change="rerun")
    if behind.open:
        with behind:
            (page_part(every)(_table) if every else _table)(numbers)


def feed(figures: dict[str, tuple[str, str]]) -> None:
    """Replaces what charts draw and leaves alone all around them. By the key of a chart: the stamp of the figure that ``show_drawn`` was
    given, as others may have followed it in the browser, and the new figure.
    """
    _component(data={"figures": figures}, key="fed", height=1)


def _table(numbers: Numbers) -> None:
    table = (numbers() if callable(numbers) else numbers).copy(deep=False)
    table.attrs = {}  # how runs look, which no table on the page holds: Streamlit would warn with each refresh
    if len(table) > MOST_NUMBERS and callable(numbers):
        st.caption(f"The last {MOST_NUMBERS:,} of {len(table):,} rows.")
        table = table.tail(MOST_NUMBERS)
    st.dataframe(table, hide_index=True, height=240)
