"""Predictions of the rows that were held out, and their scores.

Shape letters: C context rows, N rows to predict, F features, K classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from tabtune_core.data.episodes import ROWS_AT_ONCE, Target
from tabtune_core.metrics import score_all
from tabtune_core.models.adapter import Array, BaseModel


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Preprocessed rows of one part of the split: their numbers in the table, features and targets."""

    rows_N: NDArray[np.int64]
    x_NF: Array
    y_N: Target


@dataclass(frozen=True, slots=True)
class Scorer:
    """Predicts held-out rows from one fixed context."""

    x_CF: Array
    y_C: Target
    classes: int
    """0 where numbers are predicted."""
    views: int = 1
    """Predictions are averaged over so many: the table as it is, then with columns and class ids in another order.

    Of probabilities the logarithms are averaged, as ``tabicl`` averages logits by default.
    """
    rows_at_once: int = ROWS_AT_ONCE

    def predict(self, model: BaseModel, x_NF: Array) -> NDArray[np.float64]:
        """Probabilities ``(N, K)`` or numbers ``(N,)``; rows do not see each other, so that their number at once bounds memory alone."""
        was_training = model.module.training
        model.module.eval()
        chunks = [self._mean_of_views(model, x_NF[i : i + self.rows_at_once]) for i in range(0, len(x_NF), self.rows_at_once)]
        model.module.train(was_training)
        return np.concatenate(chunks) if chunks else np.empty((0, self.classes) if self.classes else 0)

    def _mean_of_views(self, model: BaseModel, x_NF: Array) -> NDArray[np.float64]:
        total = model.predict(self.x_CF, self.y_C, x_NF, self.classes)
        if self.views == 1:
            return total
        total = _log(total) if self.classes else total
        for view in range(1, self.views):
            rng = np.random.default_rng(view)  # the same views in every run, or scores could not be compared
            columns, ids = rng.permutation(x_NF.shape[1]), rng.permutation(self.classes)
            y_C = ids[self.y_C] if self.classes else self.y_C
            predicted = model.predict(self.x_CF[:, columns], y_C, x_NF[:, columns], self.classes)
            total = total + (_log(predicted[:, ids]) if self.classes else predicted)
        return np.asarray(softmax(total / self.views, axis=1)) if self.classes else total / self.views

    def score(self, model: BaseModel, part: HeldOut) -> dict[str, float]:
        """Every metric on the rows of ``part``."""
        return score_all(part.y_N, self.predict(model, part.x_NF))


def _log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
