"""The rows to predict: one of the table that a person edits, or a file."""

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.views.try_it.row_form import row_columns, row_form, typed
from dashboard.views.try_it.try_choice import Choice
from tabtune_core.data.prediction_rows import LIMIT_BYTES, LIMIT_ROWS
from tabtune_core.data.values import words
from tabtune_core.errors import TableError
from tabtune_core.wording import counted

SHOWN = 5


def edit_row(choice: Choice) -> tuple[pd.DataFrame, bool]:
    """A real row of the table, to be changed field by field, and whether to predict it. It has its label as long as it is that row."""
    kinds, table, target = choice.facts["kinds"], choice.table, choice.facts["settings"]["target"]
    features = [column.name for column in table.columns if column.name in choice.facts["features"]]
    proposed = _first_test_row(choice)
    place = st.number_input(
        "Start from row",
        1,
        table.rows,
        proposed + 1,
        key=f"try_row_{table.id[:12]}_{choice.adapters[0].id[:12]}",
        width=220,
        help="A row of the table, counted from 1. The proposed row is a test row, which was not used in training.",
    )
    start = int(place) - 1
    row = queries.rows_of(table.id, np.array([start])).reset_index(drop=True)
    frame = typed(row[features], kinds)
    edited, pressed = row_form(table.id, frame, kinds, key=f"{table.id[:12]}_{start}_{len(features)}")
    truth = words(row[target])[0] if target in row else None
    if edited.equals(frame):
        known = "nothing" if truth is None else plain(truth)
        st.caption(f"As it stands in the table, where {plain(target)} is {known}. Change fields to see how the predictions change.")
        return (edited if truth is None else edited.assign(**{target: row[target]})), pressed
    st.caption("Changed; no true answer is known for this row.")
    return edited, pressed


def _first_test_row(choice: Choice) -> int:
    runs = {run.id: run for run in queries.store().runs()}
    for adapter in choice.adapters:
        rows = queries.test_rows(runs[adapter.id]) if adapter.id in runs else []
        if rows and rows[0] < choice.table.rows:
            return rows[0]
    return 0


def upload_rows(choice: Choice) -> pd.DataFrame | None:
    """Rows of a file, read as the table of the adapter was; None until there are some."""
    file = st.file_uploader(
        "Rows to predict",
        type=["csv", "tsv", "txt", "parquet", "zip", "gz"],
        max_upload_size=LIMIT_BYTES // 1_000_000,
        key="try_file",
        help="CSV or Parquet with the columns that the adapter predicts from; the target may be missing; rows that have it are scored."
        f" Up to {LIMIT_ROWS:,} rows.",
    )
    if file is None:
        return None
    try:
        rows = queries.new_rows(file.getvalue(), choice.facts)
    except TableError as error:
        st.error(plain(str(error)))
        return None
    for note in rows.notes:
        st.markdown(f":orange[:material/warning:] {plain(note)}")
    target, labelled = choice.facts["settings"]["target"], 0
    if target in rows.frame:
        labelled = int(rows.frame[target].notna().sum())
    scored = f" {labelled:,} of them have a {plain(target)} and will be scored." if labelled else ""
    st.caption(f"{counted(len(rows.frame), 'row')} read as the table was.{scored} The first {min(SHOWN, len(rows.frame))}:")
    shown = rows.frame.head(SHOWN)
    st.dataframe(shown, hide_index=True, placeholder="missing", column_config=row_columns(shown))
    return rows.frame
