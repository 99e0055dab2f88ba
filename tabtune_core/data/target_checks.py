"""Checks whether a column can be predicted as asked: findings, or a LabelError with the way out."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tabtune_core.data.encoding import LARGEST
from tabtune_core.data.findings import Finding, absent
from tabtune_core.data.merged_classes import GROUPED, OTHER, worth_grouping
from tabtune_core.data.target import ROWS_PER_CLASS, is_continuous
from tabtune_core.data.values import words
from tabtune_core.errors import LabelError
from tabtune_core.metrics import Task
from tabtune_core.wording import counted, number

MEND = f"Merge classes with fewer than {GROUPED} rows into {OTHER!r} (setting group_rare_classes={GROUPED})"
MEDIAN = "plit it at its median into two classes (setting split_at_median=true)"
SMALL_CLASS = 0.1
"""Share of the rows: a class below it that also has less than half the rows of the largest class is rare."""
FEWEST_NUMBERS = 10
FAR, FAR_IN_LOG = 30, 6
"""Multiples of the interquartile range: a number further from the median is far from the others. Positive numbers must
also be that far by their logarithms, since incomes and prices spread widely.
"""
FIRST_ROWS = 1_000


def check_label(
    frame: pd.DataFrame, target: str, *, max_classes: int | None, task: Task = "classification", split: bool = True
) -> tuple[Finding, ...]:
    """Returns what to know about a label before training on it; LabelError where it cannot be predicted as asked.

    ``max_classes`` is the model's limit, None for no limit; ``split``: rows are withheld, which needs more rows.
    """
    if target not in frame.columns:
        raise LabelError(absent(target, [str(name) for name in frame.columns]))
    series = frame[target]
    labels = series.dropna()
    if labels.empty:
        raise LabelError(f"The label {target!r} is missing in every row. Choose another column, or its missing marks.")
    if labels.nunique() == 1:
        only = words(labels[:1])[0]
        fewer = "Group fewer of its rare classes, or choose" if only == OTHER else "Choose"
        raise LabelError(f"The label {target!r} is {only!r} in every row: nothing to learn. {fewer} another column.")
    findings = []
    if len(labels) < len(series):
        without = f"{counted(len(series) - len(labels), 'row')} of {len(series):,} without {target!r}"
        findings.append(Finding("warning", "label-missing", f"{without}: not used for training or scores.", target))
    if task == "regression":
        if not is_numeric_dtype(labels) or is_bool_dtype(labels):
            first = words(labels[:1])[0]
            raise LabelError(f"The label {target!r} holds {first!r}; regression needs numbers. Choose classification.")
        if split and len(labels) < FEWEST_NUMBERS:
            few_values = f"has {len(labels)} values; regression needs at least {FEWEST_NUMBERS}"
            raise LabelError(f"The label {target!r} {few_values} to train, validate and test on.")
        numbers = labels.to_numpy(dtype=float)
        if LARGEST <= (largest := float(np.abs(numbers).max())) < np.inf or 0 < largest <= 1 / LARGEST:
            raise LabelError(f"The label {target!r} holds {largest:g}, whose square no float holds. Rescale it.")
        findings += far_values(numbers, target)
    else:
        findings += check_classes(labels, target, max_classes, ROWS_PER_CLASS if split else 1)
    return (*findings, *leaks(frame, target))


def far_values(y_N: NDArray[np.float64], target: str) -> list[Finding]:
    """Reports numbers so far from the others that they dominate a squared error, such as a total or a typing mistake.

    >>> [finding.code for finding in far_values(np.array([10.0, 11, 12, 13, 14, 900]), "y")]
    ['far-values']
    >>> far_values(np.exp(np.linspace(-4.0, 4, 99)), "y")
    []
    """
    low, middle, high = np.quantile(y_N, [0.25, 0.5, 0.75])
    far = sorted(y_N[far_of(y_N)], key=lambda value: -abs(value - middle))
    if not far:
        return []
    examples = ", ".join(f"{value:,.10g}" for value in far[:3]) + (", ..." if len(far) > 3 else "")
    how = "1 value lies" if len(far) == 1 else f"{len(far):,} values lie"
    half = f"Half of all lie between {number(low)} and {number(high)}"
    message = f"{how} far from the others in {target!r}: {examples}. {half}. Correct mistakes, remove totals."
    return [Finding("warning", "far-values", message, target)]


def far_of(y_N: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns which numbers are far from the others; none where half of all are equal."""
    low, middle, high = np.quantile(y_N, [0.25, 0.5, 0.75])
    far_N = np.abs(y_N - middle) > FAR * (high - low)
    if low > 0:
        positive_N = y_N > 0
        far_N[positive_N] &= np.abs(np.log(y_N[positive_N] / middle)) > FAR_IN_LOG * np.log(high / low)
    return np.asarray(far_N & (low < high))


