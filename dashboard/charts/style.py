"""What all charts share: colours, dashes and markers of the runs, axes with units, and the face of an empty figure.

A ``run`` column that is categorical fixes which runs there are and in which order, so that a run looks the same in every
chart, also in those where it has no point yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#A08A00")
"""Okabe and Ito 2008, safe for colour-blind eyes; the yellow is darkened for white paper, vermilion and grey are the baselines'."""
DASHES = ("solid", "longdash", "dashdot", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon", "hexagon", "star-triangle-up")
MEGABYTE = 1e6
FAINT = "#7F8C99"
"""What is not a run: guides, limits, and what is left out; it shows on light and on dark paper."""
GOOD_TO_BAD = [[0.0, "#0072B2"], [0.5, "#9A9A9A"], [1.0, "#E69F00"]]
"""A colour scale that colour-blind eyes can follow and that shows on light and on dark paper: blue is good, orange bad."""
X_TITLES = {"step": "Training step", "seconds": "Time since training began (s)"}


@dataclass(frozen=True, slots=True)
class RunStyle:
    """How one run is drawn; told apart by colour, dash and marker together."""

    colour: str
    dash: str
    marker: str


BASELINES = {"Zero-shot": RunStyle(FAINT, "dot", "star"), "Full fine-tuning": RunStyle("#D55E00", "dash", "x")}
"""By how the label of a run begins."""


def run_styles(labels: list[str]) -> dict[str, RunStyle]:
    """A style for each label; LoRA runs take the colours in the order they come."""
    styles: dict[str, RunStyle] = {}
    place = 0
    for label in labels:
        baseline = next((style for start, style in BASELINES.items() if label.startswith(start)), None)
        styles[label] = baseline or RunStyle(
            COLOURS[place % len(COLOURS)], DASHES[(place + place // len(COLOURS)) % len(DASHES)], MARKERS[place % len(MARKERS)]
        )
        place += baseline is None
    return styles


def each_run(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, RunStyle]]:
    """Label, rows and style of every run that has rows, in the order of the categories or of appearance."""
    column = frame["run"]
    labels = [str(label) for label in (column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else pd.unique(column))]
    for label, style in run_styles(labels).items():
        rows = frame[column == label]
        if len(rows):
            yield label, rows, style


def figure(x_title: str, y_title: str, *, log: bool = False, height: int = 320) -> go.Figure:
    """An empty figure with named axes. Paper and plot are see-through: the page behind gives the colour."""
    drawn = go.Figure()
    drawn.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
        xaxis={"title": {"text": x_title, "standoff": 8}, "automargin": True, "zeroline": False},
        yaxis={"title": {"text": y_title, "standoff": 8}, "automargin": True, "zeroline": False, "type": "log" if log else "linear"},
    )
    return drawn


def say(drawn: go.Figure, text: str) -> go.Figure:
    """The same figure with a sentence in its middle, for when there is nothing to draw yet."""
    drawn.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 14, "color": FAINT})
    drawn.update_xaxes(showticklabels=False, showgrid=False)
    drawn.update_yaxes(showticklabels=False, showgrid=False)
    return drawn


def leave_room(drawn: go.Figure, values: NDArray[np.floating]) -> go.Figure:
    """The same figure with a sensible vertical range where all values are one; Plotly would show one unit up and down."""
    known = values[np.isfinite(values)]
    if len(known) and drawn.layout.yaxis.type != "log" and np.ptp(known) < 1e-9:
        room = max(0.05 * abs(float(known[0])), 0.01)
        drawn.update_yaxes(range=[float(known[0]) - room, float(known[0]) + room])
    return drawn


def thin(y_N: NDArray[np.floating], most: int = 400) -> NDArray[np.integer]:
    """Indices of at most about ``most`` points that keep every spike: the first, lowest and highest of equal stretches."""
    if len(y_N) <= most:
        return np.arange(len(y_N))
    kept = {0, len(y_N) - 1}
    for stretch in np.array_split(np.arange(len(y_N)), most // 3):
        values = y_N[stretch]
        kept.add(int(stretch[0]))
        if not np.isnan(values).all():
            kept.update((int(stretch[np.nanargmin(values)]), int(stretch[np.nanargmax(values)])))
    return np.array(sorted(kept))
