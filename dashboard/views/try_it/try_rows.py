"""The rows to predict: one row of the table in a form, or a file."""

import datetime as dt
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.formatting import cell_number, name_in_label, plain
from dashboard.table_columns import row_columns
from dashboard.views.try_it.try_choice import Choice
from tabtune_core.data.prediction_rows import LIMIT_BYTES, LIMIT_ROWS
from tabtune_core.data.values import with_column
from tabtune_core.errors import TableError
from tabtune_core.wording import counted

SHOWN = 5


def edit_row(choice: Choice) -> pd.DataFrame:
    """Returns a row of the table as edited, with its label while unchanged."""
    kinds, table, target = choice.facts.kinds, choice.table, choice.facts.settings.target
    features = [column.name for column in table.columns if column.name in choice.facts.features]
    proposed = _first_test_row(choice)
    key = f"try_row_{table.id[:12]}_{choice.adapters[0].id[:12]}"
    help = "The proposed row is a test row, which was not used in training."
    place = st.number_input("Start from row", value=proposed + 1, key=key, width=220, help=help)
    if not 1 <= place <= table.rows:
        raise TableError(f"The table has no row {place:,}; its rows are 1 to {table.rows:,}.")
    start = int(place) - 1
    row = queries.rows_of(table.id, np.array([start])).reset_index(drop=True)
    frame = typed(row[features], kinds)
    edited = row_form(table.id, frame, kinds, key=f"{table.id[:12]}_{choice.adapters[0].group}_{start}")
    if edited.equals(frame):
        return with_column(edited, target, row[target]) if target in row and row[target].notna().all() else edited
    for sentence in _outside(table.id, frame, edited):
        st.caption(f":material/warning: {plain(sentence)}")
    return edited


def _outside(table: str, before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Says which changed numbers the table's values do not reach: a browser may drop the comma of 16,99."""
    sentences = []
    for name, span in queries.ranges(table).items():
        if name in after and not after[name].equals(before[name]):
            value = after[name].iloc[0]
            if value < span.low or value > span.high:
                ends = f"{cell_number(span.low)} to {cell_number(span.high)}"
                sentences.append(f"{name!r} is {cell_number(float(value))}, outside the table's {ends}.")
    return sentences


def _first_test_row(choice: Choice) -> int:
    runs = {run.id for run in queries.listed(None)}
    for adapter in choice.adapters:
        rows = queries.test_rows(adapter.id) if adapter.id in runs else []
        if rows and rows[0] < choice.table.rows:
            return rows[0]
    return 0


def upload_rows(choice: Choice) -> pd.DataFrame | None:
    """Returns the rows of an uploaded file, read in the way the adapter's table was read; None without rows."""
    help = f"A file with the same columns, up to {LIMIT_ROWS:,} rows. Rows with a target are scored."
    file = st.file_uploader("Rows to predict", max_upload_size=LIMIT_BYTES // 1_000_000, key="try_file", help=help)
    if file is None:
        return None
    try:
        rows = queries.new_rows(file.getvalue(), choice.facts.read_as)
    except TableError as error:
        st.error(plain(str(error)))
        return None
    for note in rows.notes:
        st.markdown(f":orange[:material/warning:] {plain(note)}")
    target = choice.facts.settings.target
    labelled = int(rows.frame[target].notna().sum()) if target in rows.frame else 0
    scored = f", {labelled:,} with a {plain(target)} to score against" if labelled else ""
    st.caption(f"{counted(len(rows.frame), 'row')}{scored}. The first {min(SHOWN, len(rows.frame))}:")
    shown = rows.frame.head(SHOWN)
    st.dataframe(shown, hide_index=True, placeholder="missing", column_config=row_columns(shown))
    return rows.frame


MOST_FIELDS = 60
"""More would make the page slow; a person can add other columns."""
MOST_IN_SIGHT, HEIGHT = 4, 340
"""Most fields without a scrolling frame, and the height of the frame in pixels."""


def row_form(table: str, row: pd.DataFrame, kinds: Mapping[str, str], *, key: str) -> pd.DataFrame:
    """Draws a field for each cell of a row, and returns the row with their values."""
    names = [str(name) for name in row.columns]
    shown = names[:MOST_FIELDS]
    if len(names) > MOST_FIELDS:
        first = f"The first {MOST_FIELDS} of {len(names):,} are below"
        shown += st.multiselect("More columns to change", names[MOST_FIELDS:], key=f"more_{key}", placeholder=first)
    ranges = queries.ranges(table)
    values: dict[str, Any] = {name: row[name].iloc[0] for name in names}
    with st.container(height=HEIGHT if len(shown) > MOST_IN_SIGHT else "content", border=True):
        for name in shown:
            values[name] = _field(table, name, kinds[name], row[name], ranges.get(name), f"{key}_{name}")
    return typed(pd.DataFrame({name: [value] for name, value in values.items()}, dtype=object), kinds)


def _field(table: str, name: str, kind: str, cell: pd.Series, span: queries.Span | None, key: str) -> Any:
    """Draws one widget and returns its value; None if it is missing."""
    held, label = (None if pd.isna(cell.iloc[0]) else cell.iloc[0]), name_in_label(name)
    if kind == "number":
        step = 1.0 if span is None or span.whole else 10.0 ** np.floor(np.log10(span.high - span.low) - 1.5)
        hint = "" if span is None else f" ({cell_number(span.low)}…{cell_number(span.high)})"
        _start(key, None if held is None else float(held))
        more: dict[str, Any] = {"step": float(step), "format": "%.15g", "placeholder": "missing"}
        return st.number_input(f"{label}{hint}", value=None, key=key, **more)
    if kind in ("date", "datetime"):
        return _moment(label, held, key)
    words = None if kind in ("time", "encoded") else queries.values(table, name)
    if words is None:
        _start(key, "" if held is None else str(held))
        return (st.text_area if kind == "encoded" else st.text_input)(label, key=key, placeholder="missing") or None
    _start(key, None if held is None else str(held))
    return st.selectbox(label, words, index=None, key=key, placeholder="missing")


def _moment(label: str, held: pd.Timestamp | None, key: str) -> Any:
    """Draws a date field, or a text field if the row has a time of day."""
    if held is None or held == held.normalize():
        _start(key, None if held is None else held.date())
        return st.date_input(label, value=None, min_value=dt.date(1, 1, 1), max_value=dt.date(9999, 12, 31), key=key)
    _start(key, str(held))
    return st.text_input(label, key=key, placeholder="missing", help="For example 2025-04-03 12:30:00.") or None


def _start(key: str, value: Any) -> None:
    """Sets the initial value of a field in the session state, so that the field can be emptied."""
    if key not in st.session_state:
        st.session_state[key] = value


def typed(frame: pd.DataFrame, kinds: Mapping[str, str]) -> pd.DataFrame:
    """Returns the columns with the types that reading a file gives."""
    columns: dict[Hashable, pd.Series[Any]] = {}
    for name in frame.columns:
        column, kind = frame[name], kinds[name]
        if kind == "number":
            columns[name] = pd.to_numeric(column, errors="coerce").astype("float64")
        elif kind in ("date", "datetime"):
            columns[name] = pd.to_datetime(column, errors="coerce").astype("datetime64[us]")
        else:
            columns[name] = column.astype(object).where(column.notna(), None)
    return pd.DataFrame(columns, columns=frame.columns)
