"""The scores: name, direction, unit, task and function. Numpy only: a bootstrap calls them thousands of times.

Shape letters: N rows, K classes. Labels are class ids 0..K-1, probabilities have one column a class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer]
Probabilities = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Metric:
    """How good predictions are. ``function`` takes labels ``(N,)`` and probabilities ``(N, K)``; nan where it is undefined."""

    name: str
    label: str
    higher_is_better: bool
    unit: str
    task: Literal["classification", "regression"]
    function: Callable[[Labels, Probabilities], float]
    help: str

    def better(self, left: float, right: float) -> bool:
        """Whether ``left`` beats ``right``; a number beats nan."""
        if np.isnan(right):
            return not np.isnan(left)
        return left > right if self.higher_is_better else left < right


def _roc_auc(y_N: Labels, p_NK: Probabilities) -> float:
    """One class against the rest, mean over the classes; nan when a class has no row."""
    classes = p_NK.shape[1]
    if len(np.unique(y_N)) < classes:
        return float("nan")
    against_rest = [1] if classes == 2 else range(classes)
    return float(np.mean([_pairs_in_order(p_NK[y_N == k, k], p_NK[y_N != k, k]) for k in against_rest]))


def _pairs_in_order(high_N: NDArray[np.floating], low_N: NDArray[np.floating]) -> float:
    """Share of the pairs in which the first is above the second, ties for half (Mann and Whitney 1947)."""
    low_N = np.sort(low_N)
    below = np.searchsorted(low_N, high_N, "left").sum() + np.searchsorted(low_N, high_N, "right").sum()
    return float(below / (2 * len(high_N) * len(low_N)))


def _log_loss(y_N: Labels, p_NK: Probabilities) -> float:
    """Mean of -log p of the right class, with p held to 1e-15 and more."""
    p_NK = np.clip(np.asarray(p_NK, dtype=np.float64), 1e-15, 1.0)
    return float(np.mean(np.log(p_NK.sum(axis=1)) - np.log(p_NK[np.arange(len(y_N)), y_N])))


def _brier(y_N: Labels, p_NK: Probabilities) -> float:
    """Mean squared distance to the one-hot label, summed over the classes (Brier 1950): 0 to 2."""
    return float(np.mean(np.sum((p_NK - np.eye(p_NK.shape[1])[y_N]) ** 2, axis=1)))


def _expected_calibration_error(y_N: Labels, p_NK: Probabilities, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by rows (Guo et al. 2017, section 2)."""
    confidence_N, right_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == y_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps = [abs(confidence_N[bin_N == b].sum() - right_N[bin_N == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(y_N))


def _accuracy(y_N: Labels, p_NK: Probabilities) -> float:
    return float(np.mean(p_NK.argmax(axis=1) == y_N))


def _balanced_accuracy(y_N: Labels, p_NK: Probabilities) -> float:
    predicted_N = p_NK.argmax(axis=1)
    return float(np.mean([np.mean(predicted_N[y_N == k] == k) for k in np.unique(y_N)]))


def _confusion(y_N: Labels, p_NK: Probabilities) -> NDArray[np.float64]:
    """Rows by true and predicted class, ``(K, K)``."""
    classes = p_NK.shape[1]
    counts = np.bincount(y_N * classes + p_NK.argmax(axis=1), minlength=classes**2)
    return counts.reshape(classes, classes).astype(np.float64)


def _f1_weighted(y_N: Labels, p_NK: Probabilities) -> float:
    """A class that is neither there nor predicted has no weight."""
    counts_KK = _confusion(y_N, p_NK)
    true_K, predicted_K = counts_KK.sum(axis=1), counts_KK.sum(axis=0)
    f1_K = 2 * counts_KK.diagonal() / np.maximum(true_K + predicted_K, 1)
    return float(f1_K @ true_K / len(y_N))


def _matthews(y_N: Labels, p_NK: Probabilities) -> float:
    """For K classes (Gorodkin 2004, R_K); 0 where only one class is there or predicted."""
    counts_KK, rows = _confusion(y_N, p_NK), float(len(y_N))
    true_K, predicted_K = counts_KK.sum(axis=1), counts_KK.sum(axis=0)
    spread = (rows**2 - true_K @ true_K) * (rows**2 - predicted_K @ predicted_K)
    return float((counts_KK.trace() * rows - true_K @ predicted_K) / np.sqrt(spread)) if spread else 0.0


_UP, _DOWN = True, False
_HELP = {
    "log_loss": "How surprised the model is by the right class; sees confidence, not only right or wrong.",
    "accuracy": "Share of rows predicted right.",
    "balanced_accuracy": "Accuracy within each class, averaged; fair to rare classes.",
    "f1_weighted": "Harmonic mean of precision and recall, weighted by class size.",
    "roc_auc": "Chance that a row of a class scores above a row of another; 0.5 is guessing.",
    "mcc": "Correlation of predicted and true classes; 0 is guessing.",
    "brier": "Squared distance of the probabilities from the truth.",
    "ece": "Gap between how sure the model is and how often it is right.",
}


def _classification(name: str, label: str, higher_is_better: bool, unit: str, function: Callable[[Labels, Probabilities], float]) -> Metric:
    return Metric(name, label, higher_is_better, unit, "classification", function, _HELP[name])


_ALL = (
    _classification("log_loss", "Log-loss", _DOWN, "nats", _log_loss),
    _classification("accuracy", "Accuracy", _UP, "share", _accuracy),
    _classification("balanced_accuracy", "Balanced accuracy", _UP, "share", _balanced_accuracy),
    _classification("f1_weighted", "F1 (weighted)", _UP, "share", _f1_weighted),
    _classification("roc_auc", "ROC AUC", _UP, "share", _roc_auc),
    _classification("mcc", "Matthews correlation", _UP, "-1 to 1", _matthews),
    _classification("brier", "Brier score", _DOWN, "0 to 2", _brier),
    _classification("ece", "Calibration error", _DOWN, "share", _expected_calibration_error),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


def score_all(y_N: Labels, p_NK: Probabilities) -> dict[str, float]:
    """Every metric of the task by name."""
    return {name: metric.function(y_N, p_NK) for name, metric in METRICS.items()}
