"""Typed columns to numbers and labels to class ids, learnt from the context rows alone.

In: a frame of a table and the kinds of its columns. Out: float64 features (missing numbers stay nan: what to do about them is
the model's own business) and integer class ids. Shape letters: N rows, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.text_features import DIRECTIONS, TextEncoder
from tabtune_core.errors import LabelError, TableError

if TYPE_CHECKING:
    from sklearn.preprocessing import OrdinalEncoder

Target = NDArray[np.int64] | NDArray[np.float64]
"""Class ids from 0, or numbers in the target's own unit."""

LARGEST = 1e100
"""Numbers beyond it count as missing: their squares, which scaling needs, would overflow."""
CATEGORICAL = ("category", "boolean")
LEFT_OUT = ("text", "ignored")


def _ordinal_encoder(categories: Any = "auto") -> "OrdinalEncoder":
    from sklearn.preprocessing import OrdinalEncoder  # a second to import, and who only looks at a target needs none

    return OrdinalEncoder(categories=categories, handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """Columns to features; categories first, as ``tabicl`` orders them, then numbers, dates and texts. Unknown and missing categories
    become -1.
    """

    categories: tuple[str, ...]
    numbers: tuple[str, ...]
    dates: tuple[str, ...]
    left_out: tuple[str, ...]
    """Columns of free text, which these models cannot read, and those that a person left out."""
    ordinal: "OrdinalEncoder | None"
    texts: dict[str, TextEncoder] = field(default_factory=dict)
    """Of each column of free text that a person wants as numbers; no pipeline has one, as a frame's text is left out."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it predicts from, in the order of their features."""
        return (*self.categories, *self.numbers, *self.dates, *self.texts)

    @classmethod
    def fit(cls, frame: pd.DataFrame, kinds: Mapping[str, str], target: str | None) -> "FeatureEncoder":
        """Learns the categories of ``frame``; ``target`` is None where it is no column of it.

        Raises:
            TableError: no column is left to predict from.
        """
        names = [name for name in frame.columns if name != target and name in kinds]
        chosen = {kind: tuple(n for n in names if kinds[n] == kind) for kind in ("number", "date")}
        categories = tuple(n for n in names if kinds[n] in CATEGORICAL)
        check_any_feature({name: kinds[name] for name in names}, target)
        ordinal = None
        if categories:
            ordinal = _ordinal_encoder()
            ordinal.fit(_texts(frame, categories))
        left_out = tuple(n for n in names if kinds[n] in LEFT_OUT)
        texts = {n: TextEncoder.fit(frame[n]) for n in names if kinds[n] == "encoded"}
        return cls(categories, chosen["number"], chosen["date"], left_out, ordinal, texts)

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads, without texts; a missing category is None."""
        levels = [] if self.ordinal is None else [[None if v != v else v for v in values] for values in self.ordinal.categories_]
        names = {"numbers": self.numbers, "dates": self.dates, "left_out": self.left_out}
        return {"categories": dict(zip(self.categories, levels, strict=True)), **names}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "FeatureEncoder":
        """Reads what ``to_json`` wrote."""
        ordinal, levels = None, [np.array([np.nan if v is None else v for v in values], object) for values in data["categories"].values()]
        if levels:
            ordinal = _ordinal_encoder(levels).fit(np.array([[values[0] for values in levels]], object))
        return cls(tuple(data["categories"]), tuple(data["numbers"]), tuple(data["dates"]), tuple(data["left_out"]), ordinal)

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Features ``(N, F)`` in double precision: a column may be large and vary little, as times in milliseconds do.

        Raises:
            TableError: naming the columns that the frame lacks.
        """
        missing = [name for name in self.columns if name not in frame.columns]
        if missing:
            raise TableError(f"The rows lack the columns {', '.join(map(repr, missing))}, which the model was given.")
        blocks = [np.empty((len(frame), 0))]
        if self.ordinal is not None:
            blocks.append(self.ordinal.transform(_texts(frame, self.categories)))
        if self.numbers:
            blocks.append(frame[list(self.numbers)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan))
        blocks.extend(_date_parts(frame[name]) for name in self.dates)
        blocks.extend(text.transform(frame[name]) for name, text in self.texts.items())
        features_NF = np.concatenate(blocks, axis=1)
        features_NF[~(np.abs(features_NF) < LARGEST)] = np.nan
        return features_NF


def check_any_feature(kinds: Mapping[str, str], target: str | None) -> None:
    """Refuses a table without anything to predict from; ``target`` is None where it is no column of it.

    Raises:
        TableError: what to do.
    """
    if not count_features(kinds, target):
        beside = f"Beside {target!r} there" if target else "There"
        raise TableError(
            f"{beside} is no column of numbers, dates or categories to predict from: free text and what you left out do not count. "
            "Change the kind of a column (of free text, to encoded text), or add one in the file."
        )


def count_features(kinds: Mapping[str, str], target: str | None) -> int:
    """How many features a model gets from columns of these kinds: three of a date, 30 of encoded text, none of free text or of what was
    left out.

    >>> count_features({"age": "number", "born": "date", "note": "text", "sold": "boolean"}, target="sold")
    4
    """
    return sum({"date": 3, "encoded": DIRECTIONS, "text": 0, "ignored": 0}.get(kind, 1) for name, kind in kinds.items() if name != target)


def _texts(frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.object_]:
    """Categories as Python strings, alike on every version of pandas; missing ones as nan, which scikit-learn takes for missing."""
    columns = [[np.nan if missing else str(value) for value, missing in zip(frame[n], frame[n].isna(), strict=True)] for n in names]
    return np.array(columns, dtype=object).T.reshape(len(frame), len(names))


def _date_parts(column: pd.Series) -> NDArray[np.float64]:
    """Days since 1970, month and weekday; of a time with a zone, those of UTC."""
    dates = pd.to_datetime(column, errors="coerce", utc=True).dt.tz_localize(None)
    days = (dates - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
    return np.column_stack([days.to_numpy(np.float64), dates.dt.month.to_numpy(np.float64), dates.dt.day_of_week.to_numpy(np.float64)])


def label_texts(column: pd.Series) -> NDArray[np.object_]:
    """Labels as text, None where missing; whole numbers lose their ``.0``.

    >>> label_texts(pd.Series([1.0, 2.0, None])).tolist()
    ['1', '2', None]
    """

    def text(value: object) -> str:
        return str(int(value)) if isinstance(value, float | np.floating) and value.is_integer() else str(value)

    return np.array([None if missing else text(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)], dtype=object)


@dataclass(frozen=True, slots=True)
class LabelEncoder:
    """Class names and their ids; numbers in numeric order, texts in alphabetical order."""

    classes: tuple[str, ...]

    @classmethod
    def fit(cls, labels: Sequence[str]) -> "LabelEncoder":
        """Learns the classes of ``labels``."""
        return cls(tuple(sorted(set(labels), key=_label_order)))

    def transform(self, labels: Sequence[str]) -> NDArray[np.int64]:
        """Class ids ``(N,)``.

        Raises:
            LabelError: for labels that were not learnt.
        """
        ids = {name: index for index, name in enumerate(self.classes)}
        unknown = sorted({str(label) for label in labels if label not in ids})
        if unknown:
            raise LabelError(f"Labels {', '.join(map(repr, unknown[:5]))} are not among the classes {', '.join(map(repr, self.classes))}.")
        return np.array([ids[label] for label in labels], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class NumberEncoder:
    """Targets on a scale, as they are; the place of a ``LabelEncoder`` where numbers are predicted."""

    classes: tuple[str, ...] = ()

    def transform(self, labels: Sequence[float]) -> NDArray[np.float64]:
        """Numbers ``(N,)`` in the target's unit."""
        return np.array(labels, dtype=np.float64)


def label_numbers(column: pd.Series) -> NDArray[np.object_]:
    """Targets as numbers, None where missing or not finite."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array([float(value) if np.isfinite(value) else None for value in values], dtype=object)


def _label_order(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label
