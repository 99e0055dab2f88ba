"""The rows to predict: one of the table that a person edits, or a file."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.views.try_it.try_choice import Choice
from tabtune_core.data.encoding import label_texts
from tabtune_core.data.prediction_rows import LIMIT_BYTES, LIMIT_ROWS
from tabtune_core.errors import TableError

SHOWN = 5


def edit_row(choice: Choice) -> pd.DataFrame:
    """A real row of the table, to be changed cell by cell."""
    kinds, table = choice.facts["kinds"], choice.table
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
    frame = row[features]
    edited = st.data_editor(
        frame,
        hide_index=True,
        key=f"try_edit_{table.id[:12]}_{start}_{len(features)}",
        placeholder="missing",
        column_config={name: _column(table.id, name, kinds[name], frame[name]) for name in features},
    )
    edited = typed(edited, kinds)
    target = choice.facts["settings"]["target"]
    truth = label_texts(row[target])[0] if target in row else None
    if edited.equals(typed(frame, kinds)):
        known = "nothing" if truth is None else plain(truth)
        st.caption(f"As it stands in the table, where {plain(target)} is {known}. Change cells to see how the predictions change.")
    else:
        st.caption("Changed; no true answer is known for this row.")
    return edited


def _first_test_row(choice: Choice) -> int:
    runs = {run.id: run for run in queries.store().runs()}
    for adapter in choice.adapters:
        rows = queries.test_rows(runs[adapter.id]) if adapter.id in runs else []
        if rows and rows[0] < choice.table.rows:
            return rows[0]
    return 0


def _column(table: str, name: str, kind: str, cell: pd.Series) -> Any:
    if kind == "number":
        return st.column_config.NumberColumn()
    if kind == "date":
        return st.column_config.DatetimeColumn() if (cell.dropna() != cell.dropna().dt.normalize()).any() else st.column_config.DateColumn()
    words = queries.values(table, name)
    return st.column_config.TextColumn() if words is None else st.column_config.SelectboxColumn(options=words)


def typed(frame: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """The columns as reading a file leaves them, whatever the editor made of empty cells."""
    columns = {}
    for name in frame.columns:
        column, kind = frame[name], kinds[name]
        if kind == "number":
            columns[name] = pd.to_numeric(column, errors="coerce").astype("float64")
        elif kind == "date":
            columns[name] = pd.to_datetime(column, errors="coerce").astype("datetime64[us]")
        else:
            columns[name] = column.astype(object).where(column.notna(), None)
    return pd.DataFrame(columns, columns=frame.columns)


def upload_rows(choice: Choice) -> pd.DataFrame | None:
    """Rows of a file, read as the table of the adapter was; None until there are some."""
    file = st.file_uploader(
        "Rows to predict",
        type=["csv", "tsv", "txt", "parquet", "zip", "gz"],
        max_upload_size=LIMIT_BYTES // 1_000_000,
        key="try_file",
        help=f"CSV or Parquet with the columns that the adapter predicts from; the target may be missing. Up to {LIMIT_ROWS:,} rows.",
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
    st.caption(f"{len(rows.frame):,} rows were read as the table was. The first {min(SHOWN, len(rows.frame))}:")
    shown = rows.frame.head(SHOWN)
    dates = {name: _column(choice.table.id, name, "date", shown[name]) for name in shown.select_dtypes("datetime")}
    st.dataframe(shown, hide_index=True, placeholder="missing", column_config=dates)
    return rows.frame
