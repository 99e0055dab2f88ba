"""A trained update: its directions in each layer, its scores when truncated to lower ranks, and how much it changed
each layer.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.singular_values import MOST_OF_IT
from tabtune_core.charts.style import BASELINES, COLOURS, DASHES, FAINT, each_run, figure, label_ends, say, span
from tabtune_core.metrics import METRICS

TITLES = {
    "energy": "Share of the squared update (share)",
    "relative_value": "Singular value over the layer's largest (no unit)",
}


def spectrum(directions: pd.DataFrame, *, y: str = "energy") -> go.Figure:
    """``directions`` has one row per direction of a layer: layer, target, direction (from 1), singular_value, energy (0
    to 1).

    Each layer is a thin line in the colour of its target module; the thick line is their mean.
    """
    drawn = figure("Direction, strongest first (no unit)", TITLES[y], height=400)
    if directions.empty:
        return say(drawn, "The update is zero in every layer")
    strongest = directions.groupby("layer", sort=False)["singular_value"].transform("max")
    relative = directions.assign(relative_value=directions["singular_value"] / strongest)
    ends = dict[str, tuple[float, str]]()
    for place, (target, rows) in enumerate(relative.groupby("target", sort=False)):
        ends[str(target)] = (
            float(rows.loc[rows["direction"] == rows["direction"].max(), y].mean()),
            COLOURS[place % 8],
        )
        gap = pd.DataFrame(
            {"layer": [""], "direction": [np.nan], y: [np.nan]}
        )  # so that the lines of one trace do not join
        points = pd.concat([part for _, layer in rows.groupby("layer", sort=False) for part in (layer, gap)])
        drawn.add_scatter(
            x=points["direction"].to_numpy(),
            y=points[y].to_numpy(),
            name=str(target),
            mode="lines",
            line={"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)], "width": 1},
            opacity=0.55,
            customdata=points["layer"].to_numpy(dtype=object),
            hovertemplate="%{customdata}<br>direction %{x}: %{y:.4f}<extra></extra>",
        )
    table = relative.pivot(index="direction", columns="layer", values=y)
    mean = (table.ffill() if y == "energy" else table.fillna(0.0)).mean(axis=1)  # a narrow layer has fewer directions
    thick = {"line": {"color": COLOURS[3], "width": 4}, "marker": {"size": 9}, "mode": "lines+markers"}
    hover = "mean, direction %{x}: %{y:.4f}<extra></extra>"
    drawn.add_scatter(
        x=mean.index.to_numpy(), y=mean.to_numpy(), name="Mean of the layers", hovertemplate=hover, **thick
    )
    if y == "energy":
        drawn.add_hline(MOST_OF_IT, line_color=FAINT, line_dash="dash", line_width=1.5)
        drawn.update_yaxes(tickformat=".0%")
    highest = int(relative["direction"].max())
    drawn.update_xaxes(tickformat="d", dtick=1 if highest <= 16 else None, range=[0.5, highest + 0.5])
    drawn.update_yaxes(range=[0, 1.04])
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


MOST = 40
LETTERS = 34


def layer_updates(layers: pd.DataFrame) -> go.Figure:
    """``layers`` has one row per layer of a run: run, layer, relative_update (Frobenius norm of the update over that of
    the weight).

    Draws the forty layers that changed most, in the order in which the model uses them.
    """
    known = layers.dropna(subset=["relative_update"])
    largest = known.groupby("layer", sort=False)["relative_update"].max()
    kept = list(largest.index[largest.rank(method="first", ascending=False) <= MOST])
    drawn = figure(
        "Norm of the update / norm of the weight (share)",
        "Adapted layer (no unit)",
        height=max(220, 120 + 18 * len(kept)),
    )
    if known.empty:
        return say(drawn, "Not computed yet")
    places = {name: place for place, name in enumerate(kept)}
    for label, rows, style in each_run(known[known["layer"].isin(kept)]):
        drawn.add_scatter(
            x=rows["relative_update"].to_numpy(dtype=np.float64),
            y=rows["layer"].map(places).to_numpy(),
            name=label,
            mode="markers",
            marker={"color": style.colour, "symbol": style.marker, "size": 9, "line": {"width": 1, "color": "white"}},
            customdata=rows["layer"].to_numpy(dtype=object),
            hovertemplate=f"%{{customdata}}<br>{label}: %{{x:.2%}}<extra></extra>",
        )
    # the last letters of a path, because paths share their beginning
    ticks = [path if len(path) <= LETTERS else f"…{path[1 - LETTERS :].lstrip('.')}" for path in kept]
    drawn.update_yaxes(
        range=[len(kept) - 0.5, -0.5], tickvals=list(places.values()), ticktext=ticks, tickfont={"size": 10}
    )
    return drawn.update_xaxes(tickformat=".1%", rangemode="tozero", side="bottom")
