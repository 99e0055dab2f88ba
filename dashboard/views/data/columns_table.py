"""The Columns table of the Data page: the kind of each column, which a person can change."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.views.data.choices_form import SEVERAL
from tabtune_core.data.datasets import Dataset
from tabtune_core.data.findings import Kind, ReadingChoices
from tabtune_core.data.text_features import DIRECTIONS

KINDS: dict[Kind, str] = {
    "number": "number",
    "category": "category",
    "text": "free text",
    "encoded": "encoded text",
    "date": "date",
    "datetime": "date and time",
    "time": "time of day",
    "boolean": "yes / no",
    "ignored": "left out",
}
FOUND_OUT = "detect from the file"
MOST_HIGH = 20
"""Most rows of a table that is shown at full height."""


def rows(dataset: Dataset) -> pd.DataFrame:
    """Returns one row per column of the dataset."""
    titles = ["Column", "Kind", "Examples", "Missing", "Missing (rows)", "Different values"]
    lines = [
        (
            one.name,
            KINDS[one.kind],
            ", ".join(one.examples),
            one.missing / max(dataset.rows, 1),
            one.missing,
            one.unique,
        )
        for one in dataset.columns
    ]
    return pd.DataFrame(lines, columns=titles)


def still_open(dataset: Dataset) -> ReadingChoices:
    """Returns the reading choices that a person made; open questions are asked again."""
    asked: dict[str, Any] = {question.field: None for question in dataset.questions if question.field not in SEVERAL}
    return dataclasses.replace(dataset.reading, **asked)


def asked_for(dataset: Dataset, edited: Mapping[str, str]) -> ReadingChoices:
    """Returns the choices that give the columns the kinds of ``edited``: column name -> word for a kind."""
    held = still_open(dataset)
    kinds = dict(held.kinds)
    by_word = {word: kind for kind, word in KINDS.items()}
    for column in dataset.columns:
        word = edited[column.name]
        if word == FOUND_OUT:
            kinds.pop(column.name, None)
        elif by_word[word] != column.kind:
            # two words that mean yes and no are detected from the file; any others are categories
            kinds[column.name] = "category" if by_word[word] == "boolean" else by_word[word]
    known = ((one.name, kinds[one.name]) for one in dataset.columns if one.name in kinds)
    return dataclasses.replace(held, kinds=tuple(known))


def _key(dataset: Dataset) -> str:
    return f"columns_{dataset.id[:12]}"


def has_unread_kinds(dataset: Dataset) -> bool:
    """Returns True if a person has changed kinds but not read the file again: another page would lose them."""
    edits = st.session_state.get(_key(dataset), {}).get("edited_rows", {})
    kinds = [KINDS[column.kind] for column in dataset.columns]
    return any(edit.get("Kind", kinds[row]) != kinds[row] for row, edit in edits.items())


def columns_table(dataset: Dataset) -> ReadingChoices | None:
    """Draws the table and returns the choices once the button is pressed."""
    st.caption("Double-click a **Kind** to change it or leave the column out.")
    shown = rows(dataset)
    edited = st.data_editor(
        shown,
        hide_index=True,
        key=_key(dataset),
        height="content" if len(shown) < MOST_HIGH else 420,
        disabled=[str(name) for name in shown if name != "Kind"],
        column_config={
            "Column": st.column_config.TextColumn(pinned=True, width="medium"),
            "Kind": st.column_config.SelectboxColumn(
                options=[*KINDS.values(), FOUND_OUT],
                required=True,
                width="small",
                help="Models see numbers, categories, yes / no and parts of dates, not free text or what is left out. "
                f"encoded text: {DIRECTIONS} numbers for the groups of letters in it.",
            ),
            "Missing": st.column_config.ProgressColumn(
                "Missing (share)", format="percent", min_value=0, max_value=1, width="small"
            ),
            **dict.fromkeys(("Missing (rows)", "Different values"), st.column_config.NumberColumn(format="localized")),
        },
    )
    if (shown["Kind"] == edited["Kind"]).all():
        return None
    pressed = st.button("Read the file again with these kinds", type="primary", icon=":material/refresh:")
    return asked_for(dataset, dict(zip(edited["Column"], edited["Kind"], strict=True))) if pressed else None
