"""Findings about a table and its target, each with what to do, and buttons that do it."""

import dataclasses
from collections.abc import Iterable, Sequence

import streamlit as st

from dashboard import queries
from dashboard.components.target_picker import balance, rare_grouped, without_mended
from dashboard.formatting import plain, without_flags
from dashboard.views.data.columns_table import still_open
from dashboard.views.data.reading import read_again
from tabtune_core.data.datasets import Dataset
from tabtune_core.data.encoding import LEFT_OUT
from tabtune_core.data.findings import Finding, Kind, together
from tabtune_core.data.target import Way
from tabtune_core.data.text_features import DIRECTIONS
from tabtune_core.errors import LabelError
from tabtune_core.metrics import Task
from tabtune_core.wording import few

LOOKS = {
    "error": ":red[:material/error: **Stops training**]",
    "warning": ":orange[:material/warning: **Check**]",
    "info": ":blue[:material/info: **Good to know**]",
}
"""Severity of a finding in words and colour; the most severe first."""
MOST_FINDINGS, MOST_FAR = 8, 8
USELESS = ("id-like", "constant", "all-missing", "duplicate-columns")
FEW_ROWS = 500
SHARE = 0.2
"""Default share of validation rows."""


def useless(dataset: Dataset, target: str) -> list[str]:
    """Returns the columns that cannot help a model: ids, copies, and columns with the same value in every row."""
    kinds = {column.name: column.kind for column in dataset.columns}
    named = dict.fromkeys(finding.column for finding in dataset.findings if finding.code in USELESS)
    return [name for name in named if name not in (None, target) and kinds[name] not in LEFT_OUT]


def size_note(rows: int, task: Task) -> list[Finding]:
    """Says what few rows mean for the differences between runs."""
    if rows >= FEW_ROWS:
        return []
    noise = f" (of accuracy: below about {max(1, round(SHARE * rows)) ** -0.5:.0%})" if task == "classification" else ""
    message = f"{rows:,} rows: small differences between runs are noise{noise}. Use several seeds on New run."
    return [Finding("info", "few-rows", message)]


def findings(every: Iterable[Finding]) -> None:
    """Shows findings, the most severe first, about the whole table before single columns; many end in an expander."""
    ordered = sorted(every, key=lambda item: (list(LOOKS).index(item.severity), item.column is not None))
    for finding in ordered[:MOST_FINDINGS]:
        st.markdown(f"{LOOKS[finding.severity]} {plain(without_flags(finding.message))}")
    if len(ordered) > MOST_FINDINGS:
        with st.expander(f"{len(ordered) - MOST_FINDINGS} more"):
            for finding in ordered[MOST_FINDINGS:]:
                st.markdown(f"{LOOKS[finding.severity]} {plain(without_flags(finding.message))}")


def leave_out(dataset: Dataset, names: Sequence[str], *, key: str) -> None:
    """Shows a button that leaves columns out, if there are any."""
    means, icon = "The models will not use them.", ":material/visibility_off:"
    if pressed(dataset, "Leave out", names, means, icon=icon, key=f"leave_out_{key}"):
        _read_as(dataset, names, "ignored")


def drop_copies(dataset: Dataset) -> None:
    """Shows a button that leaves out repeated rows, if there are any."""
    if any(finding.code == "duplicate-rows" for finding in dataset.findings):
        help = "If rows are equal in every column, only the first is read. You can undo this under Reading choices."
        key, icon = f"drop_copies_{dataset.id[:12]}", ":material/content_copy:"
        if st.button("Leave out the copies", icon=icon, key=key, help=help):
            read_again(dataset, dataclasses.replace(still_open(dataset), drop_copies=True))


def encode_texts(dataset: Dataset, target: str) -> None:
    """Shows a button that encodes all free text columns except those that look like ids."""
    texts = {finding.column for finding in dataset.findings if finding.code == "free-text"}
    names = [column.name for column in dataset.columns if column.kind == "text" and column.name in texts - {target}]
    means = f"The models will get each text as {DIRECTIONS} numbers for the groups of letters in it."
    if pressed(dataset, "Encode", names, means, icon=":material/notes:", key="encode"):
        _read_as(dataset, names, "encoded")


def pressed(dataset: Dataset, verb: str, names: Sequence[str], means: str, *, icon: str, key: str) -> bool:
    """Draws a button about ``names``, if there are any; returns True if it was pressed."""
    if not names:
        return False
    means = f"{means} You can undo this under Columns or Reading choices."
    return st.button(f"{verb} {plain(few(names, 4))}", icon=icon, key=f"{key}_{dataset.id[:12]}", help=means)


def _read_as(dataset: Dataset, names: Sequence[str], kind: Kind) -> None:
    held = still_open(dataset)
    kinds: dict[str, Kind] = {**dict(held.kinds), **dict.fromkeys(names, kind)}
    read_again(dataset, dataclasses.replace(held, kinds=tuple(kinds.items())))


def label_findings(dataset: Dataset, column: str, way: Way) -> None:
    """Shows findings about the target: missing values, rare classes, columns that give it away, limits, few rows."""
    try:
        of_label = without_mended(queries.label_findings(dataset.id, column, way, rare_grouped()))
    except LabelError:  # the column cannot be predicted: the error is shown beside the Next button
        return
    unseen = {one.name for one in dataset.columns if one.kind in LEFT_OUT}
    seen = [finding for finding in of_label if finding.code != "leak" or finding.column not in unseen]
    suspects = queries.suspects(dataset.id, column, way)
    findings(together([*seen, *suspects, *size_note(dataset.rows, queries.TASKS[way])]))
    balance(of_label)
    leave_out(dataset, [str(finding.column) for finding in seen if finding.code == "leak"], key="leaks")
    if any(finding.code == "far-values" for finding in of_label):
        _far_as_missing(dataset, column)


def _far_as_missing(dataset: Dataset, column: str) -> None:
    """Shows a button that reads the target's far values as missing, if they are few."""
    marks = queries.far_values(dataset.id, column)
    means = "Rows without a target are left out."
    few_marks = marks if len(marks) <= MOST_FAR else []
    if pressed(dataset, "Read as missing:", few_marks, means, icon=":material/backspace:", key="far"):
        held = still_open(dataset)
        read_again(dataset, dataclasses.replace(held, missing_marks=(*held.missing_marks, *marks)))
