"""Proposes the column to predict, and checks whether a column can be predicted as asked.

Between a Table and its split. In: a table and a name. Out: a proposal, findings, or a LabelError with the way out.
"""

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tabtune_core.data.encoding import LARGEST
from tabtune_core.data.findings import Finding
from tabtune_core.data.table import Table
from tabtune_core.data.target_ranking import near_best, rank_targets
from tabtune_core.data.values import with_column, words
from tabtune_core.errors import LabelError, nearest
from tabtune_core.files.plain_values import LONGEST_TEXT
from tabtune_core.metrics import Task
from tabtune_core.settings import RunSettings
from tabtune_core.wording import counted, number

FEW_CLASSES = 10
MANY_CLASSES = 20
CLASS_SHARE = 0.05
ROWS_PER_CLASS = 3
GROUPED, OTHER = 10, "other"
"""Classes with fewer rows can be merged into one class; the name of that class."""
MEND = f"Merge classes with fewer than {GROUPED} rows into one, {OTHER!r} (the button on the Data page, --group-rare-classes {GROUPED})"
SMALL_CLASS = 0.1
"""Share of the rows: a class below it that also has less than half the rows of the largest class is rare."""
FEWEST_NUMBERS = 10
FAR, FAR_IN_LOG = 30, 6
"""Multiples of the interquartile range: a number further from the median is far from the others. Positive numbers must also be that far
by their logarithms, since incomes and prices spread widely by nature."""
FIRST_ROWS = 1_000
Way = Literal["classes", "numbers", "halves"]
"""How a column is predicted: each value as a class, as numbers, or as two classes split at its median."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The column that is probably the one to predict, or several between which the person decides."""

    column: str | None
    """None where several are about as likely, and where every column is an id, empty or constant."""

    task: Task
    """Task of the column, or of the likeliest in ``near``."""

    reason: str
    """One sentence for the person who may choose another."""

    near: tuple[str, ...] = ()
    """Two to four columns to choose from, the likeliest first; empty where one is proposed."""


def propose_target(table: Table, title: str = "", named: str = "") -> Proposal:
    """Proposes a target from the names, places and values of the columns, as ``target_ranking`` weighs them.

    ``title`` is the name of the table or its file; ``named`` is the target that the table's source names, if any.
    """
    if named in table.frame:
        way = ways_of(table.frame[named])[0]
        return Proposal(named, "regression" if way == "numbers" else "classification", f"The table's source names {named!r} as the target.")
    useless = {str(finding.column) for finding in table.findings if finding.code in ("id-like", "constant", "one-value", "all-missing")}
    ranked = rank_targets(table.columns, table.frame, title, useless)
    if not ranked:
        return Proposal(
            None, "classification", "Every column is an id, a date, free text, constant, empty or left out: none can be predicted."
        )
    near = near_best(ranked, table.columns[-1])
    best = near[0].column
    task: Task = "regression" if ways_of(table.frame[best.name])[0] == "numbers" else "classification"
    if len(near) > 1:
        reasons = [f"{candidate.column.name!r}, which {candidate.reason}" for candidate in near]
        return Proposal(None, task, f"{'; '.join(reasons[:-1])}; or {reasons[-1]}.", tuple(candidate.column.name for candidate in near))
    values = (
        f"numbers on a scale ({best.unique:,} different ones)" if task == "regression" else f"{best.unique:,} different values: classes"
    )
    return Proposal(best.name, task, f"{best.name!r} {near[0].reason}, and holds {values}.")


def is_continuous(series: pd.Series) -> bool:
    """Whether a target is a measure and not classes: more than ten different numbers, with decimals or whole ones that seldom recur and of
    which some are too rare for a class.
    """
    values = series.dropna()
    if not is_numeric_dtype(values) or values.nunique() <= FEW_CLASSES:
        return False
    whole = bool(np.all(values == np.floor(values)))
    return not whole or (looks_counted(values) and _seldom(values))


def _seldom(values: pd.Series) -> bool:
    """Whether there are too many different whole numbers to be classes."""
    return values.nunique() > max(MANY_CLASSES, CLASS_SHARE * len(values))


