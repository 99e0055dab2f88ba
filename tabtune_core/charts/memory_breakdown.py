"""What memory is for, by cause: the guide's section 7 as a picture."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import COLOURS, MEGABYTE, figure, say

CAUSES = {
    "weights": "Model weights",
    "adapter": "LoRA adapter",
    "gradients": "Gradients",
    "optimizer": "Optimizer",
    "activations": "Activations",
}
_LOOK = dict(zip(CAUSES, zip(("#7F8C99", *COLOURS), ("", "x", "/", "\\", "."), strict=False), strict=False))


def memory_breakdown(causes: pd.DataFrame) -> go.Figure:
    """``causes`` has one row a bar and cause: run, kind (``estimate`` or ``measured``), cause, bytes."""
    bars = list(dict.fromkeys(zip(causes["run"].astype(str), causes["kind"].astype(str), strict=True)))
    drawn = figure("Memory at the peak (MB)", "Run", height=130 + 46 * max(3, len(bars)))
    for cause, name in CAUSES.items():
        rows = causes[causes["cause"] == cause]
        if rows.empty:
            continue
        colour, shape = _LOOK[cause]
        drawn.add_bar(
            x=rows["bytes"].to_numpy(dtype=np.float64) / MEGABYTE,
            y=rows["run"].astype(str).to_numpy(dtype=object) + "<br>" + rows["kind"].astype(str).to_numpy(dtype=object),
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": shape, "fillmode": "overlay", "fgcolor": "#FFFFFF", "size": 6, "solidity": 0.2}},
            hovertemplate=f"%{{y}}<br>{name}: %{{x:,.1f}} MB<extra></extra>",
        )
    drawn.update_layout(barmode="stack", bargap=0.35, legend={"traceorder": "normal"})
    drawn.update_yaxes(type="category", categoryorder="array", categoryarray=[f"{run}<br>{kind}" for run, kind in reversed(bars)])
    return drawn if drawn.data else say(drawn, "Nothing to estimate yet")
