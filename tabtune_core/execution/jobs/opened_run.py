"""Opens a LoRA run again: its base, its adapter, its context and the held-out rows that it has scored."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tabtune_core.data.datasets import load_frame
from tabtune_core.data.splits import SplitName
from tabtune_core.engine.adapted_model import AdaptedModel, open_base
from tabtune_core.errors import AdapterError
from tabtune_core.execution.jobs.registry import package_of_run
from tabtune_core.lora.inject import LoraReport
from tabtune_core.lora.package import AdapterPackage
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel, with_module
from tabtune_core.store.predictions import Predictions, read_predictions
from tabtune_core.store.runs import RunStore
from tabtune_core.training.scoring import Shown

PARTS: tuple[SplitName, ...] = ("validation", "test")


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run with an adapter, ready to predict."""

    package: AdapterPackage
    base: BaseModel
    """The pretrained model alone."""
    model: BaseModel
    """With the adapter."""
    report: LoraReport
    shown: Shown
    """The run's context."""
    table: pd.DataFrame
    held_out: Mapping[SplitName, Predictions]
    """The run's own predictions of the parts that have rows."""


def open_run(home: Path, run: str) -> OpenedRun:
    """Opens a run; AdapterError if it is no LoRA run or lacks its package or predictions, CheckpointError if its base
    cannot be found.
    """
    store = RunStore(home, existing=True)
    asked = store.run(run)
    settings = asked.settings
    if settings.strategy != "peft":
        raise AdapterError(f"{asked.name} has no low-rank update; choose a LoRA run.")
    saved = {part: read_predictions(store, run, part) for part in PARTS}
    held_out = {part: its for part, its in saved.items() if its is not None and len(its.rows_N)}
    if "validation" not in held_out:
        raise AdapterError(f"The predictions of {asked.name} are missing, so its rows cannot be scored. Run it again.")
    package = package_of_run(store, asked)
    sha256, weights = package.facts.base.sha256, settings.checkpoint
    base = open_base(settings.model, settings.task, sha256, checkpoint=weights, device=settings.device)
    model = with_module(base, base.module)
    report = adapt(model, settings, package.tensors)
    table = load_frame(home, settings.dataset)
    shown = Shown.to(model, AdaptedModel(model, settings, package.facts).context(table), views=settings.train.views)
    return OpenedRun(package, base, model, report, shown, table, held_out)
