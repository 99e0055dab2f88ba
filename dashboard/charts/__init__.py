"""The charts by name. Each is a function from a frame to a Plotly figure, in a file of its own, without Streamlit.

To add one: write the file, add a line to CHARTS; the tests then draw it from its example and from an empty frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import examples
from dashboard.charts.adapter_size import adapter_size
from dashboard.charts.class_counts import class_counts
from dashboard.charts.gradient_norm import gradient_norm
from dashboard.charts.learning_rate import learning_rate
from dashboard.charts.loss import loss
from dashboard.charts.memory import memory
from dashboard.charts.pareto import pareto
from dashboard.charts.phase_peaks import phase_peaks
from dashboard.charts.rank_curve import rank_curve
from dashboard.charts.score import score
from dashboard.charts.seconds import seconds
from dashboard.charts.target_values import target_values


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with a frame that shows it."""

    draw: Callable[..., go.Figure]
    example: Callable[[], pd.DataFrame]
    help: str
    """What one reads off it, for the page."""


CHARTS: dict[str, Chart] = {
    "score": Chart(score, examples.scores, "The chosen score on the validation rows, at every look. The ring marks the best look."),
    "loss": Chart(loss, examples.steps, "The model's error on the training rows that it had to predict, step by step."),
    "gradient_norm": Chart(
        gradient_norm, examples.steps, "Length of the gradient. A sudden rise is the first sign of a run that diverges."
    ),
    "learning_rate": Chart(learning_rate, examples.steps, "Size of a step: it warms up, then falls."),
    "seconds": Chart(seconds, examples.steps, "How long a step takes."),
    "memory": Chart(
        memory, examples.memory, "Memory while the run goes on, as the meter reads it. Only meters that exist here can be chosen."
    ),
    "phase_peaks": Chart(phase_peaks, examples.phases, "What each phase took beyond the loaded model: the part that LoRA can change."),
    "adapter_size": Chart(
        adapter_size, examples.adapter_sizes, "Trainable parameters of one layer: where the line crosses the dashed one, LoRA saves none."
    ),
    "class_counts": Chart(class_counts, examples.counts, "Rows of each class of the target."),
    "target_values": Chart(target_values, examples.bars, "Rows by value of the target."),
    "pareto": Chart(pareto, examples.ranked, "Cost against score. Runs on the dotted line are beaten by no other on both."),
    "rank_curve": Chart(rank_curve, examples.ranked, "What a higher rank buys on this table."),
}
