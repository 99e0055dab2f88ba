"""The zero-shot phase: how the model predicts before any change. This is candidate 0, which training must beat.

In: a session. Out: predictions and scores of the held-out rows, kept in files for the other runs of the table.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.splits import SplitName
from tabtune_core.events import Evaluated
from tabtune_core.metrics import score_all
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.session import Session

Predictions = dict[SplitName, NDArray[np.float64]]
"""Of the held-out rows: probabilities ``(N, K)`` or numbers ``(N,)``."""


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """The model as it was."""

    predictions: Predictions
    scores: dict[SplitName, dict[str, float]]
    candidate: dict[str, float]
    """Scores of the validation rows as the evaluations during training see them, maybe beside fewer rows; empty without such rows."""


def score_zero_shot(session: Session) -> ZeroShot:
    """Predicts every held-out row, and tells the scores, unless the run goes on and an earlier process of it did."""
    rows = session.rows
    with session.environment.meter.phase("zero-shot"):
        predictions = {split: _predict(session, rows.scorer, split) for split in rows.held_out}
        scores = {split: score_all(held_out.y_N, predictions[split]) for split, held_out in rows.held_out.items()}
        candidate = scores.get("validation", {})
        if "validation" in rows.held_out and rows.evaluator is not rows.scorer:
            candidate = score_all(rows.held_out["validation"].y_N, _predict(session, rows.evaluator, "validation"))
        zero_shot = ZeroShot(predictions, scores, candidate)
        if not session.environment.goes_on:
            tell_zero_shot(session, zero_shot)
    return zero_shot


def tell_zero_shot(session: Session, zero_shot: ZeroShot) -> None:
    """Emits the scores as those of step 0."""
    for split, scores in zero_shot.scores.items():
        of_validation = split == "validation"
        session.environment.emit(Evaluated(0, split, zero_shot.candidate if of_validation else scores, of_validation, 0.0))


def _predict(session: Session, scorer: Scorer, split: SplitName) -> NDArray[np.float64]:
    """Taken from a file where another run has made it."""
    x_NF = session.rows.held_out[split].x_NF
    with session.prefix.use(split == "validation"):  # which is predicted again
        parts = ["zero-shot", scorer.x_CF, scorer.y_C, scorer.classes, scorer.views, x_NF]
        return session.arrays.get(parts, lambda: scorer.predict(session.model, x_NF))
