"""The charts by name. Each is a function from a frame to a Plotly figure, most in a file of their own, without
Streamlit.

To add one: write the file, add a line to ``CHARTS``, and add a frame to the examples of the tests, which also draw an
empty frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from tabtune_core.charts.importance import importance
from tabtune_core.charts.lines import gradient_norm, loss, score, seconds
from tabtune_core.charts.memory import memory, memory_breakdown
from tabtune_core.charts.pareto import pareto
from tabtune_core.charts.predictions import confusion_matrix, predicted_true, reliability_diagram
from tabtune_core.charts.rank_curve import rank_curve
from tabtune_core.charts.style import plain_in_figure
from tabtune_core.charts.target import class_counts, target_values
from tabtune_core.charts.truncation import truncation
from tabtune_core.training.episodes import EVALUATION_ROWS

NAMES = ("run", "name", "label", "predicted", "layer", "target")
"""Columns of the frames whose texts come from files or users."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart and its explanation."""

    function: Callable[..., go.Figure]
    help: str
    """What the chart shows, for the page."""
    frame: str = "steps"
    """The kind in ``run_curves.KINDS`` that it draws on the Live page."""

    def draw(self, frame: pd.DataFrame, **options: Any) -> go.Figure:
        """Draws the chart, with the names in its frames as plain text."""
        plain = {name: _plain(value) if isinstance(value, pd.DataFrame) else value for name, value in options.items()}
        return self.function(_plain(frame), **plain)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Escapes names in the frame that Plotly would take for markup; categories keep their order."""
    names = [name for name in NAMES if name in frame and not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    return frame.assign(
        **{name: frame[name].map(lambda text: plain_in_figure(str(text)), na_action="ignore") for name in names}
    )


CHARTS: dict[str, Chart] = {
    "score": Chart(
        score,
        f"The score on the validation rows at every evaluation, with at most {EVALUATION_ROWS:,} context rows; rings "
        "mark the best. The final scores use all context rows of predictions.",
        frame="scores",
    ),
    "loss": Chart(loss, "Training loss on the query rows of each step."),
    "gradient_norm": Chart(gradient_norm, "Gradient norm. A sudden rise is the first sign of divergence."),
    "seconds": Chart(seconds, "Time per step; cached outputs of frozen layers count as when they were computed."),
    "memory": Chart(
        memory, "Memory during the run, as on the leaderboard: what it adds to the loaded model.", "memory"
    ),
    "memory_breakdown": Chart(
        memory_breakdown, "Peak memory by cause. LoRA changes every part except the model weights."
    ),
    "class_counts": Chart(class_counts, "Rows of each class of the target."),
    "target_values": Chart(target_values, "Rows by value of the target."),
    "pareto": Chart(
        pareto,
        "One point per run with its intervals. No run beats those on the dotted line (Pareto front) on both axes.",
    ),
    "rank_curve": Chart(rank_curve, "How the score depends on the rank."),
    "truncation": Chart(
        truncation, "Scores of one run after its update is truncated to lower ranks (SVD), without retraining."
    ),
    "importance": Chart(
        importance,
        "How much the error rises when the values of one column are shuffled: the further to the right, the more the "
        "model uses it. Of two columns that say the same, each may seem unimportant.",
    ),
    "confusion_matrix": Chart(
        confusion_matrix,
        "Confusion matrix: rows by true and predicted class; the colour is the share of the rows with that label.",
    ),
    "reliability_diagram": Chart(
        reliability_diagram,
        "On the broad grey line the model is calibrated; below it, it is overconfident. Markers grow with the rows; "
        "beside a name: its calibration error.",
    ),
    "predicted_true": Chart(predicted_true, "Predicted against true values; they are equal on the broad grey line."),
}
