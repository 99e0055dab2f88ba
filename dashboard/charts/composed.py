"""A figure as the browser gets it: its JSON, with what keeps a person's zoom while data arrives."""

import hashlib
from dataclasses import dataclass

import plotly.graph_objects as go
import plotly.io as pio

from dashboard.charts.settled import Settled, join
from dashboard.charts.style import X_TITLES

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
        return hashlib.sha256(self.figure.encode()).hexdigest()[:16]


def compose(figure: go.Figure, *, key: str, settled: Settled | None = None, legend: bool = True, reach: float | None = None) -> Drawn:
    """The figure with the axes of ``settled``, too, whose lines are sent beside it.

    Zoom is kept as long as ``key`` and what the axes mean are the same. ``reach`` is how many steps are known to come: an axis of steps
    is as long, and has no ticks between whole steps.
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
    if reach and axes[0] == X_TITLES["step"]:
        across |= {"range": [-0.02 * reach, 1.02 * reach], "tick0": 0} | ({"dtick": 1} if reach <= FEW_STEPS else {})
    return Drawn(pio.to_json(spec, validate=False), layout["height"])
