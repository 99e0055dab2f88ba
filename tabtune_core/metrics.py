"""The metrics: name, direction, unit, task and function. Uses NumPy and scikit-learn only.

Shape letters: N rows, K classes. For classification, labels are class ids 0..K-1 and predictions are probabilities
``(N, K)``; for regression, both are numbers ``(N,)``.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tabtune_core.wording import LARGEST, MOST_PLACES, decimal, power_of_ten, same_digits

Task = Literal["classification", "regression"]
Labels = NDArray[np.integer]
Numbers = NDArray[np.floating]
Probabilities = NDArray[np.floating]
TARGET_UNIT = "unit of the target"
ROUNDING = 1e-12
"""Scores that differ by less than this share of their size are equal."""
FEWEST_PLACES = 4
"""Decimal places of scores that are not in the target's unit."""


class Interval(enum.Flag):
    """What the confidence interval of a difference in a score must allow for."""

    PLAIN = 0
    OF_THE_CLASS = enum.auto()
    """The score depends only on the predicted classes: a few rows may make up the whole difference."""
    OVER_CLASSES = enum.auto()
    """Every class has the same weight, however few rows it has."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; ``function`` takes labels ``(N,)`` and predictions, and returns nan if undefined for them."""

    name: str
    label: str
    higher_is_better: bool
    unit: str
    task: Task
    function: Callable[[Any, Any], float]
    interval: Interval

    @property
    def help(self) -> str:
        """What the metric says."""
        return _HELP[self.name]

    def score(self, y_N: NDArray[Any], predicted: NDArray[np.floating], *, rarer: int | None = None) -> float:
        """Computes the metric; ``rarer`` is the ``rarer_class`` of the table (None: that of these rows)."""
        if self.name == "average_precision":
            return _of_ranked(self.name, y_N, predicted, rarer)
        return self.function(y_N, predicted)

    def better(self, left: float, right: float) -> bool:
        """Whether ``left`` beats ``right``; a number beats nan."""
        if np.isnan(right):
            return not np.isnan(left)
        return left > right if self.higher_is_better else left < right

    @property
    def sign(self) -> int:
        """Returns 1 or -1; a score multiplied by it is better the larger it is."""
        return 1 if self.higher_is_better else -1

    @property
    def written(self) -> str:
        """Returns the label as written inside a sentence.

        >>> METRICS["log_loss"].written, METRICS["f1_weighted"].written, METRICS["rmse"].written
        ('log-loss', 'F1 (weighted)', 'RMSE')
        """
        kept = self.label.startswith(("ROC", "F1", "Matthews", "Brier", "RMSE", "R²"))
        return self.label if kept else self.label.lower()

    def rounding(self, first: Any, second: Any = 0.0) -> Any:
        """Returns the size of rounding errors in a difference of scores or arrays of them, relative to the scores.

        Scores that are not in the target's unit are never taken for smaller than 1.
        """
        size = np.maximum(np.maximum(abs(first), abs(second)), float(self.unit != TARGET_UNIT))
        return ROUNDING * np.minimum(size, np.finfo(np.float64).max)

    def ahead(self, first: Any, second: Any) -> Any:
        """Returns how much better ``first`` is than ``second``, scores or arrays; 0 if that is a rounding error.

        >>> float(METRICS["rmse"].ahead(3e-15, 5e-15)), float(METRICS["accuracy"].ahead(0.3, 0.1 + 0.2))
        (2e-15, 0.0)
        """
        better_by = self.sign * (first - second)
        return better_by * (abs(better_by) > self.rounding(first, second)) + 0.0

    def text(self, value: float, *differences: float) -> str:
        """Writes a score with the digits of its unit, and with two digits of each difference in ``apart``."""
        return self.like(value, value, *differences)

    def like(self, value: float, size: float, *differences: float, signed: bool = False) -> str:
        """Writes a score or a difference with the digits that fit a score of this ``size``.

        >>> METRICS["rmse"].like(7837.4, 62_507.0, signed=True), METRICS["accuracy"].like(0.5, 0.9)
        ('+7,837', '0.5000')
        >>> METRICS["log_loss"].like(0.3, 0.3, 0.000012), METRICS["log_loss"].like(0.000012, 0.3), METRICS["rmse"].text(5.3512e-15)
        ('0.300000', '1.2e-05', '5.3512e-15')
        """  # noqa: E501
        return decimal(self._known(value, size), self.decimals([size], differences), signed=signed)

    def same_digits(self, values: Sequence[float], size: float, *differences: float, signed: bool = False) -> list[str]:
        """Writes the ends of an interval, or a difference and its ±, with the same digits."""
        known, places = [self._known(value, size) for value in values], self.decimals([size], differences)
        return same_digits(known, places, signed=signed)

    def _known(self, value: float, size: float) -> float:
        return 0.0 if abs(value) <= self.rounding(size) else value

    def decimals(self, scores: Iterable[float], differences: Iterable[float] = ()) -> int:
        """Returns the decimal places for scores that are written alike: four, or five digits in the target's unit.

        There are more for two digits of each difference in ``apart``, or if a score that should be small is smaller.

        >>> [METRICS["rmse"].decimals([size]) for size in (54_321.0, 5.4, 0.00054)], METRICS["accuracy"].decimals([0.9])
        ([0, 4, 8], 4)
        >>> METRICS["rmse"].decimals([5.4, 3e8]), METRICS["log_loss"].decimals([0.3, 0.00002]), METRICS["log_loss"].decimals([0.3], [2e-7])
        (4, 6, 8)
        """  # noqa: E501
        sizes = [abs(score) for score in scores if score and np.isfinite(score)]
        least = 0 if self.unit == TARGET_UNIT and sizes else FEWEST_PLACES
        rounding, digits = self.rounding(min(sizes, default=0.0)), 5 if self.unit == TARGET_UNIT else 2
        small = [abs(one) for one in differences if np.isfinite(one) and abs(one) > rounding]
        ends = (min(sizes), max(sizes)) if sizes and not self.higher_is_better else ()
        own = [digits - power_of_ten(size) - 1 for size in ends] or [least]
        places = own[0] if own[-1] > MOST_PLACES else min(own[0], MOST_PLACES)
        return max(least, places, *(1 - power_of_ten(one) for one in small))

    def form(self, scores: Iterable[float], differences: Iterable[float] = ()) -> str:
        """Returns the format of scores that a chart writes alike; ``apart`` is that of ``decimals``.

        >>> METRICS["rmse"].form([5.4, 62.0]), METRICS["rmse"].form([5e-15])
        (',.4f', '.4e')
        """
        known = [score for score in scores if np.isfinite(score)]
        places = self.decimals(known, differences)
        return ".4e" if places > MOST_PLACES or max(map(abs, known), default=0.0) >= LARGEST else f",.{places}f"


