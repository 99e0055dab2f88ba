"""Columns of tables on the pages: the format and the width of numbers, and distinct names."""

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from tabtune_core.wording import MOST_PLACES

THOUSAND, LARGE = 1e3, 1e5
MOST_WITH_COMMAS = 3
"""Decimals that Streamlit writes at most beside commas."""
LARGEST_PLAIN = 1e21
"""Smaller numbers have no exponent in JavaScript."""
CHARACTER, MARGINS, MOST_CHARACTERS = 7, 18, 30
"""Pixels of a digit, and of what is beside the text of a cell; characters of the widest column."""


def digits_behind(values: pd.Series, digits: int | None, sign: str = "%", least: int = 0) -> dict[str, Any]:
    """Returns the format of a table column: ``digits`` decimals, and commas if a value is that large.

    Streamlit writes either a ``sign``, such as ``%+``, or commas, and with commas three decimals, not rounded. Without
    ``digits``, for values in several units, six digits are shown. ``least`` is a width in pixels.
    """
    if digits is None:
        return as_they_come(values, sign, least)
    own = f"{sign}.{digits}f" if digits <= MOST_PLACES else f"{sign}.4e"
    commas = digits <= MOST_WITH_COMMAS and (values.abs() >= THOUSAND).any()
    return fitted(values, "localized" if commas else own, least)


def rounded(values: pd.Series, digits: int) -> pd.Series:
    """Rounds a column for which ``digits_behind`` writes commas."""
    return values.round(digits) if (values.abs() >= THOUSAND).any() else values


def as_they_come(values: pd.Series, sign: str = "%", least: int = 0) -> dict[str, Any]:
    """Returns the format of a column with a file's own numbers: six digits, or all if a number is large."""
    large = "localized" if _keeps_digits(values) else f"{sign}.10g"
    return fitted(values, large if (values.abs() >= LARGE).any() else f"{sign}.6g", least)


def _keeps_digits(values: pd.Series) -> bool:
    """Whether three decimals show at least six digits of every number, or all that it has."""
    known = values.dropna().to_numpy(dtype=np.float64)
    few = np.allclose(known.round(MOST_WITH_COMMAS), known, rtol=1e-6, atol=0)
    return bool((abs(known) < LARGEST_PLAIN).all() and few)


def fitted(values: pd.Series, form: str, least: int = 0) -> dict[str, Any]:
    """Returns a format and a width for the longest number, whose first digits would be hidden, and the title."""
    numbers = values.dropna().to_numpy(dtype=np.float64)
    longest = max((_length(value, form) for value in numbers), default=0)
    widest = max(longest, 0 if least else len(str(values.name)))
    return {"format": form, "width": max(least, CHARACTER * min(widest, MOST_CHARACTERS) + MARGINS)}


def _length(value: float, form: str) -> int:
    """Returns the number of characters that Streamlit writes, or more."""
    if form == "localized":
        return len(f"{value:,.{MOST_WITH_COMMAS}f}".rstrip("0").rstrip("."))
    text = form % value
    return len(text) if "e" not in text else max(len(text), len(f"{value:+.0f}"))  # no exponent below LARGEST_PLAIN


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
    """Returns distinct names for columns of a file that are shown beside the columns ``taken`` of the page.

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
