"""Prepares a table for a model: labels, split, features, and the context rows for predictions."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.encoding import FeatureEncoder, LabelEncoder, Target, count_features, label_numbers
from tabtune_core.data.findings import Column, Finding, Kind
from tabtune_core.data.merged_classes import with_label
from tabtune_core.data.ordered_splits import split_by_column
from tabtune_core.data.splits import Rows, Split, SplitRule, SplitSizes, group_rows, split_rows, strata_of
from tabtune_core.data.target_checks import check_label
from tabtune_core.data.values import numbers, words
from tabtune_core.errors import SettingError
from tabtune_core.metrics import rarer_class
from tabtune_core.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Context:
    """The encoded context rows of a prediction. Shape letters: C rows, F features."""

    rows: Rows
    """Row numbers in the table."""
    x_CF: NDArray[np.float64]
    y_C: Target
    """Class ids, or numbers in the target's unit."""
    encoder: FeatureEncoder
    labels: LabelEncoder
    rarer: int | None
    """The ``rarer_class`` of the whole table."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the encoded content: columns, categories, classes, features and labels."""
        encoder = self.encoder
        names = [tuple(encoder.categories), encoder.numbers, encoder.dates, self.labels.classes, *encoder.texts]
        names += [part for part in (encoder.datetimes, encoder.times) if part]
        levels = [["nan" if text is None else text for text in known] for known in encoder.categories.values()]
        digest = hashlib.sha256(json.dumps([names, levels]).encode())
        digest.update(self.x_CF.tobytes())
        digest.update(self.y_C.tobytes())
        return digest.hexdigest()


def labels_of(frame: pd.DataFrame, settings: RunSettings) -> NDArray[np.object_]:
    """Returns the target of every row, None where missing: a number, or a class as text."""
    column = with_label(frame, settings)[settings.target]
    return words(column) if settings.task == "classification" else label_numbers(column)


def split_table(
    frame: pd.DataFrame, labels: NDArray[np.object_], settings: RunSettings, *, test_share: float | None = None
) -> Split:
    """Splits the rows as the settings say; ``test_share`` overrides theirs.

    Raises LabelError where there are too few rows or a split would lack the classes that it needs, and SettingError
    where the column cannot split the table.
    """
    train = settings.train
    rule = SplitRule(
        seed=settings.seed,
        test_seed=settings.split_seed,
        validation_share=settings.validation_share,
        test_share=settings.test_share if test_share is None else test_share,
        context_rows=train.predict_context_rows,
        validation_rows=train.validation_rows,
        test_rows=train.test_rows,
    )
    if settings.split_by == "random":
        return split_rows(strata_of(labels), rule)
    assert settings.split_column is not None
    return split_by_column(frame, settings.split_column, labels, rule, by=settings.split_by)


def plan_split(frame: pd.DataFrame, settings: RunSettings) -> tuple[SplitSizes, tuple[Finding, ...]]:
    """Returns how many rows each part will have and what to know about it; raises the errors of ``split_table``.

    A split at random only counts the rows of each class or group of numbers, which is fast on a large table.
    """
    if settings.split_by != "random":
        split = _split(frame, labels_of(frame, settings), settings)
        return SplitSizes(len(split.train), len(split.validation), len(split.test)), split.findings
    column = with_label(frame, settings)[settings.target]
    if settings.task == "classification":
        class_rows = np.asarray(column.value_counts(), dtype=np.int64)
    else:
        class_rows = group_rows(int(np.isfinite(numbers(column)).sum()))
    return SplitSizes.plan(class_rows, settings.validation_share, settings.test_share), ()


def _split(frame: pd.DataFrame, labels: NDArray[np.object_], settings: RunSettings) -> Split:
    if settings.split_column == settings.target:
        way_out = "Choose another column to split by."
        raise SettingError(f"split_column is {settings.target!r}, which is the column to predict. {way_out}")
    return split_table(frame, labels, settings)


def kinds_of(columns: Iterable[Column], settings: RunSettings) -> dict[str, Kind]:
    """Returns the kind of each column for a model; columns without a value, and that of a group, are ignored."""
    kinds: dict[str, Kind] = {column.name: column.kind if column.unique else "ignored" for column in columns}
    return kinds | ({str(settings.split_column): "ignored"} if settings.split_by == "group" else {})


def features_of(columns: Iterable[Column], settings: RunSettings) -> int:
    """Returns the number of features that a model gets from a table."""
    return count_features(kinds_of(columns, settings), settings.target)


@dataclass(frozen=True, slots=True)
class TableSizes:
    """The sizes of a run's table, known before it is prepared."""

    features: int
    classes: int
    """0 for regression."""
    split: SplitSizes

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Iterable[Column], settings: RunSettings) -> Self:
        """Counts features, classes and the rows of each part."""
        classes = 0 if settings.task == "regression" else with_label(frame, settings)[settings.target].nunique()
        return cls(features_of(columns, settings), classes, plan_split(frame, settings)[0])


def make_context(
    frame: pd.DataFrame,
    labels: NDArray[np.object_],
    rows: Rows,
    kinds: Mapping[str, str],
    target: str | None = None,
    names: LabelEncoder | None = None,
) -> Context:
    """Learns encoders from the rows ``rows`` of ``frame`` and applies them to these rows.

    ``target`` is a column that is not a feature. ``names`` encodes the labels; unless given, it is learnt here.
    """
    context_frame, context_labels = frame.iloc[rows], list(labels[rows])
    encoder = FeatureEncoder.fit(context_frame, kinds, target)
    if names is None:
        names = LabelEncoder.fit(context_labels) if isinstance(context_labels[0], str) else LabelEncoder()
    x_CF, y_C = encoder.transform(context_frame), names.transform(context_labels)
    return Context(rows, x_CF, y_C, encoder, names, rarer_class(labels, names.classes))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything about the table that a run needs."""

    frame: pd.DataFrame
    labels: NDArray[np.object_]
    split: Split
    context: Context
    kinds: Mapping[str, Kind]
    """Kind of each column, as a model sees it."""
    weights: NDArray[np.float64] | None = None
    """Weight of each row of the table in the training loss; None: all equal."""

    def part(self, rows: Rows) -> tuple[NDArray[np.float64], Target]:
        """Returns the encoded features and targets of ``rows``."""
        labels = self.context.labels.transform(list(self.labels[rows]))
        return self.context.encoder.transform(self.frame.iloc[rows]), labels


def prepare(frame: pd.DataFrame, columns: Any, settings: RunSettings, *, max_classes: int | None) -> Prepared:
    """Checks the target, splits the rows and encodes the context; ``max_classes`` is the model's limit, None for none.

    Raises LabelError where the target cannot be predicted, and TableError where no column is left to predict from.
    """
    check_label(with_label(frame, settings), settings.target, max_classes=max_classes, task=settings.task)
    labels = labels_of(frame, settings)
    split = _split(frame, labels, settings)
    kinds = kinds_of(columns, settings)
    return Prepared(frame, labels, split, make_context(frame, labels, split.context, kinds, settings.target), kinds)
