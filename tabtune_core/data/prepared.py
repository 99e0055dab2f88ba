"""A table made ready for a model: labels, split, features, and the context that predictions are shown.

In: a typed frame and the settings that say what to predict. Out: arrays, and a hash by which a context is known again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.encoding import FeatureEncoder, LabelEncoder, NumberEncoder, label_numbers, label_texts
from tabtune_core.data.episodes import Target
from tabtune_core.data.splits import Rows, Split, split_rows, strata_of
from tabtune_core.data.target import check_label, with_label
from tabtune_core.settings import RunSettings


@dataclass(frozen=True, slots=True)
class Context:
    """The rows that a prediction is shown, encoded. Shape letters: C rows, F features."""

    rows: Rows
    """Their numbers in the table."""
    x_CF: NDArray[np.float64]
    y_C: Target
    """Class ids, or numbers in the target's unit."""
    encoder: FeatureEncoder
    labels: LabelEncoder | NumberEncoder

    @property
    def sha256(self) -> str:
        """Of the encoded content: columns, categories, classes, features and labels."""
        names = [self.encoder.categories, self.encoder.numbers, self.encoder.dates, self.labels.classes]
        levels = [] if self.encoder.ordinal is None else [[str(v) for v in c] for c in self.encoder.ordinal.categories_]
        digest = hashlib.sha256(json.dumps([names, levels]).encode())
        digest.update(self.x_CF.tobytes())
        digest.update(self.y_C.tobytes())
        return digest.hexdigest()


def labels_of(frame: pd.DataFrame, settings: RunSettings) -> NDArray[np.object_]:
    """The target of every row, None where missing: the class as text (a half, where it is split at its median), or the number."""
    column = with_label(frame, settings.target, at_median=settings.split_at_median)[settings.target]
    return label_texts(column) if settings.task == "classification" else label_numbers(column)


def split_table(labels: NDArray[np.object_], settings: RunSettings) -> Split:
    """The split that these settings stand for."""
    train = settings.train
    return split_rows(
        strata_of(labels), seed=settings.seed, validation_share=settings.validation_share, test_share=settings.test_share,
        context_rows=train.predict_context_rows, validation_rows=train.validation_rows, test_rows=train.test_rows,
    )  # fmt: skip


def make_context(frame: pd.DataFrame, labels: NDArray[np.object_], rows: Rows, kinds: Mapping[str, str], target: str) -> Context:
    """Learns encoders from the rows ``rows`` of ``frame`` and applies them there."""
    shown = frame.iloc[rows]
    encoder = FeatureEncoder.fit(shown, kinds, target)
    shown_labels = list(labels[rows])
    names = LabelEncoder.fit(shown_labels) if isinstance(shown_labels[0], str) else NumberEncoder()
    return Context(rows, encoder.transform(shown), names.transform(shown_labels), encoder, names)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything about the table that a run needs."""

    frame: pd.DataFrame
    labels: NDArray[np.object_]
    split: Split
    context: Context

    def part(self, rows: Rows) -> tuple[NDArray[np.float64], Target]:
        """Encoded features and targets of some rows."""
        return self.context.encoder.transform(self.frame.iloc[rows]), self.context.labels.transform(list(self.labels[rows]))


def prepare(frame: pd.DataFrame, columns: Any, settings: RunSettings, *, max_classes: int | None) -> Prepared:
    """Checks the target, splits the rows and encodes the context.

    Args:
        frame: the table.
        columns: its columns with their kinds.
        settings: what to predict and how to split.
        max_classes: that the model takes; None for no limit.

    Raises:
        LabelError: the target cannot be predicted as asked.
        TableError: there is nothing to predict it from.
    """
    labelled = with_label(frame, settings.target, at_median=settings.split_at_median)
    check_label(labelled, settings.target, max_classes=max_classes, task=settings.task)
    labels = labels_of(frame, settings)
    split = split_table(labels, settings)
    kinds = {column.name: column.kind for column in columns}
    return Prepared(frame, labels, split, make_context(frame, labels, split.context, kinds, settings.target))
