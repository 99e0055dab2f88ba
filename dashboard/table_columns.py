"""Columns of tables on the pages: the format and the width of numbers, and distinct names."""

import math
from collections.abc import Hashable, Iterable
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import pandas as pd
import streamlit as st

from tabtune_core.wording import MOST_PLACES

THOUSAND, LARGE = 1e3, 1e5
MOST_WITH_COMMAS = 3
"""Decimals that Streamlit writes at most beside commas."""
PLAIN_ABOVE, PLAIN_BELOW = 1e-6, 1e21
"""Numbers between them have no exponent in JavaScript."""
CHARACTER, MARGINS = 7, 18
"""Pixels of a digit, and of what is beside the text of a cell."""
MEASURED = 10
"""The rows by which Streamlit chooses a width: the first ten and the last."""


def digits_behind(values: pd.Series, digits: int | None, sign: str = "", least: int = 0) -> dict[str, Any]:
    """Returns the format of a table column: ``digits`` decimals, and commas if a value is that large.

    Streamlit writes either a ``sign``, such as ``%+``, or commas, and with commas three decimals, not rounded. With
    None, each value keeps its digits. ``least`` is a width in pixels, as for ``fitted``.
    """
    with_commas = _keeps_digits(values) if digits is None else digits <= MOST_WITH_COMMAS
    own = f"{sign or '%'}" + (".15g" if digits is None else f".{digits}f" if digits <= MOST_PLACES else ".4e")
    return fitted(values, "localized" if (values.abs() >= THOUSAND).any() and with_commas else own, least)


def rounded(values: pd.Series, digits: int) -> pd.Series:
    """Rounds a column for which ``digits_behind`` writes commas."""
    return values.round(digits) if (values.abs() >= THOUSAND).any() else values


def as_they_come(values: pd.Series) -> dict[str, Any]:
    """Returns the format of a column with a file's own numbers: six digits, or all if a number is large."""
    large = "localized" if _keeps_digits(values) else "%.10g"
    return fitted(values, large if (values.abs() >= LARGE).any() else "%.6g")


def _keeps_digits(values: pd.Series) -> bool:
    """Whether three decimals show at least six digits of every number, or all that it has."""
    known = values.dropna().to_numpy(dtype=np.float64)
    return bool(
        (abs(known) < PLAIN_BELOW).all() and np.allclose(known.round(MOST_WITH_COMMAS), known, rtol=1e-6, atol=0)
    )


def fitted(values: pd.Series, form: str, least: int = 0) -> dict[str, Any]:
    """Returns a format and the width in pixels for its longest number, whose first digits would be hidden."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan).tolist()
    lengths = [0 if math.isnan(value) else _length(value, form) for value in numbers]
    longest = max(lengths, default=0)
    title = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in str(values.name))
    measured = [*lengths[:MEASURED], *lengths[-1:]]
    found = max((length for length in measured if length * len(measured) < 2 * sum(measured)), default=0)
    if not least and longest <= max(found, title):
        return {"format": form}
    return {"format": form, "width": max(least or CHARACTER * title + MARGINS, CHARACTER * longest + MARGINS)}


def _length(value: float, form: str) -> int:
    """Returns the number of characters that Streamlit writes."""
    if form == "localized":
        return len(f"{value:,.{MOST_WITH_COMMAS}f}".rstrip("0").rstrip("."))
    text = form % value
    if "e" not in text or not PLAIN_ABOVE <= abs(value) < PLAIN_BELOW:
        return len(text)
    return len(form.partition("%")[0]) + len(
        np.format_float_positional(float(text.lstrip("± ")), trim="-", sign="+" in form)
    )


def row_columns(rows: pd.DataFrame) -> dict[str, Any]:
    """Returns the formats of a table of rows: numbers as they come, and dates without a time."""
    days = [
        name for name in rows.select_dtypes("datetime") if (known := rows[name].dropna()).eq(known.dt.normalize()).all()
    ]
    numbers = {
        str(name): st.column_config.NumberColumn(**as_they_come(rows[name])) for name in rows.select_dtypes("number")
    }
    return numbers | dict.fromkeys(map(str, days), st.column_config.DateColumn(format="YYYY-MM-DD"))


def beside(names: Iterable[Hashable], taken: Iterable[Hashable]) -> list[str]:
    """Returns the names of a file's columns that are shown beside columns of the page; those that are taken get other
    names.

    >>> beside(["Row", "age", "Row (column)"], ["Row", "Label"])
    ['Row (column) (column)', 'age', 'Row (column)']
    """
    own, others = list(map(str, names)), set(map(str, taken))
    used = {*own, *others}

    def free(name: str) -> str:
        while name in used:
            name += " (column)"
        used.add(name)
        return name

    return [free(name) if name in others else name for name in own]