def _sk() -> Any:
    """Loads scikit-learn's metrics on first use: that takes a second, and many programs need only the names."""
    from sklearn import metrics

    return metrics


def rarer_class(labels: NDArray[Any], classes: Sequence[object]) -> int | None:
    """Returns the id of the class of two that fewer ``labels`` have, or the second; None for other numbers of classes.

    >>> rarer_class(np.array(["no", "yes", "no"]), ["no", "yes"]), rarer_class(np.array([1, 0]), [0, 1]), rarer_class(np.array([0]), [0])
    (1, 1, None)
    """  # noqa: E501
    return int((labels == classes[0]).sum() >= (labels == classes[1]).sum()) if len(classes) == 2 else None


def ranked_classes(metric: str, y_N: Labels, classes: int, rarer: int | None = None) -> list[int]:
    """Returns the classes that ROC AUC or average precision compare with the rest: those with a row here.

    Of two classes it is ``rarer`` (None: the class with fewer rows here) for average precision, and either for ROC AUC.
    Empty if all rows are of one class, for which no ranking metric is defined.
    """
    counts_K = np.bincount(y_N, minlength=classes)
    there = np.flatnonzero(counts_K).tolist()
    if len(there) < 2:
        return []
    if classes > 2:
        return there
    return [1 if metric == "roc_auc" else rarer if rarer is not None else int(counts_K[0] >= counts_K[1])]


