"""Utilization, power draw and temperature of the NVIDIA GPU over the life of a run."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.lines import lines
from dashboard.charts.style import X_TITLES

READINGS = {
    "utilisation_percent": "GPU utilization (%)",
    "power_watts": "GPU power (W)",
    "temperature_celsius": "GPU temperature (°C)",
}


def gpu(
    samples: pd.DataFrame, *, meter: str = "utilisation_percent", x: str = "seconds", log: bool = False, smoothing: float = 0.0
) -> go.Figure:
    """``samples`` has one row a sample of the meters: run, step, seconds (since the run started) and a column a reading of the GPU."""
    known = samples[samples[meter].notna()] if meter in samples else samples.iloc[:0]
    x_title = X_TITLES["step"] if x == "step" else "Time since the run started (s)"
    nothing = "N/A: the NVIDIA driver has not reported this number"
    return lines(known, meter, y_title=READINGS[meter], x=x, x_title=x_title, log=log, smoothing=smoothing, hover=",.0f", nothing=nothing)