def looks_counted(series: pd.Series) -> bool:
    """Whether whole numbers are more likely counts than classes: more than twenty different ones, some too rare for a class."""
    values = series.dropna()
    if not is_numeric_dtype(values) or is_bool_dtype(values):
        return False
    sizes = values.value_counts()
    return len(sizes) > MANY_CLASSES and bool(sizes.min() < ROWS_PER_CLASS)


def ways_of(series: pd.Series) -> tuple[Way, ...]:
    """Returns how a column can be predicted, the likeliest first.

    >>> ways_of(pd.Series(["yes", "no"])), ways_of(pd.Series([3, 4, 5, 4])), ways_of(pd.Series(range(50)) / 7)
    (('classes',), ('classes', 'numbers', 'halves'), ('numbers', 'halves'))
    """
    if not is_numeric_dtype(series) or is_bool_dtype(series) or series.nunique() <= 2:
        return ("classes",)
    halves: tuple[Way, ...] = ("halves",) if (series > series.median()).any() else ()
    if is_continuous(series):
        return ("numbers", *halves)
    return ("numbers", "classes", *halves) if looks_counted(series) or _seldom(series.dropna()) else ("classes", "numbers", *halves)


def check_label(
    frame: pd.DataFrame, target: str, *, max_classes: int | None, task: Task = "classification", split: bool = True
) -> tuple[Finding, ...]:
    """Returns what to know about a label before training on it.

    ``max_classes`` is the model's limit, None for no limit; ``split`` says whether rows are withheld for validation or testing, which needs
    more rows. Raises LabelError where the column cannot be predicted as asked.
    """
    if target not in frame.columns:
        raise LabelError(absent(target, [str(name) for name in frame.columns]))
    series = frame[target]
    labels = series.dropna()
    if labels.empty:
        way_out = "Choose another column, or check its missing marks. Save a workbook that computes it in Excel or LibreOffice first."
        raise LabelError(f"The label {target!r} is missing in every row. {way_out}")
    if labels.nunique() == 1:
        only = words(labels[:1])[0]
        way_out = "Group fewer of its rare classes, or choose another column" if only.rstrip("_") == OTHER else "Choose another column"
        raise LabelError(f"The label {target!r} is {only!r} in every row, so there is nothing to learn. {way_out}.")
    findings = []
    if len(labels) < len(series):
        without = f"{counted(len(series) - len(labels), 'row')} of {len(series):,} without {target!r}"
        message = f"{without}: not used for training or scores. Nothing to do unless they should have a label."
        findings.append(Finding("warning", "label-missing", message, target))
    if task == "regression":
        if not is_numeric_dtype(labels) or is_bool_dtype(labels):
            raise LabelError(
                f"The label {target!r} holds values such as {words(labels[:1])[0]!r}; regression needs numbers. Choose classification."
            )
        if split and len(labels) < FEWEST_NUMBERS:
            raise LabelError(
                f"The label {target!r} has {len(labels)} values; regression needs at least {FEWEST_NUMBERS} to train, validate and test on."
            )
        numbers = labels.to_numpy(dtype=float)
        if LARGEST <= (largest := float(np.abs(numbers).max())) < np.inf:
            raise LabelError(
                f"The label {target!r} holds numbers such as {largest:g}, whose squares are too large to compute with. Divide the column "
                "by a number, or correct it."
            )
        if 0 < largest <= 1 / LARGEST:
            raise LabelError(
                f"The label {target!r} holds no number larger than {largest:g}, and their squares are too small to compute with. Multiply "
                "the column by a number."
            )
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
    far_N = np.abs(y_N - middle) > FAR * (high - low)
    if low > 0:
        positive_N = y_N > 0
        far_N[positive_N] &= np.abs(np.log(y_N[positive_N] / middle)) > FAR_IN_LOG * np.log(high / low)
    far = y_N[far_N][np.argsort(-np.abs(y_N[far_N] - middle), kind="stable")]
    if not len(far) or low == high:
        return []
    examples = ", ".join(f"{value:,.10g}" for value in far[:3]) + (", ..." if len(far) > 3 else "")
    how = "1 value lies" if len(far) == 1 else f"{len(far):,} values lie"
    message = (
        f"{how} far from the others in {target!r}: {examples}. Half of all lie between {number(low)} and {number(high)}. Such values"
        " dominate training and the scores: if they are mistakes or totals, correct them or remove their rows."
    )
    return [Finding("warning", "far-values", message, target)]