def _of_ranked(metric: str, y_N: Labels, p_NK: Probabilities, rarer: int | None = None) -> float:
    """Computes scikit-learn's score of each of the ``ranked_classes`` against the rest, averaged; nan without any."""
    ranked, score = ranked_classes(metric, y_N, p_NK.shape[1], rarer), getattr(_sk(), f"{metric}_score")
    return float(np.mean([score(y_N == k, p_NK[:, k]) for k in ranked])) if ranked else float("nan")


def _of_rows(metric: str, y_N: NDArray[Any], predicted: NDArray[np.floating]) -> float:
    """Computes a metric of ``ROW_MEANS``."""
    of_row, of_mean = ROW_MEANS[metric]
    return float(of_mean(np.mean(of_row(y_N, predicted))))


def _normalised(p_NK: Probabilities) -> Probabilities:
    p_NK = np.clip(np.asarray(p_NK, dtype=np.float64), 1e-15, 1.0)
    return np.asarray(p_NK / p_NK.sum(axis=1, keepdims=True))


def confidence_bins(y_N: Labels, p_NK: Probabilities, bins: int = 10) -> NDArray[np.float64]:
    """Counts rows, summed confidence and correct rows in equal-width bins of the confidence, ``(bins, 3)``.

    The confidence is the probability of the predicted class (Guo et al. 2017, section 2).
    """
    confidence_N, right_N = p_NK.max(axis=1), p_NK.argmax(axis=1) == y_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    each = (np.ones(len(y_N)), confidence_N, right_N)
    return np.stack([np.bincount(bin_N, weights, bins) for weights in each], axis=1)


def _expected_calibration_error(y_N: Labels, p_NK: Probabilities) -> float:
    """Computes the mean gap between confidence and accuracy over the bins, weighted by rows (Guo et al. 2017)."""
    _, confidence_B, right_B = confidence_bins(y_N, p_NK).T
    return float(np.abs(confidence_B - right_B).sum() / len(y_N))


def _balanced_accuracy(y_N: Labels, p_NK: Probabilities) -> float:
    predicted_N = p_NK.argmax(axis=1)
    return float(np.mean([np.mean(predicted_N[y_N == k] == k) for k in np.unique(y_N)]))


def _f1_weighted(y_N: Labels, p_NK: Probabilities) -> float:
    return float(_sk().f1_score(y_N, p_NK.argmax(axis=1), average="weighted", zero_division=0))


def _matthews(y_N: Labels, p_NK: Probabilities) -> float:
    predicted_N = p_NK.argmax(axis=1)
    one_class = len({*y_N.tolist(), *predicted_N.tolist()}) == 1  # 0 by convention; scikit-learn would warn
    return 0.0 if one_class else float(_sk().matthews_corrcoef(y_N, predicted_N))


def _r2(y_N: Numbers, p_N: Numbers) -> float:
    return float(_sk().r2_score(y_N, p_N)) if len(y_N) and np.ptp(y_N) else float("nan")


