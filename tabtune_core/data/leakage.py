"""Finds columns that may leak the label: a single column predicts it almost without error.

``target.check_label`` reports exact copies. In: a frame with its label and the kinds of its columns. Out: findings;
only the person knows whether such a column is known before the outcome.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.encoding import LEFT_OUT, days_since_1970
from tabtune_core.data.findings import Finding, shorten
from tabtune_core.data.target_checks import leaks
from tabtune_core.data.values import word
from tabtune_core.metrics import Task
from tabtune_core.wording import few

SAMPLE_ROWS = 2_000
MOST_COLUMNS = 300
"""A tree takes a few milliseconds per column."""
FEWEST_ROWS = 60
FOLDS = 3
WORTH_MORE = 0.9
LEAVES = 32
LEAF_ROWS = 3
NEARLY_ALL, NEARLY_ALL_OF_FEW = 0.98, 0.95
"""Balanced accuracy, or share of the variance, from which a column is reported. Honest measurements, such as a petal's
width for the species of iris, stay below. The lower limit is for a column with at most one value more than there are
classes: a label with some slips.
"""
ONE_CLASS, FEWEST_TELLING, BY_CHANCE = 0.98, 20, 1e-6
"""For the rows with a value or those without: least share of one class, least number, largest probability by chance."""
SAME_ORDER = 0.9999
"""Rank correlation from which a column counts as the target on another scale."""
NAMED = 4


def may_leak(frame: pd.DataFrame, kinds: Mapping[str, str], target: str, task: Task) -> tuple[Finding, ...]:
    """Returns a finding for each column from which a small tree alone predicts held-out rows almost without error.

    A score is the mean over three folds of a sample of the rows, where missing counts as a separate value, or of those
    with a value if it is higher there. ``check_label`` reports exact copies of the label.
    """
    labelled = pd.Series(np.flatnonzero(frame[target].notna()))
    if len(labelled) < FEWEST_ROWS:
        return ()
    copies = {finding.column for finding in leaks(frame, target)}
    sample = frame.iloc[labelled.sample(min(len(labelled), SAMPLE_ROWS), random_state=0).to_numpy()]
    y_N = (
        _without_far_ends(sample[target].to_numpy(dtype=float))
        if task == "regression"
        else pd.factorize(sample[target])[0]
    )
    if task == "classification":
        counts = np.bincount(y_N)
        keep_N = counts[y_N] >= FOLDS * 2
        sample, y_N = sample[keep_N], y_N[keep_N]
    if len(np.unique(y_N)) < 2:
        return ()
    candidates = [
        name
        for name in frame.columns
        if name not in (target, *copies) and kinds.get(str(name), "ignored") not in LEFT_OUT
    ]
    scores = {name: _best_score(as_number(sample[name]), y_N, task) for name in candidates[:MOST_COLUMNS]}
    few = len(np.unique(y_N)) + 1 if task == "classification" else 0
    least = {name: NEARLY_ALL_OF_FEW if sample[name].nunique(dropna=False) <= few else NEARLY_ALL for name in scores}
    told = {name: score for name, score in scores.items() if score >= least[name]}
    does = (
        "explains {:.1%} of the variance"
        if task == "regression"
        else "is right in {:.1%} of the rows, with equal weight for each class"
    )
    alone = f"a small tree that sees this column alone {does}"
    findings = [_finding(str(name), target, alone.format(score)) for name, score in told.items()]
    if task == "regression":
        left = [name for name in scores if name not in told and kinds.get(str(name)) == "number"]
        ranks = sample[[target, *left]].rank().corr()[target]
        for name in (
            name for name in left if abs(ranks[name]) >= SAME_ORDER and sample[name].count() > len(sample) / 2
        ):
            alike = "both sort the rows in the same order, or the reverse, like a logarithm or an inverse"
            findings.append(_finding(str(name), target, alike))
    if task == "classification":
        rest = sample[[name for name in candidates[:MOST_COLUMNS] if name not in told]]
        findings += _gaps(rest, sample[target], np.asarray(y_N, dtype=np.int64))
    if len(candidates) > MOST_COLUMNS:
        message = (
            f"Only the first {MOST_COLUMNS} of {len(candidates):,} columns were checked for giving {target!r} "
            "away. Check the others."
        )
        findings.append(Finding("info", "leak-unchecked", message))
    return tuple(findings)


def _gaps(sample: pd.DataFrame, label: pd.Series, y_N: NDArray[np.int64]) -> Iterator[Finding]:
    """Yields a finding for each pattern of missing cells that only one class has."""
    from scipy.stats import binom  # slow to import

    sizes, alike = np.bincount(y_N), dict[tuple[str, str, bytes], list[str]]()
    for name in sample:
        there_N = sample[name].notna().to_numpy()
        for rows_N, how in ((there_N, "a value"), (~there_N, "no value")):
            counts = np.bincount(y_N[rows_N], minlength=len(sizes))
            most, there, of_class = int(counts.max()), int(rows_N.sum()), int(sizes[counts.argmax()])
            alone = most >= ONE_CLASS * there or _tells_apart(most, there, of_class, len(y_N))
            by_chance = binom.sf(most - 1, there, of_class / len(y_N))
            if FEWEST_TELLING <= there < len(y_N) and alone and by_chance < BY_CHANCE:
                class_name = shorten(word(label[y_N == counts.argmax()].iloc[0]))
                rows = f"{most:,} of the {there:,} rows with {how}"
                alike.setdefault((rows, class_name, rows_N.tobytes()), []).append(str(name))
                break
    for (rows, class_name, _), names in alike.items():
        message = (
            f"Which cells of {few([*map(repr, names)], NAMED)} are missing may give {str(label.name)!r} away: {rows} "
            f"are of the class {class_name!r}. Leave out what is only known after the outcome."
        )
        yield Finding("warning", "may-leak", message, names[0])


def _tells_apart(most: int, there: int, of_class: int, rows: int) -> bool:
    """Whether ``there`` of the rows, ``most`` of them of one class, tell this class from the others, by their balanced
    accuracy.
    """
    return bool((most / of_class + 1 - (there - most) / max(rows - of_class, 1)) / 2 >= NEARLY_ALL_OF_FEW)


def _without_far_ends(y_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Clips numbers to their 1st and 99th percentile: otherwise a single total would dominate the squared error."""
    low, high = np.quantile(y_N, [0.01, 0.99])
    return np.clip(y_N, low, high) if low < high else y_N


