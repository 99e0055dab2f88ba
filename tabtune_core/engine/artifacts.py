"""Writes the files of a run: predictions, weights and the adapter package."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabtune_core.data.datasets import Dataset
from tabtune_core.data.splits import SplitName
from tabtune_core.data.task import Prepared
from tabtune_core.lora.inject import LoraReport
from tabtune_core.lora.package import write_package
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import RunSettings
from tabtune_core.store.predictions import ZERO_SHOT
from tabtune_core.training.scoring import HeldOut
from tabtune_core.upstream import DISTRIBUTION


def write_predictions(
    path: Path,
    parts: Mapping[SplitName, HeldOut],
    predictions: Mapping[SplitName, NDArray[np.float64]],
    classes: tuple[str, ...],
    units_T: NDArray[np.int64],
    zero_shot: Mapping[SplitName, NDArray[np.float64]] | None = None,
) -> None:
    """Writes one line per held-out row: split, row, unit (equal if intervals count rows as one), label, predicted.

    For classes also ``prob_<k>``, in the order of ``classes``; ``zero_shot_`` before a name: before training.
    """
    names, frames = np.array(classes, dtype=object), []
    for split, part in parts.items():
        columns: dict[str, Any] = {"split": split, "row": part.rows_N, "unit": units_T[part.rows_N]}
        predicted, before = predictions[split], {} if zero_shot is None else {ZERO_SHOT: zero_shot[split]}
        columns["label"] = names[part.y_N] if classes else part.y_N
        columns["predicted"] = names[predicted.argmax(axis=1)] if classes else predicted
        for start, values in {"": predicted, **before}.items():
            of_classes = {f"{start}prob_{k}": values[:, k] for k in range(len(classes))}
            columns |= of_classes or {f"{start}predicted": values}
        frames.append(pd.DataFrame(columns))
    pd.concat(frames, ignore_index=True).to_parquet(path, write_page_checksum=True)


def hash_rows(parts: Mapping[SplitName, HeldOut], classes: tuple[str, ...]) -> str:
    """Returns the SHA-256 of the numbers and targets of the held-out rows, which is equal for runs on the same rows."""
    digest = hashlib.sha256()
    for split, part in parts.items():
        if classes:
            targets = json.dumps([classes[k] for k in part.y_N]).encode()
        else:
            targets = np.asarray(part.y_N, dtype=np.float64).tobytes()
        digest.update(split.encode() + np.asarray(part.rows_N, dtype=np.int64).tobytes() + targets)
    return digest.hexdigest()


def write_adapter(
    path: Path,
    settings: RunSettings,
    dataset: Dataset,
    table: Prepared,
    model: BaseModel,
    report: LoraReport,
    scores: Mapping[str, Mapping[str, float]],
    best_step: int,
) -> None:
    """Writes the adapter package; of the table's values it contains only the class names."""
    context = table.context
    checkpoint = settings.checkpoint and Path(settings.checkpoint).name  # without this machine's folders
    facts = PackageFacts(
        layers=report.layers,
        biases=report.biases,
        base=model.source,
        settings=replace(settings, checkpoint=checkpoint),
        classes=context.labels.classes,
        table_name=dataset.name,
        table_rows=len(table.frame),
        table_id=dataset.id,
        reading=dataset.reading,
        kinds=table.kinds,
        features=context.encoder.columns,
        context_rows=context.rows.tolist(),
        context_sha256=context.sha256,
        scores=scores,
        best_step=best_step,
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "tabtune_core": version(DISTRIBUTION),
            model.card.family.distribution: version(model.card.family.distribution),
        },
    )
    write_package(path, model.module, report, facts)
