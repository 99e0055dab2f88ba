"""The form for reading a file: separator, encoding, header, missing values, dates and rows.

In: the present choices. Out: the choices that a person makes. Kinds of columns are chosen in ``columns_table``.
"""

from dataclasses import replace
from typing import Any

import streamlit as st

from tabtune_core.data.findings import ReadingChoices

WORDS = {
    "header": {"true": "The first line has the column names", "false": "The first line is data"},
    "day_first": {"true": "Day first", "false": "Month first", "year": "Year first"},
}
"""Field -> texts of its answers."""
SEVERAL = {"missing_marks": "{} means missing", "decimal_commas": "The points separate thousands in {}"}
"""Field -> text of each of its answers, of which several may be chosen."""
SEPARATORS = {",": "comma ,", ";": "semicolon ;", "\t": "tab", "|": "bar |", " ": "blank"}
ENCODINGS = ("utf-8", "cp1252", "latin-1", "cp1250", "cp1251", "cp1253", "mac_roman", "gb18030", "shift_jis", "utf-16")
FOUND_OUT = ""


def reading_form(key: str, held: ReadingChoices, *, button: str) -> ReadingChoices | None:
    """Draws the form and returns its choices once the button is pressed.

    ``key`` distinguishes it from other forms on the page.
    """
    with st.form(f"reading_{key}", enter_to_submit=False):
        asked = _drawn(held, key)
        if not st.form_submit_button(button, icon=":material/refresh:", key=f"reading_submit_{key}"):
            return None
    if asked.skip_last < 0:
        st.error(f"Rows to leave out at the end: {asked.skip_last}; write 0 or more.")
        return None
    other = any(getattr(asked, name) != getattr(held, name) for name in ("encoding", "delimiter", "header", "sheet"))
    none: dict[str, Any] = dict.fromkeys(("kinds", "units", "date_orders", "decimal_commas", "dashes"), ())
    return replace(asked, **none) if other else asked  # those columns may no longer exist


def _drawn(held: ReadingChoices, key: str) -> ReadingChoices:
    """Draws the fields and returns what they hold."""
    encodings = {name: name for name in ENCODINGS}
    with st.grid(4, min_column_width=220):
        character = "Choose, or type one character"
        delimiter = _one("Separator", "delimiter", held.delimiter, SEPARATORS, key, new=character)
        encoding = _one("Encoding", "encoding", held.encoding, encodings, key, new="Choose, or type a name")
        header = _one("First line", "header", _word(held.header), WORDS["header"], key)
        day_first = _one("Dates such as 03/04/2025", "day_first", _word(held.day_first), WORDS["day_first"], key)
    marks = st.multiselect(
        "Marks of a missing value",
        held.missing_marks,
        held.missing_marks,
        accept_new_options=True,
        key=f"reading_missing_{key}",
        placeholder="Type a word and press Enter",
        help="In addition to the usual marks, such as an empty cell, NA, null, ? and -.",
    )
    commas, with_marks = list[str](), [name for name, _ in held.decimal_commas]
    if with_marks:
        with_commas = [name for name, decimal in held.decimal_commas if decimal]
        own, help = f"reading_commas_{key}", "In these columns 1.234 is 1234. If you remove one, 1,234 is 1234."
        commas = st.multiselect("Columns with decimal commas", with_marks, with_commas, key=own, help=help)
    own, first = f"reading_sheet_{key}", "The first sheet with cells"
    sheet = st.text_input("Sheet of a workbook", held.sheet or "", key=own, placeholder=first)
    own, many = f"reading_rows_{key}", "For tables that are too long: about this many rows are drawn at random."
    rows = st.number_input("Rows to read", value=held.rows, step=1, key=own, placeholder="All rows", help=many)
    own, help = f"reading_skip_last_{key}", "For example a total or notes below the table."
    skip_last = st.number_input("Rows to leave out at the end", value=held.skip_last, key=own, help=help)
    own = f"reading_drop_copies_{key}"
    drop_copies = st.checkbox("Leave out rows that repeat an earlier one", held.drop_copies, key=own)
    return replace(
        held,
        encoding=encoding,
        delimiter="\t" if delimiter == "\\t" else delimiter,
        header=given(header),
        day_first=given(day_first),
        missing_marks=tuple(marks),
        decimal_commas=tuple((name, name in commas) for name in with_marks),
        rows=None if rows is None else int(rows),
        sheet=sheet or None,
        drop_copies=drop_copies,
        skip_last=int(skip_last),
    )


def _one(
    label: str, field: str, held: str | None, known: dict[str, str], key: str, *, new: str | None = None
) -> str | None:
    """Draws one field and returns its choice or None; with ``new``, other values than those listed can be typed."""
    options = list(dict.fromkeys((FOUND_OUT, *known, held or FOUND_OUT)))
    chosen = st.selectbox(
        label,
        options,
        options.index(held or FOUND_OUT),
        key=f"reading_{field}_{key}",
        accept_new_options=new is not None,
        format_func=lambda option: known.get(option, option) if option else "Detect from the file",
        placeholder=new,
    )
    return chosen or None


def given(word: str | None) -> Any:
    """Returns the choice that a word of ``WORDS`` stands for."""
    return {"true": True, "false": False}.get(word or "", word)


def _word(held: bool | str | None) -> str | None:
    return None if held is None else str(held).lower()
