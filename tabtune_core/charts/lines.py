"""Charts with one line per run over steps or seconds: loss, gradient norm, learning rate, time per step, and readings
of the GPU.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.run_curves import LOW
from tabtune_core.charts.style import (
    PALE,
    X_TITLES,
    band,
    compact,
    each_run,
    figure,
    points_each,
    say,
    smooth,
    thin,
    with_numbers,
)

RUN_X_TITLES = X_TITLES | {"seconds": "Time since the run started (s)"}


def lines(
    frame: pd.DataFrame,
    y: str,
    *,
    y_title: str,
    x: str = "step",
    x_titles: Mapping[str, str] = X_TITLES,
    log: bool = False,
    smoothing: float = 0.0,
    hover: str = ",.4~r",
    nothing: str = "No training step yet",
) -> go.Figure:
    """``frame`` has one row per point: run, step, seconds and the column ``y``.

    With ``smoothing`` above 0 the line is the weighted mean of the points so far. The points themselves are a pale line
    behind it; the band of a group is smoothed like its mean.
    """
    drawn = figure(x_titles[x], y_title, log=log).update_xaxes(rangemode="nonnegative")
    most = points_each(frame)
    value_title = f"{y_title}, smoothed" if smoothing else y_title
    for label, rows, style in each_run(frame):
        places, values = rows[x].to_numpy(), rows[y].to_numpy(dtype=np.float64)
        common = {
            "line": {"color": style.colour, "dash": style.dash, "width": 2},
            "marker": {"color": style.colour, "symbol": style.marker, "size": 8},
            "legendgroup": label,
            "legendrank": style.place,
        }
        band(drawn, rows, x, y, label, style, weight=smoothing)
        if smoothing and y + LOW not in rows:
            kept = thin(values, most // 2)
            behind = common | {
                "line": {"color": style.colour, "width": 1},
                "opacity": PALE,
                "showlegend": False,
                "hoverinfo": "skip",
            }
            drawn.add_scatter(x=compact(places[kept]), y=compact(values[kept]), mode="lines", **behind)
        values = smooth(values, smoothing)
        kept = thin(values, most)
        drawn.add_scatter(
            x=compact(places[kept]),
            y=compact(values[kept]),
            name=label,
            mode="lines" if len(kept) > 1 else "markers",
            hovertemplate=f"{label}<br>{x_titles[x]}: %{{x:,.6~r}}<br>{value_title}: %{{y:{hover}}}<extra></extra>",
            **common,
        )
    return drawn if drawn.data else say(drawn, nothing)


def loss(
    steps: pd.DataFrame, *, unit: str = "nats", x: str = "step", log: bool = False, smoothing: float = 0.0
) -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds, loss (in ``unit``, on the query rows of the
    episode).
    """
    return lines(steps, "loss", y_title=f"Training loss ({unit})", x=x, log=log, smoothing=smoothing)


def gradient_norm(steps: pd.DataFrame, *, x: str = "step", log: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds, gradient_norm (before clipping, no unit)."""
    return lines(
        steps, "gradient_norm", y_title="Gradient norm before clipping (no unit)", x=x, log=log, smoothing=smoothing
    )


def learning_rate(steps: pd.DataFrame, *, x: str = "step") -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds, learning_rate (per step; with LoRA+, that of the A
    factors).
    """
    return lines(steps, "learning_rate", y_title="Learning rate (per step)", x=x, hover=".2e")


def seconds(steps: pd.DataFrame, *, cumulative: bool = False, smoothing: float = 0.0) -> go.Figure:
    """``steps`` has one row per training step: run, step, seconds (since training began, validation included)."""
    if cumulative:
        drawn = lines(steps, "seconds", y_title="Training time (s)")
    else:
        by_run = steps.groupby("run", observed=True, sort=False)
        spent = by_run["seconds"].diff().fillna(steps["seconds"]) / by_run["step"].diff().fillna(steps["step"])
        drawn = lines(
            steps.assign(spent=spent), "spent", y_title="Time per step, evaluation included (s)", smoothing=smoothing
        )
    return drawn.update_yaxes(rangemode="tozero")  # times are compared by length


READINGS = {
    "utilisation_percent": "GPU utilization (%)",
    "power_watts": "GPU power (W)",
    "temperature_celsius": "GPU temperature (°C)",
}


def gpu(
    samples: pd.DataFrame,
    *,
    meter: str = "utilisation_percent",
    x: str = "seconds",
    log: bool = False,
    smoothing: float = 0.0,
) -> go.Figure:
    """``samples`` has one row per sample of the meters: run, step, seconds (since the run started) and a column per GPU
    reading.
    """
    told = {
        "y_title": READINGS[meter],
        "hover": ",.0f",
        "nothing": "N/A: the NVIDIA driver has not reported this number",
    }
    return lines(with_numbers(samples, meter), meter, x=x, x_titles=RUN_X_TITLES, log=log, smoothing=smoothing, **told)
