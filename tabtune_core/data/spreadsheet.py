"""CSV that is safe to open in a spreadsheet, which takes a text that begins with = for a formula.

In: a frame. Out: CSV whose numbers are as they are.
"""

import math
import re

import pandas as pd

FORMULA = re.compile(r"(?:^|[;\t\n])[\s\"\ufeff\u200b]*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a cell begins with what a spreadsheet takes for a formula, in full width too, after blanks and quotes that it may pass over.

A spreadsheet of a country with a decimal comma splits lines at ; whatever the file says, and another at a tab; a quote within such a cell
then holds no line together, so that a cell may begin after a line end too. A comma does not split a cell: a text with commas is quoted.
"""
MARK = "'"
"""Put before such a text: spreadsheets show the text then."""


def safe_csv(frame: pd.DataFrame) -> str:
    """The frame without its index. Texts and column names get MARK before what could begin a formula; a number does not."""
    texts = {place: column.map(_safe) for place, (_, column) in enumerate(frame.items()) if _has_text(column)}
    safe = pd.concat([texts.get(place, frame.iloc[:, place]) for place in range(frame.shape[1])], axis=1) if frame.shape[1] else frame
    return safe.set_axis([_safe(name) for name in frame], axis=1).to_csv(index=False)


def _has_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype))


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # CSV writers quote a new line, but not every carriage return
    return text if _is_number(text) else FORMULA.sub(rf"\g<0>{MARK}", text)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text == text.strip()
    except ValueError:
        return False
