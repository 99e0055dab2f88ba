"""Predicts rows that a person gives with the base model and several adapters side by side.

In: typed rows, adapters, a table for the context. Out: predictions as one frame and as CSV, and notes.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.analysis.uncertainty import ClassSet, Interval, of_held_out
from tabtune_core.data.datasets import load_frame
from tabtune_core.data.findings import listed
from tabtune_core.data.prediction_rows import CSV, PREDICTED, TRUTH, labels_like, row_keys, take_rows
from tabtune_core.data.splits import Split
from tabtune_core.data.spreadsheet import safe_csv
from tabtune_core.data.task import Context
from tabtune_core.engine.adapted_model import AdaptedModel, open_base, predict_rows
from tabtune_core.errors import AdapterError
from tabtune_core.execution.jobs.opened_run import package_of_run
from tabtune_core.files.plain_values import SHA256
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.package import AdapterPackage, read_package
from tabtune_core.metrics import score_all
from tabtune_core.models.adaptation import put_on
from tabtune_core.models.base import with_module
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import numbered
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.runs import RunStore
from tabtune_core.store.uploaded_adapters import package_of
from tabtune_core.wording import counted


@dataclass(frozen=True, slots=True)
class _Adapter:
    id: str
    title: str
    package: AdapterPackage
    settings: RunSettings
    checkpoint: str | None
    base: tuple[str, str]
    """Model, and SHA-256 of its weights."""


@dataclass(frozen=True, slots=True)
class _Column:
    """The predictions of one model."""

    title: str
    kind: str
    """'base' or 'adapter'."""
    predicted: NDArray[np.float64]
    context: Context
    split: Split | None
    """The run's split; None if the table is not the run's own."""
    sure: Interval | ClassSet | None = None
    """Interval around predicted numbers, or set of classes; None if the run's held-out rows do not give one."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a person asked for, and what all models share."""

    home: Path
    frame: pd.DataFrame
    """The rows to predict."""
    shown: pd.DataFrame
    """The table whose rows are the context."""
    base: bool
    device: str
    notes: dict[str, None]
    progress: Callable[[int], None]
    """Called with a number of further predictions."""


def predict(
    home: Path,
    folder: Path,
    *,
    rows: str,
    adapters: Sequence[Mapping[str, str]],
    table: str,
    base: bool = True,
    device: str = "auto",
) -> dict[str, Any]:
    """Predicts the rows with each adapter and, if asked to (``base``), with their bases alone.

    ``rows`` is an id from ``keep_rows``, ``table`` that of the table whose rows are the context; each adapter has the
    ``id`` of a run or of an adapter from elsewhere, and the ``title`` of its column.
    """
    frame, shown, notes = take_rows(home, rows, folder), load_frame(home, table), dict[str, None]()
    opened = [_open(home, adapter["id"], adapter["title"]) for adapter in adapters]
    _check_alike(opened)
    times = (1 + base) * sum(adapter.settings.train.views for adapter in opened)
    done, columns = 0, list[_Column]()

    def progress(more: int) -> None:
        nonlocal done
        done += more
        write_progress(folder, done, len(frame) * times, "predictions")

    asked = _Asked(home, frame, shown, base, device, notes, progress)
    for one in dict.fromkeys(adapter.base for adapter in opened):
        columns += _predict_group(asked, [adapter for adapter in opened if adapter.base == one])
    columns.sort(key=lambda column: column.kind != "base")
    titles = numbered([column.title for column in columns])  # one base model with different weights has the same title
    columns = [dataclasses.replace(column, title=title) for column, title in zip(columns, titles, strict=True)]
    for column in columns:
        notes.update(dict.fromkeys(column.context.encoder.unread(frame)))
    classes = columns[0].context.labels.classes
    truth, known = _labels(frame, opened[0].settings, classes, notes)
    _note_seen(asked, frame[known], columns, opened[0])
    _write(folder, frame, columns, classes, truth)
    return {
        "models": [_about(column, truth, known) for column in columns],
        "scored_rows": int(known.sum()),
        "classes": classes,
        "rows": len(frame),
        "notes": list(notes),
        "deviation": None if classes else float(np.std(columns[0].context.y_C)),
    }


def _about(column: _Column, truth: NDArray[np.object_], known: NDArray[np.bool_]) -> dict[str, Any]:
    """Describes a model, with the leaderboard's scores on the rows whose label is known."""
    labels, rarer = column.context.labels.transform(list(truth[known])), column.context.rarer
    return {
        "title": column.title,
        "kind": column.kind,
        "scores": score_all(labels, column.predicted[known], rarer=rarer) if known.any() else {},
        "sure": column.sure and dataclasses.asdict(column.sure),
    }


