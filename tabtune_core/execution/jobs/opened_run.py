"""Opens a LoRA run again: its base, its adapter, its context and the held-out rows that it has scored."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from tabtune_core.data.datasets import load_frame
from tabtune_core.data.splits import SplitName
from tabtune_core.data.task import Context
from tabtune_core.engine.adapted_model import AdaptedModel, open_base
from tabtune_core.errors import AdapterError
from tabtune_core.lora.inject import LoraReport
from tabtune_core.lora.package import AdapterPackage, read_package
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel, with_module
from tabtune_core.store.predictions import Predictions, read_predictions
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.training.scoring import Shown

PARTS: tuple[SplitName, ...] = ("validation", "test")


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run with an adapter, ready to predict."""

    run: Run
    package: AdapterPackage
    base: BaseModel
    """The pretrained model alone."""
    adapted: AdaptedModel
    """With the adapter."""
    report: LoraReport
    table: pd.DataFrame
    context: Context
    """The run's context rows."""

    def show(self) -> Shown:
        """Prepares the context for the model."""
        return Shown.to(self.adapted.model, self.context, views=self.run.settings.train.views)


def open_run(store: RunStore, run_id: str, device: str | None = None) -> OpenedRun:
    """Opens a run on a device, by default its own; raises AdapterError, CheckpointError or TableError without one."""
    run = store.run(run_id)
    package = package_of_run(store, run)
    settings, facts = run.settings, package.facts
    device, weights = device or settings.device, settings.checkpoint
    base = open_base(settings.model, settings.task, facts.base.sha256, checkpoint=weights, device=device)
    model = with_module(base, base.module)
    report = adapt(model, settings, package.tensors)
    adapted, table = AdaptedModel(model, facts.settings, facts), load_frame(store.home, settings.dataset)
    return OpenedRun(run, package, base, adapted, report, table, adapted.context(table))


def held_out_of(store: RunStore, run_id: str) -> Mapping[SplitName, Predictions]:
    """Returns a LoRA run's own predictions of the parts that have rows; raises AdapterError if they are missing."""
    run = store.run(run_id)
    if run.settings.strategy != "peft":
        raise AdapterError(f"{run.name} has no low-rank update; choose a LoRA run.")
    saved = {part: read_predictions(store, run_id, part) for part in PARTS}
    held_out = {part: its for part, its in saved.items() if its is not None and len(its.rows_N)}
    if "validation" not in held_out:
        raise AdapterError(f"The predictions of {run.name} are missing, so its rows cannot be scored. Run it again.")
    return held_out


def package_of_run(store: RunStore, run: Run) -> AdapterPackage:
    """Reads the adapter package of a run; raises AdapterError if it is damaged or belongs to another run."""
    package = read_package(store.run_dir(run.id) / ADAPTER_FILE)
    its, own = package.facts.settings, run.settings
    if (its.lora, its.seed, its.target) != (own.lora, own.seed, own.target):
        other = f"that of another run: {its.label}, seed {its.seed}, target {its.target!r}"
        raise AdapterError(
            f"In place of the adapter of {run.name} is {other}. Put the right file back, or run it again."
        )
    return package
