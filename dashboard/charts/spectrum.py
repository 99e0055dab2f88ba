"""The rank that a trained update really uses: singular values of every adapted layer, or the share of the update that they add up to."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.style import COLOURS, DASHES, FAINT, figure, say
from tabtune_core.analysis.singular_values import MOST_OF_IT

TITLES = {
    "energy": "Share of the squared update (share)",
    "relative_value": "Singular value over the layer's largest (no unit)",
}


def spectrum(directions: pd.DataFrame, *, y: str = "energy") -> go.Figure:
    """``directions`` has one row a direction of a layer: layer, target, direction (from 1), singular_value, energy (0 to 1).

    A thin line a layer in the colour of its target module; the thick line is their mean.
    """
    drawn = figure("Direction, strongest first (no unit)", TITLES[y], height=400)
    if directions.empty:
        return say(drawn, "The update is zero in every layer")
    strongest = directions.groupby("layer", sort=False)["singular_value"].transform("max")
    relative = directions.assign(relative_value=directions["singular_value"] / strongest)
    for place, (target, rows) in enumerate(relative.groupby("target", sort=False)):
        lines = [_with_gap(layer, y) for _, layer in rows.groupby("layer", sort=False)]
        points = pd.concat(lines, ignore_index=True)
        drawn.add_scatter(
            x=points["direction"].to_numpy(),
            y=points["value"].to_numpy(),
            name=str(target),
            mode="lines",
            line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)], "width": 1},
            opacity=0.55,
            customdata=points["layer"].to_numpy(dtype=object),
            hovertemplate="%{customdata}<br>direction %{x}: %{y:.4f}<extra></extra>",
        )
    table = relative.pivot(index="direction", columns="layer", values=y)
    mean = (table.ffill() if y == "energy" else table.fillna(0.0)).mean(axis=1)  # a narrow layer has fewer directions
    drawn.add_scatter(
        x=mean.index.to_numpy(),
        y=mean.to_numpy(),
        name="Mean of the layers",
        mode="lines+markers",
        line={"color": COLOURS[3], "width": 4},
        marker={"size": 9},
        hovertemplate="mean, direction %{x}: %{y:.4f}<extra></extra>",
    )
    if y == "energy":
        drawn.add_hline(MOST_OF_IT, line_color=FAINT, line_dash="dash", line_width=1.5)
        drawn.update_yaxes(tickformat=".0%")
    highest = int(relative["direction"].max())
    drawn.update_xaxes(tickformat="d", dtick=1 if highest <= 16 else None, range=[0.5, highest + 0.5])
    drawn.update_yaxes(rangemode="tozero")
    return drawn


def _with_gap(layer: pd.DataFrame, y: str) -> pd.DataFrame:
    """A layer's points and a point without a value, so that the lines of one trace do not join."""
    points = pd.DataFrame({"layer": layer["layer"], "direction": layer["direction"].astype(float), "value": layer[y]})
    return pd.concat([points, pd.DataFrame({"layer": [""], "direction": [np.nan], "value": [np.nan]})], ignore_index=True)
