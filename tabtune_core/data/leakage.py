"""Finds columns that may leak the label: a single column predicts it almost without error.

``target_checks.check_label`` reports exact copies. Only the person knows whether a column is known before the outcome.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.encoding import LEFT_OUT, days_since_1970
from tabtune_core.data.findings import Finding, shorten
from tabtune_core.data.target_checks import leaks
from tabtune_core.data.values import word
from tabtune_core.metrics import Task

SAMPLE_ROWS, FEWEST_ROWS, FOLDS = 2_000, 60, 3
MOST_COLUMNS = 300
"""A tree takes a few milliseconds per column."""
WORTH_MORE = 0.9
LEAVES, LEAF_ROWS = 32, 3
NEARLY_ALL, NEARLY_ALL_OF_FEW = 0.98, 0.95
"""Balanced accuracy, or share of the variance, from which a column is reported. Honest measurements, such as a petal's
width for the species of iris, stay below. The lower limit is for a column with at most one value more than there are
classes: a label with some slips.
"""
ONE_CLASS, FEWEST_TELLING, BY_CHANCE = 0.98, 20, 1e-6
"""For the rows with a value or those without: least share of one class, least number, largest probability by chance."""
KNOWN_BEFORE = "Leave it out unless it is known before the outcome is."


def may_leak(frame: pd.DataFrame, kinds: Mapping[str, str], target: str, task: Task) -> tuple[Finding, ...]:
    """Returns a finding for each column from which a small tree alone predicts held-out rows almost without error.

    A score is the mean over three folds of a sample of the rows, where missing counts as a separate value, or of those
    with a value if it is higher there.
    """
    labelled = pd.Series(np.flatnonzero(frame[target].notna()))
    if len(labelled) < FEWEST_ROWS:
        return ()
    copies = {finding.column for finding in leaks(frame, target)}
    sample = frame.iloc[labelled.sample(min(len(labelled), SAMPLE_ROWS), random_state=0).to_numpy()]
    y_N: NDArray[Any]
    if task == "regression":
        y_N = sample[target].to_numpy(dtype=float)
        low, high = np.quantile(y_N, [0.01, 0.99])
        y_N = np.clip(y_N, low, high) if low < high else y_N  # else a single total would dominate the squared error
        does = "explains {:.1%} of the variance"
    else:
        y_N = pd.factorize(sample[target])[0]
        keep_N = np.bincount(y_N)[y_N] >= FOLDS * 2
        sample, y_N = sample[keep_N], y_N[keep_N]
        does = "is right in {:.1%} of the rows, with equal weight for each class"
    if len(np.unique(y_N)) < 2:
        return ()
    others = (str(name) for name in frame.columns if name not in (target, *copies))
    candidates = [name for name in others if kinds.get(name, "ignored") not in LEFT_OUT]
    few, findings, honest = len(np.unique(y_N)) + 1 if task == "classification" else 0, list[Finding](), list[str]()
    for name in candidates[:MOST_COLUMNS]:
        score = _best_score(as_number(sample[name]), y_N, task)
        if score >= (NEARLY_ALL_OF_FEW if sample[name].nunique(dropna=False) <= few else NEARLY_ALL):
            alone = f"a small tree that sees this column alone {does.format(score)}"
            message = f"{name!r} may give {target!r} away: {alone}. {KNOWN_BEFORE}"
            findings.append(Finding("warning", "may-leak", message, name))
        else:
            honest.append(name)
    if task == "classification":
        findings += _gaps(sample[honest], sample[target], np.asarray(y_N, dtype=np.int64))
    if len(candidates) > MOST_COLUMNS:
        first = f"Only the first {MOST_COLUMNS} of {len(candidates):,} columns were checked"
        findings.append(Finding("info", "leak-unchecked", f"{first} for giving {target!r} away. Check the others."))
    return tuple(findings)


def _gaps(sample: pd.DataFrame, label: pd.Series, y_N: NDArray[np.int64]) -> Iterator[Finding]:
    """Yields a finding for each column whose missing, or present, cells only one class has."""
    from scipy.stats import binom  # slow to import

    sizes = np.bincount(y_N)
    for name in sample:
        there_N = sample[name].notna().to_numpy()
        for rows_N, how in ((there_N, "a value"), (~there_N, "no value")):
            counts = np.bincount(y_N[rows_N], minlength=len(sizes))
            most, there, of_class = int(counts.max()), int(rows_N.sum()), int(sizes[counts.argmax()])
            balanced = (most / of_class + 1 - (there - most) / max(len(y_N) - of_class, 1)) / 2
            alone = most >= ONE_CLASS * there or balanced >= NEARLY_ALL_OF_FEW
            if FEWEST_TELLING <= there < len(y_N) and alone:
                if binom.sf(most - 1, there, of_class / len(y_N)) >= BY_CHANCE:
                    continue
                of_class_name = shorten(word(label[y_N == counts.argmax()].iloc[0]))
                rows = f"{most:,} of the {there:,} rows with {how} are of the class {of_class_name!r}"
                message = f"{name!r} may give {str(label.name)!r} away by its missing cells: {rows}. {KNOWN_BEFORE}"
                yield Finding("warning", "may-leak", message, str(name))
                break


def _best_score(x_N: NDArray[np.float64], y_N: NDArray[np.generic], task: Task) -> float:
    """Returns ``tree_score`` on all rows or on those with a value, whichever is higher."""
    there_N, score = np.isfinite(x_N), tree_score(x_N, y_N, task)
    if task == "classification":
        there_N &= np.bincount(y_N[there_N], minlength=int(y_N.max()) + 1)[y_N] >= FOLDS * 2
    if FEWEST_ROWS <= there_N.sum() < len(y_N) and len(np.unique(y_N[there_N])) > 1:
        return max(score, tree_score(x_N[there_N], y_N[there_N], task))
    return score


def tree_score(x_N: NDArray[np.float64], y_N: NDArray[np.generic], task: Task) -> float:
    """Returns the balanced accuracy, or R2, of a small tree that sees one column, on held-out rows; one fold if low."""
    from sklearn.metrics import r2_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # slow to import

    small = {"max_leaf_nodes": LEAVES, "min_samples_leaf": LEAF_ROWS, "random_state": 0}
    tree = DecisionTreeRegressor(**small) if task == "regression" else DecisionTreeClassifier(**small)
    fold_N = np.random.default_rng(0).permutation(len(y_N)) % FOLDS
    scores: list[float] = []
    for fold in range(FOLDS):
        held_N = fold_N == fold
        right_N, guessed_N = y_N[held_N], tree.fit(x_N[~held_N, None], y_N[~held_N]).predict(x_N[held_N, None])
        by_class = [np.mean(guessed_N[right_N == label] == label) for label in np.unique(right_N)]
        scores.append(float(r2_score(right_N, guessed_N) if task == "regression" else np.mean(by_class)))
        if scores[0] < WORTH_MORE:  # most columns are far below, which one fold shows
            break
    return float(np.mean(scores))


def as_number(column: pd.Series) -> NDArray[np.float64]:
    """Returns numbers unchanged, dates as days and words as ids in alphabetical order; missing is nan."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return days_since_1970(column)
    if pd.api.types.is_numeric_dtype(column):
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        values[~(np.abs(values) < np.finfo(np.float32).max)] = np.nan  # the largest that scikit-learn's trees accept
        return values
    ids: NDArray[np.float64] = pd.factorize(column, sort=True)[0].astype(np.float64)
    ids[ids < 0] = np.nan
    return ids
