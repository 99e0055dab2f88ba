"""Brings values of any pandas, NumPy or Arrow type into one form: a number, a moment in UTC, or a word.

The same for a fit, for a prediction and for a file. Shape letters: N rows.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Number
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import infer_dtype

from tabtune_core.data.findings import Kind
from tabtune_core.data.reading.cells import USUAL_MARKS
from tabtune_core.data.reading.dates import IN_DIGITS, Order, kind_of_texts, read_texts
from tabtune_core.data.reading.words import CATEGORY_SHARE, FEW_VALUES
from tabtune_core.errors import TableError

NUMBER = re.compile(r"[+-]?(?!0\d)(\d{1,15}(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""A number as text; codes with leading zeros, or with more digits than float64 holds, are words instead."""
PADDED = re.compile(r"0\d{1,14}", re.ASCII)
"""A code with leading zeros, which a program that reads it as a number drops."""
WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0+)?", re.ASCII)
TRUTH = {"true": "1", "false": "0"}
MISSING = {*USUAL_MARKS, "none", "nat"}
"""Lower-case words that mark a missing value in a column of numbers or dates."""
NUMBERS = ("empty", "integer", "floating", "mixed-integer-float", "decimal", "timedelta", "timedelta64")
KINDS: dict[str, Kind] = {
    **dict.fromkeys(NUMBERS, "number"),
    **dict.fromkeys(("date", "datetime", "datetime64", "period"), "date"),
    "boolean": "boolean",
    "time": "time",
}
"""Kind by the type that pandas infers for a column of Python objects."""
NO_MOMENT = np.datetime64("NaT", "us")


def column_kind(column: pd.Series) -> Kind:
    """Returns the kind of a column, by its type or, if it holds Python objects, by their types.

    Durations are numbers and periods are dates. Texts that are all numbers, dates or times of day count as such; other
    words are categories, or free text if there are too many. Raises TableError for complex numbers.

    >>> [column_kind(pd.Series(values)) for values in ([1.5, None], [True, None], ["a", "b"], ["1", "2.5"])]
    ['number', 'boolean', 'category', 'number']
    """
    if isinstance(column.dtype, pd.CategoricalDtype) or str(column.dtype).startswith("dictionary<"):
        return "category"
    inferred = infer_dtype(column.astype(object), skipna=True) if column.dtype.kind in "OSUc" else ""
    if column.dtype.kind == "c" or inferred == "complex":
        way_out = "Pass its real and imaginary parts as two columns."
        raise TableError(f"Complex data not supported: {column.name!r} has it. {way_out}")
    plain: dict[str, Kind] = {"b": "boolean", "M": "date", **dict.fromkeys("iufm", "number")}
    kind = plain.get(column.dtype.kind) or KINDS.get(inferred)
    if kind == "date":
        when = moments(column)
        return "datetime" if (when[~np.isnat(when)] != when[~np.isnat(when)].astype("datetime64[D]")).any() else "date"
    if kind == "number" and IN_DIGITS.fullmatch(word(column.dropna().max())):
        dated = kind_of_texts(date_texts(column))
        return kind if dated is None else dated.kind
    if kind:
        return kind
    filled = [value for value in present(column) if value is not None]
    counts = Counter(map(word, filled))
    telling = [text.strip() for text in counts if text.strip().lower() not in MISSING]
    dated = kind_of_texts(telling)
    if dated is not None:
        return dated.kind
    plain_texts = bool(telling) and all(map(NUMBER.fullmatch, telling))
    if plain_texts or all(isinstance(value, Number | np.bool_) for value in filled):
        return "number"
    return "text" if len(counts) > max(FEW_VALUES, len(filled) * CATEGORY_SHARE) else "category"