def absent(target: str, names: list[str]) -> str:
    """Returns the message for a label that is not a column."""
    near = nearest(target, names)
    meant = f" Did you mean {near!r}?" if near else ""
    more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
    return f"The table has no column {target!r}.{meant} It has: {', '.join(names[:20])}{more}."


def check_classes(labels: pd.Series, target: str, max_classes: int | None, rows_per_class: int) -> Iterator[Finding]:
    """Yields findings on the classes of a label without missing values; raises LabelError where they cannot be learned."""
    sizes = labels.value_counts()
    offer = "Split it at its median into two classes (the switch on the page, --split-at-median on the command line)"
    if is_continuous(labels):
        raise LabelError(
            f"The label {target!r} is a number on a scale ({len(sizes):,} different values in {len(labels):,} rows), not a class. "
            f"Predict it as a number (the task regression), or {offer[0].lower()}{offer[1:]}."
        )
    if len(sizes) == len(labels):
        raise LabelError(f"The label {target!r} has a different value in each of {len(labels):,} rows, as an id has. Choose another one.")
    if max_classes is not None and len(sizes) > max_classes:
        fewest = sizes.iloc[max_classes - 1] + 1
        leaves = f"Group the rare ones (--group-rare-classes {fewest} leaves at most {max_classes}), or choose another model"
        way_out = offer if is_numeric_dtype(labels) else leaves
        raise LabelError(f"The label {target!r} has {len(sizes):,} classes; this model takes at most {max_classes}. {way_out}.")
    longest = max(map(len, words(pd.Series(sizes.index))))
    if longest > LONGEST_TEXT:
        raise LabelError(
            f"A class of the label {target!r} has {longest:,} letters; an adapter names classes of at most {LONGEST_TEXT:,}. Write short "
            "words for the classes, or choose another column."
        )
    rare = sizes[sizes < rows_per_class]
    examples = ", ".join(f"{label} ({count})" for label, count in zip(words(pd.Series(rare.index[:5])), rare, strict=False))
    if len(sizes) - len(rare) < 2:
        raise LabelError(
            f"The label {target!r} has fewer than two classes with {ROWS_PER_CLASS} rows: one to train, validate and test on each. "
            f"Too small: {examples}. {MEND if worth_grouping(sizes) else 'Add rows'}, or choose another column."
        )
    mend = MEND if worth_grouping(sizes) else "Merge them with others in the file if they matter"
    if len(rare):
        few = f"{len(rare)} class of {target!r} has" if len(rare) == 1 else f"{len(rare)} classes of {target!r} have"
        message = (
            f"{few} fewer than {ROWS_PER_CLASS} rows: {examples}. These are too few to train, validate and test on. A split at random uses "
            f"them for training only; a split by time or by group leaves out those that it cannot score. {mend}."
        )
        yield Finding("warning", "rare-classes", message, target)
    elif rows_per_class > 1 and worth_grouping(sizes):
        few = f"{(sizes < GROUPED).sum()} classes of {target!r} have fewer than {GROUPED} rows"
        message = f"{few}: how well they are predicted depends on chance. {mend}."
        yield Finding("info", "rare-classes", message, target)
    sizes = sizes[sizes >= rows_per_class]
    if sizes.iloc[-1] < SMALL_CLASS * len(labels) and 2 * sizes.iloc[-1] < sizes.iloc[0]:
        largest, smallest = words(pd.Series([sizes.index[0], sizes.index[-1]]))
        message = (
            f"The class {smallest!r} has {sizes.iloc[-1]:,} of {len(labels):,} rows, and always answering {largest!r} is right in "
            f"{sizes.iloc[0] / len(labels):.0%}: rank by balanced accuracy or average precision, not by accuracy, and try class weights "
            "'balanced', a setting of the training (under Advanced, Optimizer, or --class-weights)."
        )
        yield Finding("warning", "imbalance", message, target)