_CLASSES, _NUMBERS = get_args(Task)
_UP, _DOWN = True, False
_PLAIN, _OF_THE_CLASS, _OVER_CLASSES = Interval.PLAIN, Interval.OF_THE_CLASS, Interval.OVER_CLASSES
_BOTH = _OF_THE_CLASS | _OVER_CLASSES
_PRECISION = partial(_of_ranked, "average_precision")
_ALL = (
    Metric("log_loss", "Log-loss", _DOWN, "nats", _CLASSES, partial(_of_rows, "log_loss"), _PLAIN),
    Metric("accuracy", "Accuracy", _UP, "share", _CLASSES, partial(_of_rows, "accuracy"), _OF_THE_CLASS),
    Metric("balanced_accuracy", "Balanced accuracy", _UP, "share", _CLASSES, _balanced_accuracy, _BOTH),
    Metric("f1_weighted", "F1 (weighted)", _UP, "share", _CLASSES, _f1_weighted, _OF_THE_CLASS),
    Metric("roc_auc", "ROC AUC", _UP, "share", _CLASSES, partial(_of_ranked, "roc_auc"), _OVER_CLASSES),
    Metric("average_precision", "Average precision", _UP, "share", _CLASSES, _PRECISION, _OVER_CLASSES),
    Metric("mcc", "Matthews correlation", _UP, "-1 to 1", _CLASSES, _matthews, _OF_THE_CLASS),
    Metric("brier", "Brier score", _DOWN, "0 to 2", _CLASSES, partial(_of_rows, "brier"), _PLAIN),
    Metric("ece", "Calibration error", _DOWN, "share", _CLASSES, _expected_calibration_error, _PLAIN),
    Metric("rmse", "RMSE", _DOWN, TARGET_UNIT, _NUMBERS, partial(_of_rows, "rmse"), _PLAIN),
    Metric("mae", "Mean absolute error", _DOWN, TARGET_UNIT, _NUMBERS, partial(_of_rows, "mae"), _PLAIN),
    Metric("r2", "R²", _UP, "at most 1", _NUMBERS, _r2, _PLAIN),
)
_HELP = {
    "log_loss": "How surprised the model is by the right class; measures confidence, not only right or wrong.",
    "accuracy": "Share of rows predicted right.",
    "balanced_accuracy": "Accuracy within each class, averaged; fair to rare classes.",
    "f1_weighted": "Harmonic mean of precision and recall, weighted by class size.",
    "roc_auc": "Chance that a row of a class scores above a row of another; 0.5 is guessing. With more than two "
    "classes, the mean over the classes that have held-out rows.",
    "average_precision": "Area under the precision-recall curve of the class of two that fewer rows of the table "
    "have; with more classes, the mean over those that have held-out rows. Guessing scores the share of the class, "
    "so it says more than ROC AUC about a rare class.",
    "mcc": "Correlation of predicted and true classes; 0 is guessing.",
    "brier": "Squared distance of the probabilities from the truth.",
    "ece": "Gap between how sure the model is and how often it is right.",
    "rmse": "Typical size of an error; large errors count more.",
    "mae": "Mean size of an error.",
    "r2": "Share of the target's variance that is explained; 0 is as good as always predicting the mean, below 0 is "
    "worse than that.",
}
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}


SELECTION: dict[Task, str] = {"classification": "log_loss", "regression": "rmse"}
"""The default selection metric of each task."""
LOSS_UNITS: dict[Task, str] = {"classification": "nats", "regression": "the model's own unit"}
"""The unit of a training loss, for people."""

ROW_MEANS: dict[str, tuple[Callable[[Any, Any], NDArray[np.floating]], Callable[[Any], Any]]] = {
    "log_loss": (lambda y_N, p_NK: -np.log(_normalised(p_NK)[np.arange(len(y_N)), y_N]), np.asarray),
    "accuracy": (lambda y_N, p_NK: (p_NK.argmax(axis=1) == y_N).astype(np.float64), np.asarray),
    # the squared distance to the one-hot label (Brier 1950): 0 to 2
    "brier": (lambda y_N, p_NK: np.sum((p_NK - np.eye(p_NK.shape[1])[y_N]) ** 2, axis=1), np.asarray),
    "mae": (lambda y_N, p_N: np.abs(p_N - y_N), np.asarray),
    "rmse": (lambda y_N, p_N: (p_N - y_N) ** 2, np.sqrt),
}
"""Metrics that are a function of a mean over rows: each row's value, and that function.

Resampling them needs no loop.
"""


def metrics_of(task: Task) -> tuple[str, ...]:
    """Returns the names of a task's metrics."""
    return tuple(metric.name for metric in METRICS.values() if metric.task == task)


def score_all(y_N: NDArray[Any], predicted: NDArray[np.floating], *, rarer: int | None = None) -> dict[str, float]:
    """Computes every metric of classification for ``predicted`` of shape ``(N, K)``, of regression for ``(N,)``.

    ``rarer`` is that of ``Metric.score``. All are nan if a prediction is not finite, as after a training that diverged.
    """
    names = metrics_of("classification" if predicted.ndim == 2 else "regression")
    if not np.isfinite(predicted).all():
        return dict.fromkeys(names, float("nan"))
    return {name: METRICS[name].score(y_N, predicted, rarer=rarer) for name in names}
