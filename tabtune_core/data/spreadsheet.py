"""Writes frames as JSON, and as CSV that is safe to open in a spreadsheet, which runs a text that begins with = as a
formula.

In: a frame. Out: text with unchanged numbers.
"""

import json
import math
import re

import pandas as pd

FORMULA = re.compile(r"(?:^|[;\t\n])[\s\"\ufeff\u200b]*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""The start of a cell that a spreadsheet runs as a formula, also in full width, after blanks and quotes that the
spreadsheet may skip.

In countries with a decimal comma, a spreadsheet splits lines at ; whatever the file says, and others split at a tab.
Quotes inside such cells then do not protect line ends, so a cell may also begin after one. A comma does not split a
cell: a text with commas is quoted.
"""
MARK = "'"
"""Written before a formula, so that spreadsheets show it as text."""


def safe_csv(frame: pd.DataFrame) -> str:
    """Returns the frame as CSV without its index.

    In texts and column names, MARK precedes whatever could start a formula.
    """
    columns = [column.map(_safe) if _has_text(column) else column for _, column in frame.items()]
    safe = pd.concat(columns, axis=1) if columns else frame
    return safe.set_axis([_safe(name) for name in frame], axis=1).to_csv(index=False)


def exact_json(frame: pd.DataFrame) -> str:
    """Returns a list of one object per row, with all digits of every number; null for missing and infinite ones."""
    plain = frame.astype(object).mask(frame.isna() | frame.isin([math.inf, -math.inf]), None)
    return json.dumps(
        plain.to_dict("records"), indent=2, ensure_ascii=False, allow_nan=False, default=lambda value: value.item()
    )


def _has_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype))


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace(
        "\r", "\n"
    )  # CSV writers quote a new line, but not every carriage return
    return text if _is_number(text) else FORMULA.sub(rf"\g<0>{MARK}", text)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text == text.strip()
    except ValueError:
        return False
