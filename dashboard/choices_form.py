"""How a file is to be read, as a form: separator, encoding, header, missing values, dates and the kind of each column.

In: the choices that hold now and the names of the columns, where they are known. Out: the choices that a person asks for.
"""

from collections.abc import Sequence

import streamlit as st

from tabtune_core.data.findings import Kind, ReadingChoices

KINDS: dict[Kind, str] = {"number": "number", "category": "category", "text": "free text", "date": "date", "boolean": "yes / no"}
CHOSEN_KINDS: tuple[Kind, ...] = ("number", "category", "text", "date")
WORDS = {
    "header": {"true": "The first line holds the names", "false": "The first line is data like the others"},
    "day_first": {"true": "Day first", "false": "Month first"},
}
"""Answers of a yes or no, by the field that they set."""
SEPARATORS = {",": "comma ,", ";": "semicolon ;", "\t": "tab", "|": "bar |", " ": "blank"}
ENCODINGS = ("utf-8", "cp1252", "latin-1", "cp1250", "cp1251", "cp1253", "mac_roman", "gb18030", "shift_jis", "utf-16")
FOUND_OUT = ""


def reading_form(key: str, held: ReadingChoices, columns: Sequence[str] = (), *, button: str) -> ReadingChoices | None:
    """The form; the choices in it once its button is pressed. ``key`` tells it from others on the page."""
    with st.form(f"reading_{key}", enter_to_submit=False):
        with st.grid(4, min_column_width=220):
            delimiter = _one("Separator", "delimiter", held.delimiter, SEPARATORS, key, new="Choose, or type one character")
            encoding = _one("Encoding", "encoding", held.encoding, {name: name for name in ENCODINGS}, key, new="Choose, or type a name")
            header = _one("First line", "header", _word(held.header), WORDS["header"], key)
            day_first = _one("Dates such as 03/04/2025", "day_first", _word(held.day_first), WORDS["day_first"], key)
        marks = st.multiselect(
            "Marks of a missing value", held.missing_marks, held.missing_marks, accept_new_options=True, key=f"reading_missing_{key}",
            placeholder="Type a word and press Enter", help="Besides the usual ones, such as an empty cell, NA, null, ? and -.",
        )  # fmt: skip
        kinds = _kinds(held, columns, key) if columns else held.kinds
        if not st.form_submit_button(button, icon=":material/refresh:", key=f"reading_submit_{key}"):
            return None
    return ReadingChoices(
        encoding=encoding,
        delimiter="\t" if delimiter == "\\t" else delimiter,
        header=None if header is None else header == "true",
        day_first=None if day_first is None else day_first == "true",
        missing_marks=tuple(marks),
        kinds=kinds,
    )


def _one(label: str, field: str, held: str | None, known: dict[str, str], key: str, *, new: str | None = None) -> str | None:
    """One choice or None; with ``new`` also one that is not listed."""
    options = list(dict.fromkeys((FOUND_OUT, *known, held or FOUND_OUT)))
    chosen = st.selectbox(
        label, options, options.index(held or FOUND_OUT), key=f"reading_{field}_{key}", accept_new_options=new is not None,
        format_func=lambda option: known.get(option, option) if option else "Let the file decide", placeholder=new,
    )  # fmt: skip
    return chosen or None


def _word(held: bool | None) -> str | None:
    return None if held is None else str(held).lower()


def _kinds(held: ReadingChoices, columns: Sequence[str], key: str) -> tuple[tuple[str, Kind], ...]:
    """Which columns are read as what, whatever they look like; a column named twice takes the later kind."""
    st.caption("Columns to be read as one kind, whatever they look like:")
    chosen = {name: kind for name, kind in held.kinds if kind not in CHOSEN_KINDS}
    with st.grid(4, min_column_width=220):
        for kind in CHOSEN_KINDS:
            names = [name for name, asked in held.kinds if asked == kind]
            for name in st.multiselect(f"Read as {KINDS[kind]}", columns, names, key=f"reading_{kind}_{key}", placeholder="Choose columns"):
                chosen[name] = kind
    return tuple((name, chosen[name]) for name in columns if name in chosen)
