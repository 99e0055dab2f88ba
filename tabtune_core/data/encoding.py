"""Encodes typed columns as numbers and labels as class ids, learnt from the context rows alone.

Missing numbers stay nan, which each model handles itself. Shape letters: N rows, F features.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.findings import DateOrder, listed, shorten
from tabtune_core.data.reading.dates import is_number, kind_of_texts
from tabtune_core.data.text_features import DIRECTIONS, PARTS, TextEncoder
from tabtune_core.data.values import MISSING, date_texts, moments, numbers, places, present, seconds, word, words
from tabtune_core.errors import LabelError, TableError
from tabtune_core.wording import counted

Target = NDArray[np.int64] | NDArray[np.float64]
"""Class ids from 0, or numbers in the target's unit."""

LARGEST = 1e100
"""Numbers this large count as missing: their squares, which scaling needs, would overflow."""
NUMBERS = "numbers below 1e100"
CATEGORICAL = ("category", "boolean")
LEFT_OUT = ("text", "ignored")
DATED = {"date": 3, "datetime": 6, "time": 3}
"""Kinds of dates and times, and the number of features of each."""
PLAIN = ("numbers", "dates", "left_out", "datetimes", "times")
"""Fields of a ``FeatureEncoder`` that hold column names, in their order."""


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """Encodes columns: categories first, as ``tabicl`` orders them, then numbers, dates, texts; -1 for unknown ones."""

    categories: dict[str, tuple[str | None, ...]]
    """The words of each column, in the order of their ids; the last is None if the column had missing values."""
    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    left_out: tuple[str, ...]
    """Columns of free text, which these models cannot read, and columns that the person left out."""
    datetimes: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    orders: dict[str, DateOrder] = field(default_factory=dict)
    """Whether the texts of a date column begin with the day, the month or two digits of the year, where known."""
    texts: dict[str, TextEncoder] = field(default_factory=dict)
    """Encoder of each free-text column that the person chose to encode."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that become features, in the order of these."""
        return (*self.categories, *self.numbers, *self.dates, *self.datetimes, *self.times, *self.texts)

    @classmethod
    def fit(cls, frame: pd.DataFrame, kinds: Mapping[str, str], target: str | None) -> "FeatureEncoder":
        """Learns the categories of ``frame``, which may lack the target; raises TableError where no column is left."""
        names = [name for name in frame.columns if name != target and name in kinds]
        check_any_feature({name: kinds[name] for name in names}, target)
        numeric, dates, datetimes, times = (tuple(n for n in names if kinds[n] == kind) for kind in ("number", *DATED))
        levels = {n: set(words(frame[n])) for n in names if kinds[n] in CATEGORICAL}
        categories = {n: (*sorted(known - {None}), *(known & {None})) for n, known in levels.items()}
        texts = {n: TextEncoder.fit(frame[n]) for n in names if kinds[n] == "encoded"}
        left_out = tuple(n for n in names if kinds[n] in LEFT_OUT)
        typed = [(n, kind_of_texts(date_texts(frame[n]))) for n in (*dates, *datetimes)]
        orders = {n: dated.day_first for n, dated in typed if dated is not None and dated.day_first is not None}
        return cls(categories, numeric, dates, left_out, datetimes, times, orders, texts)

    def to_json(self) -> dict[str, Any]:
        """Returns plain values that ``from_json`` reads together with ``text_arrays``."""
        return {
            "categories": self.categories,
            **{name: getattr(self, name) for name in PLAIN},
            "orders": self.orders,
            "texts": tuple(self.texts),
        }

    @property
    def text_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the text encoders, under the names that ``from_json`` expects."""
        texts = enumerate(self.texts.values())
        return {f"text/{i}/{name}": getattr(text, field) for i, text in texts for name, field in PARTS.items()}

    @classmethod
    def from_json(
        cls, data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] = MappingProxyType({})
    ) -> "FeatureEncoder":
        """Reads what ``to_json`` and ``text_arrays`` wrote."""
        categories = {name: tuple(known) for name, known in data["categories"].items()}
        texts = {
            name: TextEncoder(*(arrays[f"text/{i}/{part}"] for part in PARTS)) for i, name in enumerate(data["texts"])
        }
        return cls(categories, orders=data["orders"], texts=texts, **{name: tuple(data[name]) for name in PLAIN})

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Returns features ``(N, F)`` in double precision, as a time may vary little; TableError for absent columns."""
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise TableError(f"The rows lack the columns {', '.join(map(repr, missing))}, which the model was given.")
        blocks: list[NDArray[Any]] = [np.empty((len(frame), 0))]
        blocks += [places(present(frame[name]), known)[:, None] for name, known in self.categories.items()]
        blocks += [numbers(frame[name])[:, None] for name in self.numbers]
        blocks += [_date_parts(self._moments(frame[name])) for name in self.dates]
        for name in self.datetimes:
            when = self._moments(frame[name])
            blocks += [_date_parts(when), _clock_parts(when)]
        blocks += [_clock_parts(frame[name]) for name in self.times]
        blocks += [text.transform(frame[name]) for name, text in self.texts.items()]
        features_NF = np.concatenate(blocks, axis=1)
        features_NF[~(np.abs(features_NF) < LARGEST)] = np.nan
        return features_NF

    def misfits(self, frame: pd.DataFrame) -> Iterator[tuple[str, list[str], str]]:
        """Yields each column with cells that are not the numbers, dates or times it holds: these and its kind."""
        for name in (*self.numbers, *self.times, *self.dates, *self.datetimes):
            if name in self.numbers:
                read, what = np.abs(numbers(frame[name])) < LARGEST, NUMBERS
            elif name in self.times:
                read, what = ~np.isnan(seconds(frame[name])), "times of day"
            else:
                read, what = self._moments(frame[name]).notna().to_numpy(), "dates"
            cells = [word(value) for value in present(frame[name][~read]) if value is not None]
            lost = [cell for cell in cells if cell.strip().lower() not in MISSING]
            if lost:
                yield name, lost, what

    def unread(self, frame: pd.DataFrame) -> Iterator[str]:
        """Yields a sentence for each column with cells that are unknown, doubtful, or were read as missing."""
        for name, lost, what in self.misfits(frame):
            cells = f"{counted(len(lost), 'cell')} of {name!r}, such as {shorten(lost[0])!r}"
            if what == "dates" and not np.isnat(moments(pd.Series(lost))).all():
                yield f"{cells}: read as missing, because day or month may come first. Write 2024-12-31."
            else:
                yield f"{cells}: read as missing, because the column holds {what}."
        for name in self.datetimes:
            when = self._moments(frame[name]).dropna()
            if len(when) and (when == when.dt.normalize()).all():
                yield f"No cell of {name!r} has a time of day: read as midnight."
        for name, known in self.categories.items():
            there = [value for value in present(frame[name]) if value is not None]
            new = [word(value) for value, place in zip(there, places(there, known), strict=True) if place == -1]
            if new:
                rows = f"{counted(len(new), 'row')} {'holds' if len(new) == 1 else 'hold'}"
                unknown = f"{rows} {listed(list(dict.fromkeys(new)))} in {name!r}"
                yield f"{unknown}, which the context rows do not contain: read as missing."

    def _moments(self, column: pd.Series) -> pd.Series:
        return pd.Series(moments(column, order=self.orders.get(str(column.name))))


