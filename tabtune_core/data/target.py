"""Proposes the column to predict, and how.

Between a Table and its split. In: a table. Out: a proposal.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from tabtune_core.data.table import Table
from tabtune_core.data.target_ranking import near_best, rank_targets
from tabtune_core.metrics import Task

FEW_CLASSES = 10
ROWS_PER_CLASS = 3
MANY_CLASSES = 20
CLASS_SHARE = 0.05
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
        return Proposal(
            named,
            "regression" if way == "numbers" else "classification",
            f"The table's source names {named!r} as the target.",
        )
    useless = {
        str(finding.column)
        for finding in table.findings
        if finding.code in ("id-like", "constant", "one-value", "all-missing")
    }
    ranked = rank_targets(table.columns, table.frame, title, useless)
    if not ranked:
        reason = "Every column is an id, a date, free text, constant, empty or left out: none can be predicted."
        return Proposal(None, "classification", reason)
    near = near_best(ranked, table.columns[-1])
    best = near[0].column
    task: Task = "regression" if ways_of(table.frame[best.name])[0] == "numbers" else "classification"
    if len(near) > 1:
        reasons = [f"{candidate.column.name!r}, which {candidate.reason}" for candidate in near]
        return Proposal(
            None,
            task,
            f"{'; '.join(reasons[:-1])}; or {reasons[-1]}.",
            tuple(candidate.column.name for candidate in near),
        )
    values = "numbers on a scale ({:,} different ones)" if task == "regression" else "{:,} different values: classes"
    return Proposal(best.name, task, f"{best.name!r} {near[0].reason}, and holds {values.format(best.unique)}.")


def is_continuous(series: pd.Series) -> bool:
    """Whether a target is a measure and not classes: more than ten different numbers, with decimals or whole ones that
    seldom recur and of which some are too rare for a class.
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
    """Whether whole numbers are more likely counts than classes: more than twenty different ones, some too rare for a
    class.
    """
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
    return (
        ("numbers", "classes", *halves)
        if looks_counted(series) or _seldom(series.dropna())
        else ("classes", "numbers", *halves)
    )