def leaks(frame: pd.DataFrame, target: str) -> list[Finding]:
    """Reports columns that repeat the label: their values map one-to-one to its values."""
    there = frame[target].notna()
    label = frame[target] if there.all() else frame[target][there]
    measure = label.nunique() * 2 > len(label)  # too many different values for classes, so only equal values count as a copy
    codes = None if measure else pd.factorize(label)[0]

    def says_the_same(column: pd.Series) -> bool:
        if codes is None:
            return bool(column.equals(label))
        # classes are numbered in order of appearance, so most columns already differ in the first rows
        return all(np.array_equal(pd.factorize(column[:rows])[0], codes[:rows]) for rows in (FIRST_ROWS, len(codes)))

    others = (name for name in frame.columns if name != target)  # one column at a time, to avoid copying a large table
    same = [name for name in others if says_the_same(frame[name] if len(label) == len(frame) else frame[name][there])]
    message = "{!r} says the same as the label {!r} in every row. Leave it out unless it is known before the outcome is."
    return [Finding("warning", "leak", message.format(name, target), str(name)) for name in same]


def split_at_median(series: pd.Series) -> pd.Series:
    """Makes two classes of a number column, "<= m" and "> m" with m its median; missing stays missing.

    Raises LabelError for words, and where no value is above the median.
    """
    if not is_numeric_dtype(series):
        raise LabelError(f"{series.name!r} holds words, not numbers: it has no median to split at. Predict its classes as they are.")
    median = series.median()
    above, named = series > median, exact(median)
    if not above.any():
        raise LabelError(f"No value of {series.name!r} is above its median ({named}), so the split gives one class. Choose another column.")
    halves = pd.Series(np.where(above, f"> {named}", f"<= {named}"), index=series.index, name=series.name, dtype=object)
    return halves.where(series.notna(), None)


def exact(number: float) -> str:
    """Returns a number as text that reads back as the same number.

    >>> exact(5.0), exact(0.1), exact(1 / 3)
    ('5', '0.1', '0.3333333333333333')
    """
    short = f"{number:.15g}"
    return short if float(short) == number else repr(float(number))


def group_rare(series: pd.Series, fewest: int) -> pd.Series:
    """Returns the classes as text, with all classes of fewer than ``fewest`` rows merged if there are several; missing stays missing.

    A column of numbers on a scale is returned unchanged.

    >>> group_rare(pd.Series([*"aaaabbccc"]), 4).tolist()
    ['a', 'a', 'a', 'a', 'other', 'other', 'other', 'other', 'other']
    """
    named = pd.Series(words(series), index=series.index, name=series.name, dtype=object)
    sizes = named.value_counts()
    rare = sizes.index[sizes < fewest]
    return series if len(rare) < 2 or is_continuous(series) else named.where(~named.isin(rare), group_name(sizes.index.difference(rare)))


def worth_grouping(sizes: pd.Series) -> bool:
    """Whether several classes are rare, others are not, and the rare ones together are large enough to be learned."""
    few = sizes[sizes < GROUPED]
    return 1 < len(few) < len(sizes) and bool(few.sum() >= ROWS_PER_CLASS)


def group_name(classes: Collection[str]) -> str:
    """Returns a name for the merged rare classes that is not among ``classes``.

    >>> group_name(["a"]), group_name(["a", "other"])
    ('other', 'other_')
    """
    return next(name for name in (OTHER + "_" * longer for longer in itertools.count()) if name not in classes)


def grouped_in(classes: Collection[str]) -> str | None:
    """Returns the class that rare classes were merged into, if there is one."""
    name = group_name(classes)[:-1]
    return name if name.startswith(OTHER) else None


def with_label(frame: pd.DataFrame, run: RunSettings) -> pd.DataFrame:
    """Returns the frame with its label as the run predicts it: unchanged, split at its median, or with rare classes merged."""
    if run.target not in frame or not (run.split_at_median or run.group_rare_classes):
        return frame
    label = split_at_median(frame[run.target]) if run.split_at_median else frame[run.target]
    return with_column(frame, run.target, group_rare(label, run.group_rare_classes))