def present(column: pd.Series) -> list[Any]:
    """Returns the values as Python or NumPy objects, None where missing."""
    return [None if missing else value for value, missing in zip(column.tolist(), column.isna().tolist(), strict=True)]


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Returns numbers ``(N,)``, nan where missing or none; durations and times in seconds, booleans as 0 and 1."""
    if column.dtype.kind in "biuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    return np.array([_number(value) for value in present(column)], dtype=np.float64)


def _number(value: Any) -> float:
    """Returns a value as float, nan if it is not a number; a text is read exactly, unlike by ``pandas.to_numeric``."""
    if isinstance(value, timedelta | np.timedelta64):
        return pd.Timedelta(value) / pd.Timedelta(1, "s")
    if isinstance(value, time):
        return (datetime.combine(date.min, value.replace(tzinfo=None)) - datetime.min).total_seconds()
    if isinstance(value, str) and "_" not in value and (plain := value.strip()).isascii():
        value = TRUTH.get(plain.lower(), plain)
    elif not isinstance(value, Number | np.bool_) or isinstance(value, complex | np.complexfloating):
        return np.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return np.nan


def moments(column: pd.Series, *, order: Order = "column") -> "NDArray[np.datetime64]":
    """Returns moments ``(N,)`` in UTC, in microseconds, NaT where missing or not a date; without a zone, UTC is meant.

    ``order`` says how texts such as 03/04/2025 are read: not at all if None, by default as the column shows.
    """
    if isinstance(column.dtype, np.dtype | pd.DatetimeTZDtype) and column.dtype.kind == "M":
        return pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy("datetime64[us]")
    values = present(column)
    moment_N = np.array([_moment(value) for value in values], dtype="datetime64[us]")
    rest = np.flatnonzero(np.isnat(moment_N))
    texts = [as_text(values[i]) for i in rest]
    known = [text for text in dict.fromkeys(texts) if text]
    read = dict(zip(known, read_texts(known, "datetime", order=order)[1], strict=False))
    moment_N[rest] = np.array([read.get(text) for text in texts], dtype="datetime64[us]")
    return moment_N


def as_text(value: Any) -> str:
    """Returns a text or whole number, which may be a date, as text; "" for anything else and for a missing mark."""
    if isinstance(value, Number) and not isinstance(value, bool) and _number(value).is_integer():
        return word(value)
    text = value.strip() if isinstance(value, str) else ""
    return "" if text.lower() in MISSING else text


def date_texts(column: pd.Series) -> list[str]:
    """Returns the distinct texts and whole numbers of a column that may be dates."""
    return [] if column.dtype.kind == "M" else list(filter(None, map(as_text, present(column.drop_duplicates()))))


def seconds(column: pd.Series) -> NDArray[np.float64]:
    """Returns seconds since midnight ``(N,)`` of times of day or moments, nan where missing or neither."""
    values = present(column)
    texts = list(dict.fromkeys(value for value in values if isinstance(value, str)))
    read = dict(zip(texts, read_texts([text.strip() for text in texts], "time")[1], strict=False))
    clocks = [read.get(value) if isinstance(value, str) else value for value in values]
    second_N = numbers(pd.Series([value if isinstance(value, time) else None for value in clocks], dtype=object))
    when_N = np.array([_moment(value) for value in clocks], dtype="datetime64[us]")
    return np.where(np.isnat(when_N), second_N, (when_N - when_N.astype("datetime64[D]")) / np.timedelta64(1, "s"))


def _moment(value: Any) -> Any:
    """Returns a moment in UTC without a zone, in microseconds; NaT for anything that is not a date in ISO 8601."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, pd.Period):
            value = value.start_time
        if isinstance(value, datetime) and (ahead := value.utcoffset()) is not None:
            # in UTC it may be in the year 0 or 10000
            return np.datetime64(value.replace(tzinfo=None), "us") - np.timedelta64(ahead, "us")
    except (ValueError, OverflowError):
        return NO_MOMENT
    return np.datetime64(cast("date", value), "us") if isinstance(value, date | np.datetime64) else NO_MOMENT


def with_column(frame: pd.DataFrame, name: str, values: Any) -> pd.DataFrame:
    """Returns the frame with ``values`` as a column of any name; ``DataFrame.assign`` does not accept "self".

    >>> with_column(pd.DataFrame({"self": [1]}), "self", [2])["self"].tolist()
    [2]
    """
    changed = frame.copy(deep=False)
    changed[name] = values
    return changed


def words(column: pd.Series) -> NDArray[np.object_]:
    """Returns words ``(N,)``, None where missing.

    >>> words(pd.Series([1.0, 2.5, None])).tolist()
    ['1', '2.5', None]
    """
    return np.array([*(None if value is None else word(value) for value in present(column)), None], dtype=object)[:-1]


def word(value: Any) -> str:
    """Returns a value as text whatever its type: whole numbers without a fraction, moments in UTC, texts unchanged.

    >>> [word(value) for value in (1, 1.0, Decimal("1.00"), np.float32(0.1), True, date(2024, 1, 1))]
    ['1', '1', '1', '0.10000000149011612', 'True', '2024-01-01 00:00:00']
    """
    match value:
        case bool() | np.bool_():
            return str(bool(value))
        case int() | np.integer():
            return str(int(value))
        case float() | np.floating() | Decimal():
            return str(int(value)) if float(value).is_integer() else repr(float(value))
        case date() | np.datetime64():
            return str(pd.Timestamp(_moment(value)))
        case timedelta() | np.timedelta64():
            return str(pd.Timedelta(value))
        case _:
            return str(value)


def places(values: Iterable[Any], known: Sequence[str | None]) -> NDArray[np.int64]:
    """Returns the index of each value ``(N,)`` in the words ``known``; -1 for an unknown value and for None.

    An exact match goes first. Otherwise a whole number, true or false matches the one word that another type or program
    would have written for it; a number matches a code whose leading zeros a program dropped.

    >>> places([1, "1.0", True, "b", None, "01"], ["1", "b"]).tolist(), places([7, "7"], ["007", "01"]).tolist()
    ([0, 0, 0, 1, -1, -1], [0, -1])
    >>> places([0.0, True, "TRUE"], ["False", "True"]).tolist(), places([1, "1.1"], ["1.0", "1.10"]).tolist()
    ([0, 1, 1], [0, -1])
    """
    exact = {text: place for place, text in enumerate(known) if text is not None}

    def only(meaning_of: Callable[[str], Decimal | None]) -> dict[Decimal | None, int]:
        times = Counter(map(meaning_of, exact))
        return {meaning: place for text, place in exact.items() if times[meaning := meaning_of(text)] == 1}

    meant, codes = only(_meaning), only(lambda text: Decimal(text) if PADDED.fullmatch(text) else None)

    def place(value: Any) -> int:
        text = word(value)
        if text in exact or (isinstance(value, str) and not WHOLE.fullmatch(TRUTH.get(text.lower(), text))):
            return exact.get(text, -1)  # with decimals it may be a version: 1.1 is not 1.10
        meaning = _meaning(text)
        if meaning is None or str(value) in exact:
            return exact.get(str(value), -1)
        return meant.get(meaning, -1 if isinstance(value, str) else codes.get(meaning, -1))

    return np.array([-1 if value is None else place(value) for value in values], dtype=np.int64)


def _meaning(text: str) -> Decimal | None:
    text = TRUTH.get(text.lower(), text)
    return Decimal(text) if NUMBER.fullmatch(text) else None
