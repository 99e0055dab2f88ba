"""Writes frames as JSON, and as CSV that is safe to open in a spreadsheet, which runs a text that begins with =."""

import json
import math
import re

import pandas as pd

FORMULA = re.compile(r"(?:^|[;\t\n])[\s\"\ufeff\u200b]*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""The start of a formula, also in full width, after blanks and quotes; some spreadsheets also split at ; or a tab."""
MARK = "'"
"""Written before a formula, so that spreadsheets show it as text."""


def safe_csv(frame: pd.DataFrame) -> str:
    """Returns the frame as CSV without its index; in texts and names, MARK precedes whatever could start a formula."""
    columns = [column.map(_safe) if column.dtype.kind not in "biufM" else column for _, column in frame.items()]
    safe = pd.concat(columns, axis=1) if columns else frame
    return safe.set_axis([_safe(name) for name in frame], axis=1).to_csv(index=False)


def exact_json(frame: pd.DataFrame) -> str:
    """Returns a list of one object per row, with all digits of every number; null for missing and infinite ones."""
    plain = frame.astype(object).mask(frame.isna() | frame.isin([math.inf, -math.inf]), None)
    rows = plain.to_dict("records")
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False, default=lambda value: value.item())


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # CSV writers do not quote every carriage return
    try:
        plain = math.isfinite(float(text)) and text == text.strip()
    except ValueError:
        plain = False
    return text if plain else FORMULA.sub(rf"\g<0>{MARK}", text)
