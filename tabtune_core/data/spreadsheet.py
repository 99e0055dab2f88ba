"""CSV that is safe to open in a spreadsheet, which takes a text that begins with = for a formula.

In: a frame. Out: CSV whose numbers are as they are.
"""

import math
import re

import pandas as pd

STARTS = ("=", "+", "-", "@", "\t", "\n")
"""How a text begins that a spreadsheet may take for a formula."""
LATER = re.compile(r"(?<!^)[;\t]\s*(?=[=+\-@])")
"""Where a spreadsheet of a country with a decimal comma would begin another cell: it splits lines at ; whatever the file says."""
MARK = "'"
"""Put before such a text: spreadsheets show the text then."""


def safe_csv(frame: pd.DataFrame) -> str:
    """The frame without its index. Texts and column names get MARK before what could begin a formula; what is a number does not."""
    texts = {place: column.map(_safe) for place, (_, column) in enumerate(frame.items()) if _has_text(column)}
    safe = pd.concat([texts.get(place, frame.iloc[:, place]) for place in range(frame.shape[1])], axis=1) if frame.shape[1] else frame
    return safe.set_axis([_safe(name) for name in frame], axis=1).to_csv(index=False)


def _has_text(column: pd.Series) -> bool:
    return not (pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype))


def _safe(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # CSV writers quote a new line, but not every carriage return
    text = LATER.sub(rf"\g<0>{MARK}", text)
    return f"{MARK}{text}" if text.startswith(STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and text[0] not in "\t\n"
    except ValueError:
        return False
