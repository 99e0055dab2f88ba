"""Predictions of the rows that were held out, and their scores.

Shape letters: C context rows, N rows to predict, F features, K classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabtune_core.metrics import score_all
from tabtune_core.models.adapter import Array, BaseModel


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Preprocessed rows of one part of the split: their numbers in the table, features and class ids."""

    rows_N: NDArray[np.int64]
    x_NF: Array
    y_N: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """Predicts held-out rows from one fixed context."""

    x_CF: Array
    y_C: NDArray[np.int64]
    classes: int
    rows_at_once: int = 2048

    def predict(self, model: BaseModel, x_NF: Array) -> NDArray[np.float64]:
        """Probabilities ``(N, K)``; rows do not see each other, so that their number at once bounds memory and nothing else."""
        was_training = model.module.training
        model.module.eval()
        starts = range(0, len(x_NF), self.rows_at_once)
        chunks = [model.predict_proba(self.x_CF, self.y_C, x_NF[i : i + self.rows_at_once], self.classes) for i in starts]
        model.module.train(was_training)
        return np.concatenate(chunks) if chunks else np.empty((0, self.classes))

    def score(self, model: BaseModel, part: HeldOut) -> dict[str, float]:
        """Every metric on the rows of ``part``."""
        return score_all(part.y_N, self.predict(model, part.x_NF))