def check_any_feature(kinds: Mapping[str, str], target: str | None) -> None:
    """Raises TableError where no column is left to predict from; ``target`` is None where it is not a column."""
    if not count_features(kinds, target):
        beside = f"Besides {target!r} there" if target else "There"
        none = f"{beside} are no columns of numbers, dates or categories: free text and columns left out do not count"
        raise TableError(f"{none}. Change the kind of a column (free text to encoded text), or add one.")


def count_features(kinds: Mapping[str, str], target: str | None) -> int:
    """Counts the features that a model gets from columns of these kinds; most give one.

    >>> count_features({"age": "number", "born": "date", "note": "text", "sold": "boolean"}, target="sold")
    4
    """
    features = DATED | {"encoded": DIRECTIONS, "text": 0, "ignored": 0}
    return sum(features.get(kind, 1) for name, kind in kinds.items() if name != target)


def _date_parts(dates: pd.Series) -> NDArray[np.float64]:
    """Returns days since 1970, month and weekday, all in UTC."""
    parts = (part.to_numpy(np.float64) for part in (dates.dt.month, dates.dt.day_of_week))
    return np.column_stack([days_since_1970(dates), *parts])


def days_since_1970(dates: pd.Series) -> NDArray[np.float64]:
    """Returns days ``(N,)``, nan where missing, for any year: pandas' nanoseconds overflow 64 bits in 2262."""
    span = dates.to_numpy("datetime64[us]") - np.datetime64(0, "us")
    return np.asarray(span / np.timedelta64(1, "D"))


def _clock_parts(column: pd.Series) -> NDArray[np.float64]:
    """Returns the hour of the day, and its sine and cosine on the circle of a day, all in UTC."""
    hours = seconds(column) / 3600
    return np.column_stack([hours, np.sin(hours * np.pi / 12), np.cos(hours * np.pi / 12)]).round(9)


@dataclass(frozen=True, slots=True)
class LabelEncoder:
    """Maps class names to ids: numbers in numeric order, then texts; without classes, for regression, numbers stay."""

    classes: tuple[str, ...] = ()

    @classmethod
    def fit(cls, labels: Sequence[str]) -> "LabelEncoder":
        """Learns the classes of ``labels``."""
        return cls(tuple(sorted(set(labels), key=_label_order)))

    def transform(self, labels: Sequence[Any]) -> Target:
        """Returns class ids, or numbers in the target's unit, ``(N,)``. Raises LabelError for an unknown label."""
        if not self.classes:
            return np.array(labels, dtype=np.float64)
        ids = places(labels, self.classes)
        unknown = sorted({str(label) for label, place in zip(labels, ids, strict=True) if place == -1})
        if unknown:
            known = ", ".join(map(repr, self.classes))
            raise LabelError(f"Labels {', '.join(map(repr, unknown[:5]))} are not among the classes {known}.")
        return ids


def label_numbers(column: pd.Series) -> NDArray[np.object_]:
    """Returns targets as numbers, None where missing or not finite."""
    return np.array([float(value) if np.isfinite(value) else None for value in numbers(column)], dtype=object)


def _label_order(label: str) -> tuple[int, float, str]:
    number = float(label) if is_number(label) else math.nan
    return (1, 0.0, label) if math.isnan(number) else (0, number, label)  # "nan" has no place among numbers
