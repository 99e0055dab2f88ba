"""Memory of a run: over its whole duration with the phases of one run shaded, what each phase added over the loaded
model, and the peak by cause, as in section 7 of the guide.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.analysis.run_curves import HIGH, LOW
from tabtune_core.charts.lines import RUN_X_TITLES, lines
from tabtune_core.charts.style import COLOURS, FAINT, MEGABYTE, each_run, figure, say, with_numbers

METERS = {
    "resident_bytes": ("Process memory (resident)", "Process memory (MB)"),
    "torch_allocated_bytes": ("GPU memory allocated by torch", "GPU, torch allocated (MB)"),
    "torch_reserved_bytes": ("GPU memory reserved by torch", "GPU, torch reserved (MB)"),
    "nvml_process_bytes": ("GPU memory of the process (NVML)", "GPU, this process (MB)"),
    "nvml_device_bytes": ("GPU memory in use, all processes (NVML)", "GPU, all processes (MB)"),
}
"""By column: name of the meter, title of its axis."""
PHASES = {"load": "loading", "zero-shot": "zero-shot", "train": "training", "evaluate": "evaluating", "save": "saving"}
_SHADES = {"load": "#7F8C99", "zero-shot": "#E69F00", "train": "#0072B2", "evaluate": "#009E73", "save": "#CC79A7"}


def meters_read(samples: pd.DataFrame) -> list[str]:
    """Returns the meters that gave at least one number; the others are not available on this machine."""
    return [meter for meter in METERS if meter in samples and samples[meter].notna().any()]


def speaking_meter(samples: pd.DataFrame) -> str:
    """Returns the main meter of the device: torch's own on a GPU, else the memory of the process."""
    return "torch_allocated_bytes" if "torch_allocated_bytes" in meters_read(samples) else "resident_bytes"


def without_numbers(samples: pd.DataFrame, meter: str) -> list[str]:
    """Names runs that have samples but no number of this meter, such as runs on a CPU beside those on a GPU."""
    counts = (
        samples[meter].groupby(samples["run"], observed=True, sort=False).count() if meter in samples else pd.Series()
    )
    return [str(run) for run in counts.index[counts == 0]]


def memory(
    samples: pd.DataFrame,
    *,
    meter: str = "resident_bytes",
    x: str = "seconds",
    phases: pd.DataFrame | None = None,
    log: bool = False,
    axis_end: float | None = None,
) -> go.Figure:
    """``samples`` has one row per memory sample: run, step (the last one done), seconds (since the run started), phase,
    bytes per meter.

    ``phases`` holds the phases of one run to shade, only over seconds: phase, start_seconds, end_seconds (NaN while it
    goes on). ``axis_end`` is where the horizontal axis ends, if other runs are drawn beside these: a phase too short
    for its name has no label.
    """
    known = with_numbers(samples, meter)
    megabytes = {name: known[name] / MEGABYTE for name in (meter, meter + LOW, meter + HIGH) if name in known}
    drawn = lines(
        known.assign(**megabytes),
        meter,
        y_title=METERS[meter][1],
        x=x,
        x_titles=RUN_X_TITLES,
        log=log,
        hover=",.1f",
        nothing="N/A: this meter has reported no number",
    )
    if not drawn.data:
        return drawn
    drawn.for_each_trace(
        lambda trace: trace.update(legendgroup=None) if trace.name else None
    )  # each has its own line in the legend
    last = float(known["seconds"].max())
    for row in phases.to_dict("records") if phases is not None and x == "seconds" else ():
        start, phase = row["start_seconds"], row["phase"]
        end = last if pd.isna(row["end_seconds"]) else row["end_seconds"]
        drawn.add_vrect(x0=start, x1=end, fillcolor=_SHADES[phase], opacity=0.12, line_width=0, layer="below")
        if end - start > 0.1 * max(last, axis_end or 0.0):
            at = {"x": (start + end) / 2, "y": 0.01, "yref": "paper", "yanchor": "bottom"}
            drawn.add_annotation(text=PHASES[phase], showarrow=False, font={"size": 11, "color": _SHADES[phase]}, **at)
    return drawn


def phase_peaks(phases: pd.DataFrame) -> go.Figure:
    """``phases`` has one row per finished phase: run, phase, growth_bytes (peak over the loaded base, or not a number)."""  # noqa: E501
    drawn = figure("Phase of the run", "Memory over the loaded model (MB)")
    known = phases[phases["growth_bytes"].notna()]
    for label, rows, style in each_run(known):
        drawn.add_bar(
            x=rows["phase"].map(PHASES).to_numpy(dtype=object),
            y=rows["growth_bytes"].to_numpy(dtype=np.float64) / MEGABYTE,
            name=label,
            marker={"color": style.colour},
            legendrank=style.place,
            hovertemplate=f"{label}, %{{x}}<br>%{{y:,.1f}} MB over the loaded model<extra></extra>",
        )
    drawn.update_xaxes(categoryorder="array", categoryarray=list(PHASES.values()))
    return drawn if drawn.data else say(drawn, "No phase has ended yet")


CAUSES = {
    "weights": ("Model weights", FAINT, ""),
    "adapter": ("LoRA adapter", COLOURS[0], "x"),
    "gradients": ("Gradients", COLOURS[1], "/"),
    "optimizer": ("Optimizer", COLOURS[2], "\\"),
    "activations": ("Activations", COLOURS[3], "."),
}
"""By cause: its name, colour and pattern."""


def memory_breakdown(causes: pd.DataFrame) -> go.Figure:
    """``causes`` has one row per bar and cause: run, kind (``estimate`` or ``measured``), cause, bytes."""
    bars = list(dict.fromkeys(zip(causes["run"].astype(str), causes["kind"].astype(str), strict=True)))
    drawn = figure("Memory at the peak (MB)", "Run", height=130 + 46 * max(3, len(bars)))
    for cause, (name, colour, shape) in CAUSES.items():
        rows = causes[causes["cause"] == cause]
        if rows.empty:
            continue
        drawn.add_bar(
            x=rows["bytes"].to_numpy(dtype=np.float64) / MEGABYTE,
            y=rows["run"].astype(str).to_numpy(dtype=object) + "<br>" + rows["kind"].astype(str).to_numpy(dtype=object),
            orientation="h",
            name=name,
            marker={
                "color": colour,
                "pattern": {"shape": shape, "fillmode": "overlay", "fgcolor": "#FFFFFF", "size": 6, "solidity": 0.2},
            },
            hovertemplate=f"%{{y}}<br>{name}: %{{x:,.1f}} MB<extra></extra>",
        )
    drawn.update_layout(barmode="stack", bargap=0.35, legend={"traceorder": "normal"})
    drawn.update_yaxes(
        type="category", categoryorder="array", categoryarray=[f"{run}<br>{kind}" for run, kind in reversed(bars)]
    )
    return drawn if drawn.data else say(drawn, "Nothing to estimate yet")