def _labels(
    frame: pd.DataFrame, settings: RunSettings, classes: tuple[str, ...], notes: dict[str, None]
) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Returns the labels of the rows, None where there is none, and which of them the adapter knows."""
    missing = np.full(len(frame), None, dtype=object)
    truth = labels_like(frame, settings, classes) if settings.target in frame else missing
    known = np.array([label is not None and (not classes or label in classes) for label in truth], dtype=bool)
    strange = sorted({str(label) for label in truth[~known] if label is not None})
    if strange:
        notes[f"Rows with a label that the adapter does not know ({listed(strange)}) are not scored."] = None
    return truth, known


def _open(home: Path, identity: str, title: str) -> _Adapter:
    if SHA256.fullmatch(identity):
        package, checkpoint = read_package(package_of(home, identity)), None
    else:
        store = RunStore(home, existing=True)
        run = store.run(identity)
        package, checkpoint = package_of_run(store, run), run.settings.checkpoint
    settings = package.facts.settings
    return _Adapter(identity, title, package, settings, checkpoint, (settings.model, package.facts.base.sha256))


def _check_alike(opened: Sequence[_Adapter]) -> None:
    if not opened:
        raise AdapterError("No adapter was chosen. Choose at least one.")
    first = opened[0]
    expected = first.settings.target, first.package.facts.label_hash
    for other in opened[1:]:
        if (other.settings.target, other.package.facts.label_hash) != expected:
            both = (f"{one.title} predicts {one.settings.target!r}" for one in (other, first))
            differ = f"{' and '.join(both)}, or their classes differ"
            raise AdapterError(f"{differ}; choose adapters that predict the same thing.")


def _predict_group(asked: _Asked, group: Sequence[_Adapter]) -> Iterator[_Column]:
    """Predicts with the adapters of one base, which is opened once."""
    settings, frame, add = group[0].settings, asked.frame, asked.progress
    (name, sha256), checkpoint = group[0].base, group[0].checkpoint
    model = open_base(name, settings.task, sha256, checkpoint=checkpoint, device=asked.device)
    adapters, alone = AdapterSet(model.module), set[tuple[str, int]]()
    title = f"Base {get_card(settings.model).title}"
    for place, adapter in enumerate(group):
        put_on(adapters, model, adapter.settings.lora, adapter.package.tensors, str(place))
        adapted = AdaptedModel(with_module(model, adapters.module), adapter.settings, adapter.package.facts)
        context = _context(adapted, asked.shown, adapter.title, asked.notes)
        labelled, own = adapter.settings.target in frame, context.sha256 == adapted.facts.context_sha256
        sure = _how_sure(asked.home, adapter) if own else (None, None)
        used = adapted.split(asked.shown) if labelled and own else None
        views = adapter.settings.train.views
        predicted = predict_rows(adapted.model, frame, context, views=views, progress=add)
        yield _Column(adapter.title, "adapter", predicted, context, used, sure[0])
        if asked.base and (context.sha256, views) not in alone:
            of = f" (context of {adapter.title})" if alone else ""  # runs of other seeds have other context rows
            alone.add((context.sha256, views))
            predicted = predict_rows(model, frame, context, views=views, progress=add)
            yield _Column(f"{title}{of}", "base", predicted, context, used, sure[1])
        elif asked.base:
            add(views * len(frame))  # the same base, context and views have already predicted


def _how_sure(home: Path, adapter: _Adapter) -> tuple[Interval | ClassSet | None, Interval | ClassSet | None]:
    """Returns how sure the adapter and its base alone are, from the run's held-out predictions."""
    if SHA256.fullmatch(adapter.id):
        return None, None
    store = RunStore(home, existing=True)
    validation, test = read_predictions(store, adapter.id, "validation"), read_predictions(store, adapter.id, "test")
    if validation is None or test is None:
        return None, None
    return of_held_out(validation, test), of_held_out(validation, test, before=True)


def _context(adapted: AdaptedModel, table: pd.DataFrame, title: str, notes: dict[str, None]) -> Context:
    """Returns the run's own context rows if the table is the run's, else rows chosen as the run chose its own."""
    missing = [name for name in adapted.facts.features if name not in table.columns]
    if missing:
        lacks = f"The table lacks {listed(missing)}, from which {title} predicts"
        raise AdapterError(f"{lacks}. Choose a table with the same columns.")
    try:
        return adapted.context(table)
    except AdapterError:  # another table, of which no row is held out
        at_random = dataclasses.replace(adapted.settings, split_by="random", split_column=None)
        rows = dataclasses.replace(adapted, settings=at_random).split(table).context
        context = adapted.new_context(table.iloc[rows])
    other = (
        f"this table is not the one that it was trained on, so {len(context.y_C):,} rows of this one are its context"
    )
    notes[f"{title}: {other}. Its scores will differ from those of its run."] = None
    return context


def _note_seen(asked: _Asked, labelled: pd.DataFrame, columns: Sequence[_Column], first: _Adapter) -> None:
    """Notes how many labelled rows an adapter was trained on or chosen by."""
    kinds, names = first.package.facts.kinds, [*first.package.facts.features, first.settings.target]
    parts = [part for column in columns if (split := column.split) for part in (split.train, split.validation)]
    if labelled.empty or not parts:
        return
    used = asked.shown.iloc[np.unique(np.concatenate(parts))]
    if seen := int(row_keys(labelled, kinds, names).isin(row_keys(used, kinds, names)).sum()):
        of, was = counted(len(labelled), "labelled row"), "was" if seen == 1 else "were"
        trained_on = f"{seen:,} of {of} {was} used to train these adapters or to choose their best checkpoint"
        asked.notes[f"{trained_on}: scores on such rows do not show how well new rows are predicted."] = None


def _write(
    folder: Path, frame: pd.DataFrame, columns: Sequence[_Column], classes: tuple[str, ...], truth: NDArray[np.object_]
) -> None:
    names, predicted, columns_of_csv = np.array(classes, dtype=object), dict[str, Any](), dict[str, Any]()
    if any(label is not None for label in truth):
        predicted[TRUTH] = pd.Series(list(truth), dtype=object if classes else "float64")
    for place, column in enumerate(columns):
        values = column.predicted
        best = names[values.argmax(axis=1)] if classes else values
        predicted[f"m{place}"] = columns_of_csv[f"{column.title}: predicted"] = best
        for k, name in enumerate(classes):
            predicted[f"m{place}_{k}"] = columns_of_csv[f"{column.title}: probability of {name}"] = values[:, k]
    pd.DataFrame(predicted).to_parquet(folder / PREDICTED)
    whole = pd.concat([frame.reset_index(drop=True), pd.DataFrame(columns_of_csv)], axis=1)
    (folder / CSV).write_text(safe_csv(whole), encoding="utf-8", newline="")
