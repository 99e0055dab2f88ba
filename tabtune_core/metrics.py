"""The scores: name, direction, unit, task and function. Numpy and scikit-learn only.

Shape letters: N rows, K classes. Labels are class ids 0..K-1, probabilities have one column a class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

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
    if classes == 2:
        return float(sk.roc_auc_score(y_N, p_NK[:, 1]))
    return float(sk.roc_auc_score(y_N, p_NK, multi_class="ovr", labels=np.arange(classes)))


def _log_loss(y_N: Labels, p_NK: Probabilities) -> float:
    return float(sk.log_loss(y_N, _normalised(p_NK), labels=np.arange(p_NK.shape[1])))


def _normalised(p_NK: Probabilities) -> Probabilities:
    p_NK = np.clip(np.asarray(p_NK, dtype=np.float64), 1e-15, 1.0)
    return np.asarray(p_NK / p_NK.sum(axis=1, keepdims=True))


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


def _f1_weighted(y_N: Labels, p_NK: Probabilities) -> float:
    return float(sk.f1_score(y_N, p_NK.argmax(axis=1), average="weighted", zero_division=0))


def _matthews(y_N: Labels, p_NK: Probabilities) -> float:
    return float(sk.matthews_corrcoef(y_N, p_NK.argmax(axis=1)))


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
    """Every metric of the task by name; all nan where a probability is not finite, as after a training that diverged."""
    if not np.isfinite(p_NK).all():
        return dict.fromkeys(METRICS, float("nan"))
    return {name: metric.function(y_N, p_NK) for name, metric in METRICS.items()}
