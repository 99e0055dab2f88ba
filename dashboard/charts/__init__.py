"""The charts by name. Each is a function from a frame to a Plotly figure, in a file of its own, without Streamlit.

To add one: write the file, add a line to CHARTS; the tests then draw it from its example and from an empty frame.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import examples
from dashboard.charts.adapter_size import adapter_size
from dashboard.charts.card import card
from dashboard.charts.class_counts import class_counts
from dashboard.charts.confidence_rows import confidence_rows
from dashboard.charts.confusion_matrix import confusion_matrix
from dashboard.charts.gradient_norm import gradient_norm
from dashboard.charts.layer_updates import layer_updates
from dashboard.charts.learning_rate import learning_rate
from dashboard.charts.loss import loss
from dashboard.charts.memory import memory
from dashboard.charts.memory_breakdown import memory_breakdown
from dashboard.charts.parallel import parallel
from dashboard.charts.pareto import pareto
from dashboard.charts.phase_peaks import phase_peaks
from dashboard.charts.predicted_true import predicted_true
from dashboard.charts.rank_curve import rank_curve
from dashboard.charts.reliability_diagram import reliability_diagram
from dashboard.charts.residuals import residuals
from dashboard.charts.rows_shown import rows_shown
from dashboard.charts.score import score
from dashboard.charts.seconds import seconds
from dashboard.charts.spectrum import spectrum
from dashboard.charts.target_values import target_values
from dashboard.charts.truncation import truncation
from tabtune_core.training.episodes import EVALUATION_ROWS


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with a frame that shows it."""

    draw: Callable[..., go.Figure]
    example: Callable[[], pd.DataFrame]
    help: str
    """What one reads off it, for the page."""
    frame: str = "steps"
    """Of those in ``queries.FRAMES``, the one that it draws on the Live page."""


CHARTS: dict[str, Chart] = {
    "score": Chart(
        score,
        examples.scores,
        f"The chosen score on the validation rows at every evaluation, with at most {EVALUATION_ROWS:,} context rows shown. The ring marks "
        "the best. The final scores are with all the context rows that predictions are shown.",
        frame="scores",
    ),
    "loss": Chart(loss, examples.steps, "The model's error on the training rows that it had to predict, step by step."),
    "gradient_norm": Chart(
        gradient_norm, examples.steps, "Length of the gradient. A sudden rise is the first sign of a run that diverges."
    ),
    "learning_rate": Chart(learning_rate, examples.steps, "Size of a step: it warms up, then falls."),
    "seconds": Chart(
        seconds, examples.steps, "How long a step takes. Frozen layers that an earlier run had computed count at what they took then."
    ),
    "memory": Chart(
        memory, examples.memory, "Memory while the run goes on, as the meter reads it. A meter that this machine lacks says N/A.", "memory"
    ),
    "card": Chart(card, examples.memory, "How busy, hungry and warm the NVIDIA card is while a run goes on.", "memory"),
    "phase_peaks": Chart(
        phase_peaks, examples.phases, "What each phase took beyond the loaded model: the part that LoRA can change.", "phases"
    ),
    "adapter_size": Chart(
        adapter_size, examples.adapter_sizes, "Trainable parameters of one layer: where the line crosses the dashed one, LoRA saves none."
    ),
    "memory_breakdown": Chart(memory_breakdown, examples.causes, "What the memory at the peak is for; LoRA changes all but the weights."),
    "class_counts": Chart(class_counts, examples.counts, "Rows of each class of the target."),
    "target_values": Chart(target_values, examples.bars, "Rows by value of the target."),
    "pareto": Chart(
        pareto, examples.ranked, "A point a run. Those on the dotted line, or with a ring, are beaten by no other run on all of the axes."
    ),
    "parallel": Chart(
        parallel,
        examples.ranked,
        "A line a LoRA run. Drag along an axis to keep only the lines that pass there; drag an axis by its name to move it.",
    ),
    "rank_curve": Chart(rank_curve, examples.ranked, "What a higher rank buys on this table."),
    "rows_shown": Chart(
        rows_shown, examples.shown, "Score, seconds and memory of predictions with more and more context rows shown, without training."
    ),
    "truncation": Chart(truncation, examples.curve, "The scores of one run whose update is cut to lower ranks, without training again."),
    "spectrum": Chart(
        spectrum, examples.spectrum, "How much of the update lies in its strongest directions. A steep start: a low rank would have done."
    ),
    "layer_updates": Chart(layer_updates, examples.layers, "How much training changed each layer, against the size of its weights."),
    "confusion_matrix": Chart(confusion_matrix, examples.pairs, "Rows by their label and by the class that is predicted."),
    "reliability_diagram": Chart(
        reliability_diagram, examples.bins, "On the broad grey line a model is right as often as it says; below it, it is too sure."
    ),
    "confidence_rows": Chart(confidence_rows, examples.bins, "Rows by the probability of the predicted class."),
    "predicted_true": Chart(predicted_true, examples.errors, "Predicted against true values; on the dotted line they are the same."),
    "residuals": Chart(residuals, examples.errors, "How far predictions are off, and to which side."),
}
