"""From which probability on to predict the rarer of two classes, and how precise and complete that is.

In: predictions of held-out rows. Out: a threshold that validation rows chose, and counts at any threshold.
"""

from dataclasses import dataclass

import numpy as np

from tabtune_core.store.predictions import Predictions

IMBALANCED = 0.25
"""Share of the rarer class up to which the most probable class is no good answer: few rows reach one half."""
STEPS = tuple(step / 100 for step in range(1, 100))


@dataclass(frozen=True, slots=True)
class Counts:
    """What predicting the rarer class from a threshold on gives; precision and recall are NaN of no row."""

    flagged: int
    """Rows that are predicted to be of the class."""
    right: int
    """Those of them that are."""
    all: int
    """Rows of the class."""

    @property
    def precision(self) -> float:
        """Share of the flagged rows that are of the class."""
        return self.right / self.flagged if self.flagged else np.nan

    @property
    def recall(self) -> float:
        """Share of the rows of the class that are flagged."""
        return self.right / self.all if self.all else np.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 without a row."""
        return 2 * self.right / (self.flagged + self.all) if self.flagged + self.all else 0.0


def is_imbalanced(predictions: Predictions) -> bool:
    """Whether the rarer of two classes has at most a quarter of the rows, and at least one."""
    if predictions.rarer is None or not len(predictions.y_N):
        return False
    return bool(0 < np.mean(predictions.y_N == predictions.rarer) <= IMBALANCED)


def counts_at(predictions: Predictions, threshold: float) -> Counts:
    """Counts the rows whose probability of the rarer class is at least the threshold."""
    flagged_N = predictions.predicted[:, predictions.rarer] >= threshold
    is_rarer_N = predictions.y_N == predictions.rarer
    return Counts(int(flagged_N.sum()), int((flagged_N & is_rarer_N).sum()), int(is_rarer_N.sum()))


def best_threshold(validation: Predictions) -> float:
    """Returns the hundredth with the highest F1, of equal ones the middle one."""
    scores = [counts_at(validation, step).f1 for step in STEPS]
    best = [step for step, score in zip(STEPS, scores, strict=True) if score == max(scores)]
    return best[len(best) // 2]