def _best_score(x_N: NDArray[np.float64], y_N: NDArray[np.generic], task: Task) -> float:
    """Returns ``tree_score`` on all rows or on those with a value, whichever is higher."""
    there_N, score = np.isfinite(x_N), tree_score(x_N, y_N, task)
    if task == "classification":
        there_N &= np.bincount(y_N[there_N], minlength=int(y_N.max()) + 1)[y_N] >= FOLDS * 2
    if FEWEST_ROWS <= there_N.sum() < len(y_N) and len(np.unique(y_N[there_N])) > 1:
        return max(score, tree_score(x_N[there_N], y_N[there_N], task))
    return score


def tree_score(x_N: NDArray[np.float64], y_N: NDArray[np.generic], task: Task) -> float:
    """Returns the balanced accuracy, or R2, of a small tree that sees one column, on held-out rows; one fold if low.

    >>> x = np.arange(100.0)
    >>> tree_score(x, (x > 50).astype(int), "classification") > 0.95
    True
    """
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # slow to import

    small = {"max_leaf_nodes": LEAVES, "min_samples_leaf": LEAF_ROWS, "random_state": 0}
    tree = DecisionTreeRegressor(**small) if task == "regression" else DecisionTreeClassifier(**small)
    fold_N = np.random.default_rng(0).permutation(len(y_N)) % FOLDS
    scores: list[float] = []
    for fold in range(FOLDS):
        held_N = fold_N == fold
        guessed = tree.fit(x_N[~held_N, None], y_N[~held_N]).predict(x_N[held_N, None])
        scores.append(_score(y_N[held_N], guessed, task))
        if scores[0] < WORTH_MORE:  # most columns are far below, which one fold shows
            break
    return float(np.mean(scores))


def _score(y_N: NDArray[np.generic], guessed_N: NDArray[np.generic], task: Task) -> float:
    if task == "regression":
        from sklearn.metrics import r2_score

        return float(r2_score(y_N, guessed_N))
    return float(np.mean([np.mean(guessed_N[y_N == label] == label) for label in np.unique(y_N)]))


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


def _finding(name: str, target: str, why: str) -> Finding:
    message = f"{name!r} may give {target!r} away: {why}. Leave it out unless it is known before the outcome is."
    return Finding("warning", "may-leak", message, name)
