"""Predicts with an adapter package: opens its base model, applies the adapter, and checks the context."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import time, timedelta
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_datetime64_any_dtype, is_float_dtype
from safetensors import SafetensorError

from tabtune_core.data.arrays import read_rows
from tabtune_core.data.findings import DateOrder, shorten
from tabtune_core.data.prediction_rows import labels_like
from tabtune_core.data.reading.numbers import each_number
from tabtune_core.data.reading.words import read_alone
from tabtune_core.data.splits import Split
from tabtune_core.data.table import ReadingChoices
from tabtune_core.data.task import Context, labels_of, make_context, split_table
from tabtune_core.data.values import present, with_column
from tabtune_core.devices import resolve_device
from tabtune_core.errors import AdapterError, warn
from tabtune_core.lora.inject import merged_copy
from tabtune_core.lora.package import read_package
from tabtune_core.lora.package_facts import PackageFacts, hash_of_labels
from tabtune_core.metrics import Task
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel, load_model, with_module
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.settings import RunSettings
from tabtune_core.shortage import shortage_of
from tabtune_core.training.scoring import Shown


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """A base model with an adapter. It holds no rows: every prediction needs a context.

    Rows to predict are a frame of pandas, Polars or Arrow with the table's columns, in any order.
    """

    model: BaseModel
    settings: RunSettings
    facts: PackageFacts
    """The content of the package's ``tabtune.json``."""

    @property
    def reading(self) -> ReadingChoices:
        """Returns how the run read its table, for ``read_table``; its text columns stay text."""
        choices, kinds = self.facts.reading, self.facts.kinds
        names = (*self.facts.features, self.settings.target)
        words = {name: kinds[name] for name in names if kinds.get(name) == "category"}
        return replace(choices, kinds=tuple({**words, **dict(choices.kinds)}.items()))

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns the class names in the order of the probabilities; "class 1" if left out; empty for numbers."""
        return self.facts.classes

    def _labels(self, table: pd.DataFrame) -> NDArray[np.object_]:
        if self.settings.target not in table.columns:
            raise AdapterError(f"The table lacks the target column {self.settings.target!r}.")
        return labels_of(table, self.settings)

    def split(self, table: pd.DataFrame) -> Split:
        """Returns the run's train, validation and test row numbers, for the run's own table."""
        return split_table(table, self._labels(table), self.settings)

    def context(self, table: pd.DataFrame) -> Context:
        """Returns the run's own context rows from its table.

        Raises:
            AdapterError: the table differs: its rows do not have the hash or the classes that the run stored.
        """
        rows = np.array(self.facts.context_rows, dtype=np.int64)
        if len(table) <= rows.max():
            sizes = f"The run's table had {self.facts.table_rows:,} rows, this one has {len(table):,}"
            raise AdapterError(f"{sizes}; it is another table.")
        context = make_context(table, self._labels(table), rows, self.facts.kinds, self.settings.target)
        if context.sha256 != self.facts.context_sha256:
            raise AdapterError(
                "The context rows are not those of the run: their content has another hash. Give the file that the "
                "run was trained on; in Python, read it with `model.reading`."
            )
        return self._with_own_classes(context)

    def new_context(self, table: pd.DataFrame) -> Context:
        """Returns all rows of ``table`` as context instead of the run's own; scores will differ from the run's.

        Raises:
            AdapterError: the classes are not those of the run, or there are more rows than the model takes.
        """
        table = self.as_read(table)
        labels = self._labels(table)
        # the run's own table decided which classes are rare
        if self.settings.group_rare_classes and self.facts.labels_sha256 is None:
            labels = labels_like(table, self.settings, self.classes)
        rows, limit = np.flatnonzero([label is not None for label in labels]), self.model.card.family.context_limit
        if limit is not None and len(rows) > limit:
            most = f"{self.model.card.title} takes at most {limit:,}"
            raise AdapterError(f"The context has {len(rows):,} rows; {most}. Choose some of them.")
        return self._with_own_classes(make_context(table, labels, rows, self.facts.kinds, self.settings.target))

    def _with_own_classes(self, context: Context) -> Context:
        """Refuses a context with other classes or another order; sets how the encoder reads dates."""
        if self.reading.day_first is not None:  # dates are read as in the run's table
            encoder = context.encoder
            usual: dict[str, DateOrder] = dict.fromkeys((*encoder.dates, *encoder.datetimes), self.reading.day_first)
            known = {name: order for name, order in self.reading.date_orders if name in usual}
            context = replace(context, encoder=replace(encoder, orders=usual | encoder.orders | known))
        if hash_of_labels(context.labels.classes) != self.facts.label_hash:
            given, own = (shorten(", ".join(map(repr, of)), 300) for of in (context.labels.classes, self.classes))
            own = "others, whose names were left out of the package" if self.facts.labels_sha256 else own
            raise AdapterError(f"The context has the classes {given}; the adapter was trained for {own}.")
        return context

    def as_read(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Returns the rows as read in the run's table: missing marks, units, commas in numbers.

        A float or a date is no mark, as a file would have it with its decimals: 99 is not the price 99.0. Durations and
        times are no numbers of a unit.
        """
        marks = {mark.strip().lower() for mark in self.facts.reading.missing_marks}
        commas, units = dict(self.facts.reading.decimal_commas), dict(self.facts.reading.units)
        for name in self.facts.features:
            is_written = self.facts.kinds[name] == "number" and name in commas | units
            if name not in rows.columns or not (marks or is_written):
                continue
            if is_float_dtype(rows[name]) or is_datetime64_any_dtype(rows[name]):
                continue
            cells = [None if _text(cell) in marks else cell for cell in present(rows[name])]
            if is_written:
                cells = _as_numbers(cells, units.get(name), comma=bool(commas.get(name)))
            rows = with_column(rows, name, pd.Series(cells, index=rows.index, dtype=object))
        return rows

    def predict_proba(self, rows: Any, *, context: Context) -> NDArray[np.float64]:
        """Predicts probabilities ``(rows, classes)``; raises AdapterError if the adapter predicts numbers."""
        if not self.classes:
            raise AdapterError("The adapter predicts numbers, which have no probabilities; use predict().")
        return self._predict(rows, context, warns=True)

    def predict(self, rows: Any, *, context: Context) -> NDArray[Any]:
        """Predicts class names or numbers ``(rows,)``."""
        predicted = self._predict(rows, context, warns=True)
        return np.array(context.labels.classes, dtype=object)[predicted.argmax(axis=1)] if self.classes else predicted

    def predict_table(self, rows: Any, *, context: Context) -> pd.DataFrame:
        """Predicts a frame with the column ``predicted`` and, for classes, a column ``prob_<class>`` for each."""
        predicted = self._predict(rows, context)
        if not self.classes:
            return pd.DataFrame({"predicted": predicted})
        classes = context.labels.classes
        labels = np.array(classes, dtype=object)[predicted.argmax(axis=1)]
        shares = {f"prob_{name}": predicted[:, k] for k, name in enumerate(classes)}
        return pd.DataFrame({"predicted": labels, **shares})

    def save_merged(self, path: str | Path) -> None:
        """Writes a checkpoint for the upstream package with the adapter merged in, whole or not at all.

        Raises:
            AdapterError: the file cannot be written.
            ShortageError: the machine lacks something, such as room on the disk.
        """
        merged = with_module(self.model, merged_copy(self.model.module))
        try:
            merged.save(Path(path))
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch's
            start, why = "The merged weights cannot be written", getattr(error, "strerror", None) or error
            refusal = AdapterError(f"{start} to {str(path)!r}: {why}.")
            raise shortage_of(error, start, Path(path).parent) or refusal from error

    def _predict(self, rows: Any, context: Context, *, warns: bool = False) -> NDArray[np.float64]:
        """Predicts; ``warns`` issues Python warnings about unreadable cells."""
        frame = self.as_read(read_rows(rows))
        predicted = predict_rows(self.model, frame, context, views=self.settings.train.views)
        for sentence in context.encoder.unread(frame) if warns else ():
            warn(sentence)
        return predicted


