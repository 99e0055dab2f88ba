"""How much memory each phase added over the loaded model, side by side for the runs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.memory import PHASES
from dashboard.charts.style import MEGABYTE, each_run, figure, say


def phase_peaks(phases: pd.DataFrame) -> go.Figure:
    """``phases`` has one row a finished phase: run, phase, growth_bytes (peak over the loaded base, or not a number)."""
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
