"""How much the error of an adapter and of its base rises with one column shuffled."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.style import COLOURS, FAINT, figure, say, shortened
from tabtune_core.metrics import METRICS

MOST = 20
LABEL_LETTERS = 26
MODELS = (("lora", "With the adapter", COLOURS[0], "circle", -0.14), ("base", "Base alone", FAINT, "star", 0.14))


def importance(columns: pd.DataFrame, *, metric: str = "log_loss") -> go.Figure:
    """``columns`` has one row per column, the most important first: name; lora, base (rise of the error); lora_half,
    base_half (half of the 95 % interval over rows).
    """
    shown, meaning = columns.head(MOST), METRICS[metric]
    drawn = figure(f"Rise of {meaning.written} ({meaning.unit})", "Column", height=90 + 34 * len(shown))
    if shown.empty:
        return say(drawn, "No column to shuffle")
    names, places = shown["name"].astype(str), np.arange(len(shown))
    drawn.add_vline(0, line={"color": FAINT, "width": 1, "dash": "dot"})
    for model, title, colour, symbol, shift in MODELS:
        drawn.add_scatter(
            x=shown[model].to_numpy(),
            y=places + shift,
            error_x={"array": shown[f"{model}_half"].to_numpy(), "color": colour, "thickness": 1.5, "width": 0},
            mode="markers",
            name=title,
            marker={"color": colour, "symbol": symbol, "size": 9},
            customdata=np.column_stack([names.to_numpy(dtype=object), shown[f"{model}_half"]]),
            hovertemplate="%{customdata[0]}: %{x:+.4~g} ± %{customdata[1]:.2~g}<extra>" + title + "</extra>",
        )
    ticks = [shortened(name, LABEL_LETTERS) for name in names]
    return drawn.update_yaxes(tickvals=places, ticktext=ticks, range=[len(shown) - 0.5, -0.5], showgrid=False)
