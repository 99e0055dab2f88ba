"""Findings that depend on the columns, the target and the limits of the models, in addition to those of reading the
file.

In: a dataset, and the target. Out: findings, each with what to do.
"""

from collections.abc import Sequence

from tabtune_core.data.datasets import Dataset
from tabtune_core.data.encoding import LEFT_OUT, count_features
from tabtune_core.data.findings import Column, Finding
from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family
from tabtune_core.wording import few

USELESS = ("id-like", "constant", "all-missing", "duplicate-columns")
NAMED = 6
FEW_ROWS = 500
SHARE = 0.2
"""Default share of validation rows."""


def useless(dataset: Dataset, target: str) -> list[str]:
    """Returns the columns that cannot help a model: ids, copies, and columns with the same value in every row."""
    kinds = {column.name: column.kind for column in dataset.columns}
    named = [
        finding.column
        for finding in dataset.findings
        if finding.code in USELESS and finding.column not in (None, target)
    ]
    return [name for name in dict.fromkeys(named) if name is not None and kinds[name] not in LEFT_OUT]


def missing_note(columns: Sequence[Column], target: str | None = None) -> list[Finding]:
    """Says which columns have missing values; other findings are about those of the target and about a column without a
    value.
    """
    used = (
        column
        for column in columns
        if column.missing and column.unique and column.kind != "ignored" and column.name != target
    )
    gaps = sorted(used, key=lambda column: -column.missing)
    if not gaps:
        return []
    shown = few([f"{column.name} ({column.missing:,})" for column in gaps], NAMED)
    many = f"{len(gaps)} columns have" if len(gaps) > 1 else "1 column has"
    message = f"{many} missing values: {shown}. Nothing to do: the models handle missing values."
    return [Finding("info", "missing", message)]


def size_note(rows: int, task: Task) -> list[Finding]:
    """Says what few rows mean for the differences between runs."""
    if rows >= FEW_ROWS:
        return []
    validation = max(1, round(SHARE * rows))
    noise = f" (of accuracy: below about {validation**-0.5:.0%})" if task == "classification" else ""
    message = (
        f"{rows:,} rows leave about {validation:,} validation rows: small differences between runs are noise{noise}. "
        "Use several seeds on New run."
    )
    return [Finding("info", "few-rows", message)]


def limit_notes(family: Family, columns: Sequence[Column], target: str, task: Task, classes: int) -> list[Finding]:
    """Says which limits of a model family the table exceeds. ``classes`` is the number of target classes."""
    features = count_features({column.name: column.kind for column in columns if column.unique}, target)
    over = []
    if family.feature_limit is not None and features > family.feature_limit:
        over.append(f"{family.feature_limit:,} columns (here {features:,}: leave some out below)")
    if task == "classification" and family.class_limit is not None and classes > family.class_limit:
        over.append(f"{family.class_limit} classes (here {classes:,}: group rare ones under More settings on New run)")
    message = f"{family.name} takes at most {' and '.join(over)}, or choose another family of models."
    return [Finding("warning", "over-limit", message)] if over else []
