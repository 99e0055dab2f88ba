"""A score on the validation rows while training goes on."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import (
    LEVEL,
    X_TITLES,
    band,
    compact,
    each_run,
    figure,
    focus,
    leave_room,
    mark_outside,
    points_each,
    say,
    thin,
)
from tabtune_core.metrics import METRICS


def score(
    scores: pd.DataFrame, *, metric: str = "accuracy", x: str = "step", log: bool = False, axis_end: float | None = None
) -> go.Figure:
    """``scores`` has one row an evaluation: run, step, seconds, split, best, and a column per metric. Step 0 is the
    untrained model.

    Zero-shot and references, which have one evaluation, are level lines up to ``axis_end`` (by default the last point);
    a ring marks the best evaluation of a run.
    """
    meaning = METRICS[metric]
    y_title = f"Validation {meaning.written} ({meaning.unit})"
    drawn = figure(X_TITLES[x], y_title, log=log and not meaning.signed)
    validation = scores[scores["split"] == "validation"]
    if metric not in validation or validation[metric].isna().all():
        return say(drawn, "Not validated yet")
    axis_end = max(float(validation[x].max()) if axis_end is None else axis_end, 1.0)
    most = points_each(validation)
    form = meaning.form(validation[metric])
    for label, rows, style in each_run(validation):
        values = rows[metric].to_numpy(dtype=np.float64)
        hover = f"{label}<br>{X_TITLES[x]}: %{{x:,.6~r}}<br>{y_title}: %{{y:{form}}}<extra></extra>"
        legend = {"legendgroup": label, "legendrank": style.place}
        line = {"color": style.colour, "dash": style.dash, "width": 2}
        trace = legend | {"name": label, "line": line, "hovertemplate": hover}
        if len(rows) == 1 and label.startswith(LEVEL):
            band(drawn, pd.concat([rows, rows]).assign(**{x: [0, axis_end]}), x, metric, label, style)
            drawn.add_scatter(x=[0, axis_end], y=[values[0], values[0]], mode="lines", **trace)
            continue
        band(drawn, rows, x, metric, label, style)
        kept = thin(values, most)
        marker = {"color": style.colour, "symbol": style.marker, "size": 6}
        drawn.add_scatter(
            x=compact(rows[x].to_numpy()[kept]), y=compact(values[kept]), mode="lines+markers", marker=marker, **trace
        )
        best = rows[rows["best"].astype(bool)].tail(1)
        if len(best):
            ring = {"color": style.colour, "symbol": f"{style.marker}-open", "size": 14, "line": {"width": 2}}
            around = legend | {
                "mode": "markers",
                "marker": ring,
                "showlegend": False,
                "hovertemplate": f"Best so far<br>{hover}",
            }
            drawn.add_scatter(x=best[x].to_numpy(), y=best[metric].to_numpy(), **around)
    leave_room(drawn, validation[metric].to_numpy(dtype=np.float64))
    best_of = validation.groupby(validation["run"].astype(str), sort=False)[metric]
    last = (best_of.max() if meaning.higher_is_better else best_of.min()).dropna()
    trained = validation[~validation["run"].astype(str).str.startswith(LEVEL)][metric].to_numpy(dtype=np.float64)
    zero_shot = last[last.index.str.startswith("Zero-shot")]
    shown = focus(
        trained, zero_shot=float(zero_shot.mean()) if len(zero_shot) else np.nan, higher=meaning.higher_is_better
    )
    mark_outside(drawn, {str(name): float(value) for name, value in last.items()}, shown, form)
    return drawn
