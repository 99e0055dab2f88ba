"""What a run leaves on disk: predictions row by row, and the adapter package."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabtune_core.data.datasets import Dataset
from tabtune_core.data.prepared import Prepared, kinds_of
from tabtune_core.lora.adapter_file import write_package
from tabtune_core.lora.inject import LoraReport
from tabtune_core.models.adapter import BaseModel
from tabtune_core.settings import RunSettings
from tabtune_core.training.rows import Part
from tabtune_core.training.scoring import HeldOut


def write_predictions(
    path: Path, parts: Mapping[Part, HeldOut], predictions: Mapping[Part, NDArray[np.float64]], classes: tuple[str, ...]
) -> None:
    """One line a held-out row: split, row (its number in the table), label, predicted.

    Where classes are predicted also ``prob_<k>``, in the order of ``classes``.
    """
    names, frames = np.array(classes, dtype=object), []
    for split, part in parts.items():
        columns: dict[str, Any] = {"split": split, "row": part.rows_N}
        predicted = predictions[split]
        if classes:
            columns |= {"label": names[part.y_N], "predicted": names[predicted.argmax(axis=1)]}
            columns |= {f"prob_{k}": predicted[:, k] for k in range(len(classes))}
        else:
            columns |= {"label": part.y_N, "predicted": predicted}
        frames.append(pd.DataFrame(columns))
    pd.concat(frames, ignore_index=True).to_parquet(path)


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
    """Writes the adapter package with all that its loader needs; no value of the table goes in but the class names."""
    encoder, context = table.context.encoder, table.context
    facts = {
        "base": model.source.to_dict(),
        "settings": _portable(settings),
        "classes": context.labels.classes,
        "table": {"name": dataset.name, "rows": len(table.frame), "id": dataset.id},
        "reading": dataset.reading.to_json(),
        "kinds": kinds_of(dataset.columns, settings),
        "features": [*encoder.categories, *encoder.numbers, *encoder.dates],
        "context": {"rows": context.rows.tolist(), "sha256": context.sha256},
        "scores": scores,
        "best_step": best_step,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "tabtune_core": version("tabtune-dashboard"),
            model.card.family.distribution: version(model.card.family.distribution),
        },
    }
    write_package(path, model.module, report, dropout=settings.lora.dropout, facts=facts)


def _portable(settings: RunSettings) -> dict[str, Any]:
    """The settings without this machine's folders."""
    values = settings.to_dict()
    if settings.checkpoint is not None:
        values["checkpoint"] = Path(settings.checkpoint).name
    return values