def check_classes(labels: pd.Series, target: str, max_classes: int | None, rows_per_class: int) -> Iterator[Finding]:
    """Yields findings on the classes of a label without missing values; raises LabelError where none can be learned."""
    sizes = labels.value_counts()
    if is_continuous(labels):
        scale = f"a number on a scale ({len(sizes):,} different values), not a class"
        way_out = f"Predict it as a number (the task regression), or s{MEDIAN}"
        raise LabelError(f"The label {target!r} is {scale}. {way_out}.")
    if len(sizes) == len(labels):
        each = f"a different value in each of {len(labels):,} rows, as an id has"
        raise LabelError(f"The label {target!r} has {each}. Choose another one.")
    if max_classes is not None and len(sizes) > max_classes:
        fewest = sizes.iloc[max_classes - 1] + 1
        group = f"Group the rare ones (setting group_rare_classes={fewest} leaves at most {max_classes})"
        merge = group if sizes.iloc[0] >= fewest else "Merge some in the file"  # grouping would make all of them one
        way_out = f"S{MEDIAN}" if is_numeric_dtype(labels) else f"{merge}, or choose another model"
        takes = f"{len(sizes):,} classes; this model takes at most {max_classes}"
        raise LabelError(f"The label {target!r} has {takes}. {way_out}.")
    rare = sizes[sizes < rows_per_class]
    named = zip(words(pd.Series(rare.index[:5])), rare, strict=False)
    examples = ", ".join(f"{label} ({count})" for label, count in named)
    if len(sizes) - len(rare) < 2:
        needed = f"fewer than two classes with {ROWS_PER_CLASS} rows, to train, validate and test on. Too small"
        mend = MEND if worth_grouping(sizes) else "Add rows"
        raise LabelError(f"The label {target!r} has {needed}: {examples}. {mend}, or choose another column.")
    mend = MEND if worth_grouping(sizes) else "Merge them with others in the file if they matter"
    if len(rare):
        several = "es" * (len(rare) != 1)
        few_rows = f"{len(rare)} class{several} of {target!r} with fewer than {ROWS_PER_CLASS} rows"
        message = f"{few_rows}: {examples}. They are only trained on, or left out where they cannot be scored. {mend}."
        yield Finding("warning", "rare-classes", message, target)
    elif rows_per_class > 1 and worth_grouping(sizes):
        few_rows = f"{(sizes < GROUPED).sum()} classes of {target!r} have fewer than {GROUPED} rows"
        message = f"{few_rows}: how well they are predicted depends on chance. {mend}."
        yield Finding("info", "rare-classes", message, target)
    sizes = sizes[sizes >= rows_per_class]
    if sizes.iloc[-1] < SMALL_CLASS * len(labels) and 2 * sizes.iloc[-1] < sizes.iloc[0]:
        largest, smallest = words(pd.Series([sizes.index[0], sizes.index[-1]]))
        message = (
            f"{smallest!r} has {sizes.iloc[-1]:,} of {len(labels):,} rows, and always answering {largest!r} is right "
            f"in {sizes.iloc[0] / len(labels):.0%}: rank by average precision, with balanced class weights."
        )
        yield Finding("warning", "imbalance", message, target)


def leaks(frame: pd.DataFrame, target: str) -> list[Finding]:
    """Reports columns that repeat the label: their values map one-to-one to its values."""
    there = frame[target].notna()
    label = frame[target] if there.all() else frame[target][there]
    measure = label.nunique() * 2 > len(label)  # too many values for classes: only equal ones count as a copy
    codes = None if measure else pd.factorize(label)[0]

    def says_the_same(column: pd.Series) -> bool:
        if codes is None:
            return bool(column.equals(label))
        # classes are numbered in order of appearance, so most columns already differ in the first rows
        return all(np.array_equal(pd.factorize(column[:rows])[0], codes[:rows]) for rows in (FIRST_ROWS, len(codes)))

    others = (name for name in frame.columns if name != target)  # one column at a time, to avoid copying a large table
    same = [name for name in others if says_the_same(frame[name] if len(label) == len(frame) else frame[name][there])]
    message = "{!r} says the same as the label {!r} in every row. Leave it out unless it is known before it."
    return [Finding("warning", "leak", message.format(name, target), str(name)) for name in same]
