"""The zero-shot phase: predictions of the held-out rows before training, candidate 0, cached for other runs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.data.splits import SplitName
from tabtune_core.events import Evaluated
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.session import Session

Predictions = dict[SplitName, NDArray[np.float64]]
"""Predictions of the held-out rows: probabilities ``(N, K)`` or numbers ``(N,)``."""


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Predictions and scores before training."""

    predictions: Predictions
    scores: dict[SplitName, dict[str, float]]
    candidate: dict[str, float]
    """Validation scores as in evaluations during training, which may use fewer context rows; or empty."""


def score_zero_shot(session: Session) -> ZeroShot:
    """Predicts every held-out row, and emits the scores unless the run resumes and its earlier process emitted them."""
    rows = session.rows
    with session.environment.meter.phase("zero-shot"):
        predictions = {split: _predict(session, rows.scorer, split) for split in rows.held_out}
        scores = {split: held_out.score(predictions[split]) for split, held_out in rows.held_out.items()}
        candidate = scores.get("validation", {})
        if "validation" in rows.held_out and rows.evaluator is not rows.scorer:
            candidate = rows.held_out["validation"].score(_predict(session, rows.evaluator, "validation"))
        zero_shot = ZeroShot(predictions, scores, candidate)
        if not session.environment.goes_on:
            tell_zero_shot(session, zero_shot)
    return zero_shot


def tell_zero_shot(session: Session, zero_shot: ZeroShot) -> None:
    """Emits the scores as step 0."""
    for split, scores in zero_shot.scores.items():
        of_validation = split == "validation"
        shown = zero_shot.candidate if of_validation else scores
        session.environment.emit(Evaluated(0, split, shown, of_validation, 0.0))


def _predict(session: Session, scorer: Scorer, split: SplitName) -> NDArray[np.float64]:
    """Predicts a split, or reads the predictions from the cache."""
    x_NF = session.rows.held_out[split].x_NF
    with session.prefix.use(split == "validation"):  # these rows will be predicted again
        parts = ["zero-shot", scorer.x_CF, scorer.y_C, scorer.classes, scorer.views, x_NF]
        return session.arrays.get(parts, lambda: scorer.predict(session.model, x_NF))
