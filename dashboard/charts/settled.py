"""The part of a chart that does not change any more: drawn once, sent once, put together with the rest in the browser.

In: the figure of the runs that have ended. Out: its lines as JSON, and what the axes must know of them.
"""

import hashlib
import json
from dataclasses import dataclass

import plotly.graph_objects as go
import plotly.io as pio


@dataclass(frozen=True, slots=True)
class Settled:
    """Lines to which those of another figure are added; ``legendrank`` orders them all."""

    traces: str
    """A list of Plotly traces as JSON."""
    stamp: str
    """Other lines have another stamp."""
    layout: go.Layout
    """For when the other figure has nothing to draw."""


def settle(figure: go.Figure) -> Settled | None:
    """What a figure draws; None when it draws nothing."""
    if not figure.data:
        return None
    traces = json.dumps(json.loads(pio.to_json(figure, validate=False))["data"], separators=(",", ":"))
    return Settled(traces, hashlib.sha256(traces.encode()).hexdigest()[:16], figure.layout)


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
