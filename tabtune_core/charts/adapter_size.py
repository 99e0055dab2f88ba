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
    for column, name, line, shown in (
        ("layer", "Full fine-tuning", {"color": full.colour, "dash": full.dash, "width": 2}, "Full"),
        ("adapter", "LoRA: r (d_in + d_out)", {"color": COLOURS[0], "width": 2}, "r = %{x}"),
    ):
        hover = f"{shown}: %{{y:,}}<extra></extra>"
        x, y = sizes["rank"].to_numpy(), sizes[column].to_numpy()
        drawn.add_scatter(x=x, y=y, name=name, mode="lines", line=line, hovertemplate=hover)
    chosen = sizes[sizes["rank"] == rank]
    if len(chosen):
        dot = {"color": COLOURS[0], "size": 11, "symbol": "circle", "line": {"width": 1, "color": "white"}}
        x, y = chosen["rank"].to_numpy(), chosen["adapter"].to_numpy()
        drawn.add_scatter(x=x, y=y, mode="markers", showlegend=False, hoverinfo="skip", marker=dot)
    return drawn
