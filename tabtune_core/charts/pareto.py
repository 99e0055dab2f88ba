"""What a better score costs: each run as a point with its intervals, and the Pareto front marked."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.pareto import cost_noise, front, within_limits
from tabtune_core.charts.style import (
    FAINT,
    LEVEL,
    MEGABYTE,
    MOST_LABELS,
    each_run,
    figure,
    focus,
    label_ends,
    mark_outside,
    say,
    with_numbers,
)
from tabtune_core.metrics import METRICS

COSTS = {
    "run_growth_memory_bytes": ("Memory over the loaded model (MB)", MEGABYTE),
    "train_seconds": ("Training time (s)", 1.0),
    "adapter_bytes": ("Size of the adapter (kB)", 1e3),
    "predict_growth_memory_bytes": ("Memory of prediction (MB)", MEGABYTE),
    "peak_memory_bytes": ("Memory of the whole process (MB)", MEGABYTE),
}
HALF = half_width("lora_gap")


def pareto(
    runs: pd.DataFrame,
    *,
    x: str = "run_growth_memory_bytes",
    metric: str = "log_loss",
    limits: Mapping[str, float] | None = None,
    score_noise: float = 0.0,
) -> go.Figure:
    """``runs`` has one row per run: run (label), strategy, COSTS in bytes or seconds, ``validation_<metric>``.

    Runs that are ``apart``, if there is such a column, are never best trade-offs. ``limits`` are the largest allowed
    values of columns: runs beyond them are grey. Scores within ``score_noise`` tie. Bars: how far repeats differ, and
    ``lora_gap_half_width``. Costs begin at 0, so that differences within noise look like it.
    """
    meaning, score, (title, size) = METRICS[metric], f"validation_{metric}", COSTS[x]
    drawn = figure(title, f"Validation {meaning.written} ({meaning.unit})", height=420)
    known = with_numbers(runs, x, score)
    if known.empty:
        return say(drawn, "No finished run has these numbers")
    known.attrs = runs.attrs
    fits = within_limits(known, limits or {})
    complete = known[fits & (known["apart"] == "")] if "apart" in known else known[fits]
    best = complete[front(complete, {x: True, score: not meaning.higher_is_better}, score_noise=score_noise)]
    points = np.unique(np.column_stack([best[x].astype("float64") / size, best[score].astype("float64")]), axis=0)
    stairs = {"color": FAINT, "width": 1.5, "dash": "dot", "shape": "hv"}
    look = {"mode": "lines", "name": "Best trade-offs", "hoverinfo": "skip", "line": stairs}
    drawn.add_scatter(x=points[:, 0], y=points[:, 1], **look)
    form = meaning.form(known[score])
    hover = f"<br>{title}: %{{x:,.2f}}<br>{meaning.label}: %{{y:{form}}}<extra></extra>"
    places = _points(drawn, known, x, score, fits, hover)
    if len(places) > MOST_LABELS:
        ahead = set(best["run"].astype(str))
        places = {label: place for label, place in places.items() if label in ahead or label.startswith(LEVEL)}
    trained = known[~known["run"].astype(str).str.startswith(LEVEL)][score].to_numpy(dtype=np.float64)
    zero_shot = known.loc[known["run"].astype(str).str.startswith("Zero-shot"), score].mean()
    noise = max(2 * score_noise, 2 * float(known[HALF].max()) if HALF in known and known[HALF].notna().any() else 0.0)
    shown = focus(trained, zero_shot=float(zero_shot), noise=noise, higher=meaning.higher_is_better)
    levels = known.groupby(known["run"].astype(str), sort=False)[score].first()
    mark_outside(drawn, {str(name): float(level) for name, level in levels.items()}, shown, form)
    most = (limits or {}).get(x, 0.0) / size
    drawn.update_xaxes(range=[0, 1.1 * max(float(known[x].max()) / size, most, 1e-9)])
    if most:
        drawn.add_vline(most, line_color=FAINT, line_dash="dash", line_width=1.5)
    label_ends(drawn, places)
    return drawn


def _points(
    drawn: go.Figure, known: pd.DataFrame, x: str, score: str, fits: pd.Series, hover: str
) -> dict[str, tuple[float, str]]:
    """Draws each run with its bars, grey if it does not fit the limits; returns its height and colour by name."""
    places, size = dict[str, tuple[float, str]](), COSTS[x][1]
    for label, rows, style in each_run(known):
        inside = bool(fits[rows.index].all())
        colour = style.colour if inside else FAINT
        cost, scored = rows[x].to_numpy(dtype=np.float64) / size, rows[score].to_numpy(dtype=np.float64)
        bars = {"thickness": 1.2, "width": 4, "color": colour}
        drawn.add_scatter(
            x=cost,
            y=scored,
            name=label,
            mode="markers",
            marker={"symbol": style.marker, "size": 12, "color": colour, "line": {"width": 1, "color": "white"}},
            opacity=1.0 if inside else 0.45,
            error_x={"array": cost_noise(x, cost * size) / size, **bars},
            error_y={"array": rows[HALF].to_numpy(dtype=np.float64), **bars} if HALF in rows else None,
            hovertemplate=f"{label}{hover}",
        )
        places[label] = (float(scored[0]), colour)
    return places
