"""Makes the label of a run from its target column: merges rare classes, or splits numbers at their median."""

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from tabtune_core.data.target import ROWS_PER_CLASS, is_continuous
from tabtune_core.data.values import with_column, word, words
from tabtune_core.errors import LabelError
from tabtune_core.settings import RunSettings

GROUPED, OTHER = 10, "other"
"""Classes with fewer rows can be merged into one class; its name, which the table may already use for such a class."""


def split_at_median(series: pd.Series) -> pd.Series:
    """Makes two classes of a number column, "<= m" and "> m" with m its median; missing stays missing.

    Raises LabelError for words, and where no value is above the median.
    """
    if not is_numeric_dtype(series):
        raise LabelError(f"{series.name!r} holds words, which have no median to split at. Predict its classes.")
    median = series.median()
    above, named = series > median, word(median)
    if not above.any():
        above_it = f"No value of {series.name!r} is above its median ({named})"
        raise LabelError(f"{above_it}, so the split gives one class. Choose another column.")
    halves = pd.Series(np.where(above, f"> {named}", f"<= {named}"), index=series.index, name=series.name, dtype=object)
    return halves.where(series.notna(), None)


def group_rare(series: pd.Series, fewest: int) -> pd.Series:
    """Returns the classes as text, those of fewer than ``fewest`` rows merged if there are several; missing stays so.

    A column of numbers on a scale is returned unchanged.

    >>> group_rare(pd.Series([*"aaaabbccc"]), 4).tolist()
    ['a', 'a', 'a', 'a', 'other', 'other', 'other', 'other', 'other']
    """
    named = pd.Series(words(series), index=series.index, name=series.name, dtype=object)
    sizes = named.value_counts()
    rare = sizes.index[sizes < fewest]
    if len(rare) < 2 or is_continuous(series):
        return series
    return named.where(~named.isin(rare), OTHER)


def worth_grouping(sizes: pd.Series) -> bool:
    """Whether several classes are rare, others are not, and the rare ones together are large enough to be learned."""
    few = sizes[sizes < GROUPED]
    return 1 < len(few) < len(sizes) and bool(few.sum() >= ROWS_PER_CLASS)


def with_label(frame: pd.DataFrame, run: RunSettings) -> pd.DataFrame:
    """Returns the frame with its label as the run predicts it: unchanged, split, or with rare classes merged."""
    if run.target not in frame or not (run.split_at_median or run.group_rare_classes):
        return frame
    label = split_at_median(frame[run.target]) if run.split_at_median else frame[run.target]
    return with_column(frame, run.target, group_rare(label, run.group_rare_classes))
