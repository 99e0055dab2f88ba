"""A Plotly chart that keeps its zoom while data arrives; lines that no longer change are sent once.

Streamlit's own ``st.plotly_chart`` rebuilds the chart on every change of data. This component passes the figure to
``Plotly.react``, which draws the difference; colours of text and grid come from the theme of the page.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import streamlit as st

from dashboard.components import browser_part
from dashboard.components.unreadable import page_part
from dashboard.server.application import PLOTLY_PATH
from tabtune_core.charts import CHARTS
from tabtune_core.charts.style import CONFIG, X_TITLES, spread

_component = browser_part("plotly_chart", "<div class='lab-part'></div>", isolate_styles=False)
MOST_NUMBERS = 1_000
"""Most rows of the table behind a changing chart, because the page sends the table again with every point."""
FEW_STEPS = 10
"""Up to this number each step has a tick; Plotly would put ticks between steps."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure that is ready to be sent to the browser."""

    figure: str
    """As JSON."""
    height: int
    """In pixels."""

    @property
    def stamp(self) -> str:
        """A hash of the figure."""
        return _hash(self.figure)


@dataclass(frozen=True, slots=True)
class Settled:
    """Lines that no longer change, to which the browser adds those of another figure."""

    traces: str
    """A list of Plotly traces as JSON."""
    stamp: str
    """A hash of the traces."""
    layout: go.Layout
    """Used if the other figure has nothing to draw."""


def settle(figure: go.Figure) -> Settled | None:
    """Returns the lines of a figure, or None if it has none."""
    if not figure.data:
        return None
    traces = json.dumps(json.loads(pio.to_json(figure, validate=False))["data"], separators=(",", ":"))
    return Settled(traces, _hash(traces), figure.layout)


def compose(
    figure: go.Figure, *, key: str, settled: Settled | None = None, steps_to_come: float | None = None
) -> Drawn:
    """Returns the figure with axes that also fit ``settled``, whose lines are sent separately.

    Zoom is kept as long as ``key`` and the axes stay the same. An axis of steps is ``steps_to_come`` long.
    """
    spec = join(figure, settled).to_plotly_json()
    layout = spec["layout"]
    across, up = layout.get("xaxis", {}), layout.get("yaxis", {})
    level = up.get("range") is not None
    axes = (across.get("title", {}).get("text"), up.get("title", {}).get("text"), up.get("type"))
    # a range that Plotly or we chose for an empty or level chart must not be kept like a person's zoom
    state = (bool(figure.data) or settled is not None, not level)
    layout |= {"template": None, "uirevision": f"{key} {axes} {state}", "autosize": True}
    if not level:
        up["autorange"] = True
    if steps_to_come and axes[0] == X_TITLES["step"]:
        across |= {"range": [-0.02 * steps_to_come, 1.02 * steps_to_come], "tick0": 0}
        across |= {"dtick": 1} if steps_to_come <= FEW_STEPS else {}
    return Drawn(pio.to_json(spec, validate=False), layout["height"])


def join(figure: go.Figure, settled: Settled | None) -> go.Figure:
    """Returns the figure with axes for both; a fixed range, of equal values, is kept only if both parts have one."""
    if settled is None:
        return figure
    if not figure.data:
        return go.Figure(layout=settled.layout)
    range_, settled_range = figure.layout.yaxis.range, settled.layout.yaxis.range
    both = range_ and settled_range
    figure.layout.yaxis.range = (min(range_[0], settled_range[0]), max(range_[1], settled_range[1])) if both else None
    figure.layout.updatemenus = figure.layout.updatemenus or settled.layout.updatemenus
    for menu in figure.layout.updatemenus:  # "Show all", pressed again
        menu.buttons[0].args2 = [{"yaxis.range": figure.layout.yaxis.range, "yaxis.autorange": False}]
    written = {note.text for note in figure.layout.annotations}
    figure.layout.annotations += tuple(note for note in settled.layout.annotations if note.text not in written)
    spread(figure)
    return figure


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


Numbers = pd.DataFrame | Callable[[], pd.DataFrame]
"""The table behind a chart, or a function that is called when the table is opened."""


def show(
    chart: str,
    frame: pd.DataFrame,
    *,
    key: str = "",
    label: str = "",
    numbers: Numbers | None = None,
    together: str = "",
    **options: Any,
) -> None:
    """Draws a chart of ``CHARTS`` and, below it, a box with its ``numbers``, by default the frame.

    Charts with the same ``together`` hide runs, show the run under the pointer and zoom together.
    """
    key, kind, numbers = key or chart, CHARTS[chart], frame if numbers is None else numbers
    drawn = compose(kind.draw(frame, **options), key=key)
    show_drawn(drawn, key=key, label=label or kind.help, numbers=numbers, together=together)


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
    """Like ``show``, for a figure that ``feed`` may replace; the lines of ``settled`` are sent once."""
    data = {
        "figure": drawn.figure,
        "stamp": drawn.stamp,
        "name": key,
        "config": CONFIG,
        "source": PLOTLY_PATH,
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
    """Replaces figures without redrawing the page; ``figures`` is key -> stamp of the drawn figure, new figure."""
    _component(data={"figures": figures}, key="fed", height=1)


def _table(numbers: Numbers) -> None:
    table = (numbers() if callable(numbers) else numbers).copy(deep=False)
    table.attrs = {}  # they hold the styles of runs, about which Streamlit would warn at each refresh
    if len(table) > MOST_NUMBERS and callable(numbers):
        st.caption(f"The last {MOST_NUMBERS:,} of {len(table):,} rows.")
        table = table.tail(MOST_NUMBERS)
    st.dataframe(table, hide_index=True, height=240)
