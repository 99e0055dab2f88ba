"""Predictions of runs row by row, counted and compared: confusion, calibration, errors, and changed rows.

In: predictions of held-out rows. Out: frames for charts and tables. Letters: N rows, K classes, B bins.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tabtune_core.metrics import confidence_bins
from tabtune_core.store.predictions import Predictions

MOST_CLASSES = 12
OTHERS = "other classes"
BINS = 10


def confusion(predictions: Predictions) -> pd.DataFrame:
    """One row per pair of classes: label, predicted, rows, share (of the rows with that label, 0 to 1).

    If there are more than 12 classes, all but the 11 most frequent are merged.
    """
    label_N, predicted_N = predictions.y_N.astype(np.int64), predictions.predicted.argmax(axis=1)
    names = np.array(predictions.classes, dtype=object)
    if len(names) > MOST_CLASSES:
        often = np.sort(np.argsort(-np.bincount(label_N, minlength=len(names)), kind="stable")[: MOST_CLASSES - 1])
        place_K = np.full(len(names), len(often))
        place_K[often] = np.arange(len(often))
        label_N, predicted_N, names = place_K[label_N], place_K[predicted_N], np.append(names[often], OTHERS)
    counts_KK = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts_KK, (label_N, predicted_N), 1)
    totals_K = np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    numbers = {"rows": counts_KK.ravel(), "share": (counts_KK / totals_K).ravel()}
    return pd.DataFrame({"label": np.repeat(names, len(names)), "predicted": np.tile(names, len(names)), **numbers})


def reliability(predictions: Predictions) -> pd.DataFrame:
    """One row per bin of confidence: low, high, rows, mean confidence and accuracy (NaN for an empty bin)."""
    rows_B, confidence_B, right_B = confidence_bins(predictions.y_N.astype(np.int64), predictions.predicted, BINS).T
    with np.errstate(invalid="ignore"):
        means = {"confidence": confidence_B / rows_B, "accuracy": right_B / rows_B}
    edges = np.arange(BINS + 1) / BINS
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "rows": rows_B.astype(np.int64), **means})


def errors(predictions: Predictions) -> pd.DataFrame:
    """One row per held-out row of a regression run: row, label, predicted, error (predicted minus label)."""
    rows = {"row": predictions.rows_N, "label": predictions.y_N, "predicted": predictions.predicted}
    return pd.DataFrame(rows).assign(error=predictions.predicted - predictions.y_N)


def together(first: Predictions, second: Predictions) -> pd.DataFrame:
    """One row per row that both runs predicted: row, label, and for each run (``first_``, ``second_``) the prediction.

    Classification has class names, ``right``, ``confidence``; regression ``error`` and ``move``, from first to second.
    """
    both = _one(first, "first_").merge(_one(second, "second_").drop(columns="label"), on="row")
    return both if first.classes else both.assign(move=both["second_predicted"] - both["first_predicted"])


def _one(predictions: Predictions, prefix: str) -> pd.DataFrame:
    label_N, predicted = predictions.y_N, predictions.predicted
    if predictions.classes:
        names, guess_N = np.array(predictions.classes, dtype=object), predicted.argmax(axis=1)
        values = {"predicted": names[guess_N], "confidence": predicted.max(axis=1), "right": guess_N == label_N}
        label_N = names[label_N]
    else:
        values = {"predicted": predicted, "error": predicted - label_N}
    frame = pd.DataFrame({"row": predictions.rows_N, "label": label_N})
    return frame.assign(**{prefix + name: value for name, value in values.items()})


def flips(both: pd.DataFrame) -> pd.DataFrame:
    """Rows whose class changed: those that became right, then those that became wrong or stayed wrong."""
    changed = both[both["first_predicted"] != both["second_predicted"]]
    return changed.sort_values(["second_right", "first_right", "row"], ascending=[False, False, True])


def movers(both: pd.DataFrame, most: int = 50) -> pd.DataFrame:
    """The rows of ``together`` whose number moved furthest."""
    return both.sort_values("move", key=lambda move: -move.abs(), kind="stable").head(most)


def flip_counts(changed: pd.DataFrame) -> Mapping[str, int]:
    """Counts the rows of ``flips`` that became right, became wrong, or stayed wrong."""
    first, second = changed["first_right"].astype(bool), changed["second_right"].astype(bool)
    return {
        "right": int((~first & second).sum()),
        "wrong": int((first & ~second).sum()),
        "still": int((~first & ~second).sum()),
    }