def predict_rows(
    model: BaseModel, rows: pd.DataFrame, context: Context, *, views: int, progress: Callable[[int], None] | None = None
) -> NDArray[np.float64]:
    """Predicts probabilities ``(rows, classes)`` or numbers ``(rows,)``; raises AdapterError for NaN or Infinity.

    ``progress`` is called with the number of rows that one more call of an ensemble member predicted.
    """
    shown = Shown.to(model, context, views=views)
    return finite(model, replace(shown.scorer, progress=progress).predict(model, shown.read(rows)))


def finite(model: BaseModel, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the predictions if all are finite; raises as ``predict_rows``."""
    odd = int((~np.isfinite(predicted)).any(axis=tuple(range(1, predicted.ndim))).sum())
    if odd:
        raise AdapterError(
            f"{model.source.model} gives no finite number for {odd:,} of {len(predicted):,} rows: its adapter or its "
            "weights are damaged or far too strong. Take another adapter."
        )
    return predicted


def open_base(name: str, task: Task, sha256: str, *, checkpoint: str | Path | None, device: str) -> BaseModel:
    """Opens the base model that an adapter or a pipeline was trained on; none of its weights train.

    Raises:
        AdapterError: the weights are not those it was trained on.
        CheckpointError: the weights cannot be found.
    """
    card = get_card(name)
    _, source = find_checkpoint(card, task, checkpoint)  # before opening it: a pipeline may name any file
    if sha256 != source.sha256:
        other = f"weights with the SHA-256 {sha256}, but {source.file} has {source.sha256}"
        raise AdapterError(f"The adapter was trained on {other}. Name the right file as checkpoint=.")
    model = load_model(card, task, resolve_device(device), checkpoint)
    model.module.requires_grad_(False)
    return model


def load_adapter(path: str | Path, *, checkpoint: str | Path | None = None, device: str = "auto") -> AdaptedModel:
    """Opens an adapter package on its base model.

    Args:
        path: the zip file, or ``hf://owner/name`` on the Hugging Face Hub.
        checkpoint: weights of the base, if they are neither part of this package nor in the Hugging Face cache.
        device: 'auto', 'cpu', 'cuda' or 'cuda:0'.

    Raises:
        AdapterError: the file is not an adapter package, or the base is not the one it was trained on.
        CheckpointError: the base's weights cannot be found.
    """
    package = read_package(Path(path))
    settings = package.facts.settings
    model = open_base(settings.model, settings.task, package.facts.base.sha256, checkpoint=checkpoint, device=device)
    adapt(model, settings, package.tensors)
    return AdaptedModel(model, settings, package.facts)


def _text(cell: Any) -> str | None:
    """Returns a text or whole number in lower case; None for other cells and for Na, which is sodium."""
    text = str(cell).strip() if isinstance(cell, str | Integral) and not isinstance(cell, bool) else "Na"
    return None if text == "Na" else text.lower()


def _as_numbers(cells: list[Any], unit: str | None, *, comma: bool) -> list[Any]:
    """Returns the numbers of texts with a unit or a comma, as a file would have them; other cells stay."""
    texts = [str(cell).strip() if isinstance(cell, str | timedelta | time) else "" for cell in cells]
    known = list(dict.fromkeys(texts))
    work = each_number("", unit=unit, comma_first=comma, decimal_comma=comma)
    read = dict(zip(known, read_alone(work, known)[1], strict=True))
    pairs = zip(cells, texts, strict=True)
    return [cell if not text else text if read[text] is None else read[text] for cell, text in pairs]
