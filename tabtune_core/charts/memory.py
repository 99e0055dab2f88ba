"""Memory of a run: over its duration, and the peak by cause (guide, section 7)."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.run_curves import CEILING, GROWN, HIGH, LOW
from tabtune_core.charts.lines import RUN_X_TITLES, lines
from tabtune_core.charts.style import COLOURS, FAINT, MEGABYTE, figure, mark_outside, say, spread, with_numbers

METERS = {
    GROWN: ("Over the loaded model", "Memory over the loaded model (MB)"),
    "resident_bytes": ("Whole process (resident)", "Process memory (MB)"),
    "torch_allocated_bytes": ("GPU memory allocated by torch", "GPU, torch allocated (MB)"),
    "torch_reserved_bytes": ("GPU memory reserved by torch", "GPU, torch reserved (MB)"),
    "nvml_device_bytes": ("GPU memory in use, all processes (NVML)", "GPU, all processes (MB)"),
    "utilisation_percent": ("GPU utilization", "GPU utilization (%)"),
    "power_watts": ("GPU power", "GPU power (W)"),
    "temperature_celsius": ("GPU temperature", "GPU temperature (°C)"),
}
"""By column: name of the meter, title of its axis; the first is what the leaderboard shows."""
PEAK_SAMPLES = 9
"""A point is the highest of so many samples, about two seconds: within a step memory rises and falls."""
NEAR = 3.0
"""A GPU's whole memory is drawn if it is at most this many times what the runs use; else it is named at the edge."""


def meters_read(samples: pd.DataFrame) -> list[str]:
    """Returns what is on the leaderboard, which is not known while the model loads, and the meters with a number."""
    return [meter for meter in METERS if meter == GROWN or (meter in samples and samples[meter].notna().any())]


def memory(samples: pd.DataFrame, *, meter: str = GROWN, x: str = "seconds", axis_end: float = 0.0) -> go.Figure:
    """``samples`` has one row per memory sample: run, step, seconds (since the run started), phase, bytes per meter.

    ``axis_end`` is where the horizontal axis ends, if not at the last sample.
    """
    known = with_numbers(samples, meter)
    if meter == GROWN and meter + LOW not in known and len(known):
        each = known.groupby("run", observed=True, sort=False)[meter]
        highest = each.transform(lambda run: run.rolling(PEAK_SAMPLES, min_periods=1, center=True).max())
        known = known.assign(**{meter: highest})
    unit = MEGABYTE if meter.endswith("_bytes") else 1.0
    scaled = {name: known[name] / unit for name in (meter, meter + LOW, meter + HIGH) if name in known}
    shape: dict[str, Any] = {"x": x, "x_titles": RUN_X_TITLES, "hover": ",.1f", "from_zero": True}
    nothing = "The model is loading" if meter == GROWN and len(samples) else "N/A: no number of this meter"
    drawn = lines(known.assign(**scaled), meter, y_title=METERS[meter][1], **shape, nothing=nothing)
    if not drawn.data:
        return drawn
    if meter == GROWN and CEILING in known:
        _ceiling(drawn, float(known[CEILING].min()) / MEGABYTE, max(float(known[x].max()), axis_end))
    return drawn


def _ceiling(drawn: go.Figure, level: float, end: float) -> None:
    """Draws how much the runs can add before the GPU is full; far above them it is named at the edge."""
    if not np.isfinite(level):
        return
    dash = {"color": FAINT, "width": 1.5, "dash": "dash"}
    drawn.add_scatter(
        x=[0, end], y=[level, level], mode="lines", name="GPU full", line=dash, showlegend=False, legendrank=1000
    )
    low, high = drawn.layout.yaxis.range
    range_ = (low, 1.05 * level) if level <= NEAR * high else (low, high)
    mark_outside(drawn, {"GPU full at": level}, range_, ",.0f")
    spread(drawn)


CAUSES = {
    "weights": ("Model weights", FAINT),
    "adapter": ("LoRA adapter", COLOURS[0]),
    "gradients": ("Gradients", COLOURS[1]),
    "optimizer": ("Optimizer", COLOURS[2]),
    "activations": ("Activations", COLOURS[3]),
}
"""By cause: its name and colour."""


def memory_breakdown(causes: pd.DataFrame) -> go.Figure:
    """``causes`` has one row per run and cause: run, cause, bytes; a cause too small for its name has it on hover."""
    runs = list(dict.fromkeys(causes["run"].astype(str)))
    drawn = figure("Memory at the peak (MB)", "Run", height=130 + 46 * max(3, len(runs)))
    for cause, (name, colour) in CAUSES.items():
        rows = causes[causes["cause"] == cause]
        if len(rows):
            drawn.add_bar(
                x=rows["bytes"].to_numpy(dtype=np.float64) / MEGABYTE,
                y=rows["run"].astype(str).to_numpy(dtype=object),
                orientation="h",
                name=name,
                text=[name] * len(rows),
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                marker={"color": colour, "line": {"width": 1, "color": "white"}},
                hovertemplate=f"%{{y}}<br>{name}: %{{x:,.1f}} MB<extra></extra>",
            )
    drawn.update_layout(barmode="stack", bargap=0.35, showlegend=False, uniformtext={"minsize": 10, "mode": "hide"})
    named = {"tickvals": runs, "ticktext": [name if len(name) < 40 else f"{name[:39]}…" for name in runs]}
    drawn.update_yaxes(type="category", categoryorder="array", categoryarray=runs[::-1], **named)
    return drawn if drawn.data else say(drawn, "Nothing to estimate yet")
