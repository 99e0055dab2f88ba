"""A trained update: its directions in each layer, and its scores when truncated to lower ranks."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.singular_values import MOST_OF_IT
from tabtune_core.charts.style import BASELINES, COLOURS, DASHES, FAINT, figure, label_ends, say, span
from tabtune_core.metrics import METRICS


def spectrum(directions: pd.DataFrame) -> go.Figure:
    """``directions`` has one row per direction of a layer: layer, target, direction (from 1), energy (0 to 1).

    Each layer is a thin line in the colour of its target module; the thick line is their mean.
    """
    title = "Share of the squared update (share)"
    drawn = figure("Direction, strongest first (no unit)", title, height=400)
    if directions.empty:
        return say(drawn, "The update is zero in every layer")
    ends, highest = dict[str, tuple[float, str]](), int(directions["direction"].max())
    for place, (target, rows) in enumerate(directions.groupby("target", sort=False)):
        gap = pd.DataFrame({"layer": [""], "direction": [np.nan], "energy": [np.nan]})  # between the lines of a trace
        points = pd.concat([part for _, layer in rows.groupby("layer", sort=False) for part in (layer, gap)])
        colour = COLOURS[place % len(COLOURS)]
        drawn.add_scatter(
            x=points["direction"].to_numpy(),
            y=points["energy"].to_numpy(),
            name=str(target),
            mode="lines",
            line={"color": colour, "dash": DASHES[place % len(DASHES)], "width": 1},
            opacity=0.55,
            customdata=points["layer"].to_numpy(dtype=object),
            hovertemplate="%{customdata}<br>direction %{x}: %{y:.4f}<extra></extra>",
        )
        ends[str(target)] = (float(rows.groupby("layer")["energy"].max().mean()), colour)
    table = directions.pivot(index="direction", columns="layer", values="energy")
    mean = table.ffill().mean(axis=1)  # a narrow layer has fewer directions
    thick = {"line": {"color": COLOURS[3], "width": 4}, "marker": {"size": 9}, "mode": "lines+markers"}
    hover = "mean, direction %{x}: %{y:.4f}<extra></extra>"
    drawn.add_scatter(
        x=mean.index.to_numpy(), y=mean.to_numpy(), name="Mean of the layers", hovertemplate=hover, **thick
    )
    drawn.add_hline(MOST_OF_IT, line_color=FAINT, line_dash="dash", line_width=1.5)
    drawn.update_xaxes(tickformat="d", dtick=1 if highest <= 16 else None, range=[0.5, highest + 0.5])
    drawn.update_yaxes(tickformat=".0%", range=[0, 1.04])
    label_ends(drawn, ends | {"Mean of the layers": (float(mean.iloc[-1]), COLOURS[3])})
    return drawn


def truncation(curve: pd.DataFrame, *, metric: str = "log_loss", trained: pd.DataFrame | None = None) -> go.Figure:
    """``curve`` has one row per rank that was kept: rank, ``validation_<metric>`` and, if there are test rows,
    ``test_<metric>``.

    Rank 0 is zero-shot, a level line. ``trained``: rank and ``validation_<metric>`` of runs that trained at their rank.
    """
    meaning = METRICS[metric]
    drawn = figure("Rank after truncation (no unit)", f"{meaning.label} ({meaning.unit})", height=400)
    if curve.empty:
        return say(drawn, "Not computed yet")
    cut = curve[curve["rank"] > 0]
    written = f"%{{y:{meaning.form(curve[f'validation_{metric}'])}}}<extra></extra>"
    ranks = cut["rank"].to_numpy(dtype=np.float64)
    ends = dict[str, tuple[float, str]]()
    styles = {"validation": (COLOURS[0], "solid", "circle"), "test": (COLOURS[1], "dash", "square")}
    for split, (colour, dash, marker) in styles.items():
        column = f"{split}_{metric}"
        if column not in curve:
            continue
        drawn.add_scatter(
            x=ranks,
            y=cut[column].to_numpy(dtype=np.float64),
            name=f"Truncated to the rank, {split}",
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"size": 9, "symbol": marker},
            hovertemplate=f"truncated to rank %{{x}}, {split}<br>{written}",
        )
        base = float(curve.loc[curve["rank"] == 0, column].iloc[0])
        ends[f"Truncated, {split}"] = (float(cut[column].iloc[-1]) if len(cut) else np.nan, colour)
        ends[f"Zero-shot, {split}"] = (base, FAINT)
        line = {
            "color": BASELINES["Zero-shot"].colour,
            "dash": "dot" if split == "validation" else "dashdot",
            "width": 2,
        }
        name = f"Zero-shot, {split}"
        drawn.add_scatter(
            x=ranks[[0, -1]], y=[base, base], name=name, mode="lines", line=line, hovertemplate=f"{name}: {written}"
        )
    if trained is not None and len(trained):
        x, y = (trained[name].to_numpy(dtype=np.float64) for name in ("rank", f"validation_{metric}"))
        ring = {"color": COLOURS[2], "symbol": "diamond-open", "size": 11, "line": {"width": 2}}
        hover = f"trained at rank %{{x}}, validation<br>{written}"
        drawn.add_scatter(
            x=x, y=y, name="Trained at the rank, validation", mode="markers", marker=ring, hovertemplate=hover
        )
    drawn.update_xaxes(type="log", tickvals=ranks, ticktext=[f"{rank:g}" for rank in ranks])
    drawn.layout.yaxis.range = span([np.array(trace.y, dtype=np.float64) for trace in drawn.data])
    label_ends(drawn, ends)
    return drawn
