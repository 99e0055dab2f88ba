"""How many parameters an adapter of one layer has at each rank, compared with the layer itself."""

import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import BASELINES, COLOURS, figure, say


def adapter_size(sizes: pd.DataFrame, *, rank: int | None = None) -> go.Figure:
    """``sizes`` has one row per rank: rank, adapter, layer (parameters). ``rank`` is marked."""
    drawn = figure("Rank r (no unit)", "Trainable parameters (no unit)", height=260)
    if sizes.empty:
        return say(drawn, "No rank to draw")
    full = BASELINES["Full fine-tuning"]
    drawn.add_scatter(
        x=sizes["rank"].to_numpy(),
        y=sizes["layer"].to_numpy(),
        name="Full fine-tuning",
        mode="lines",
        line={"color": full.colour, "dash": full.dash, "width": 2},
        hovertemplate="Full: %{y:,}<extra></extra>",
    )
    drawn.add_scatter(
        x=sizes["rank"].to_numpy(),
        y=sizes["adapter"].to_numpy(),
        name="LoRA: r (d_in + d_out)",
        mode="lines",
        line={"color": COLOURS[0], "width": 2},
        hovertemplate="r = %{x}: %{y:,}<extra></extra>",
    )
    chosen = sizes[sizes["rank"] == rank]
    if len(chosen):
        drawn.add_scatter(
            x=chosen["rank"].to_numpy(),
            y=chosen["adapter"].to_numpy(),
            mode="markers",
            showlegend=False,
            hoverinfo="skip",
            marker={"color": COLOURS[0], "size": 11, "symbol": "circle", "line": {"width": 1, "color": "white"}},
        )
    return drawn
