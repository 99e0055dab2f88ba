"""The catalogue of models: one folder and one line per family. Data only; importing it loads no torch."""

import dataclasses
import os
from importlib import import_module
from pathlib import Path

from tabtune_core.errors import CheckpointError, SettingError, TableError
from tabtune_core.lora.names import check_ranks, check_reached, match_targets, pattern_values
from tabtune_core.metrics import Task
from tabtune_core.models.cards import Family, ModelCard
from tabtune_core.settings import REFERENCES, TRAINED, LoraSettings, RunSettings, SweepSettings
from tabtune_core.settings.sweep import TRIED_RATES

FOLDERS = ("tabicl", "tabdpt", "mitra", "tabpfn")
"""Folders of this package, each with a ``family.py``, in the order in which models are listed."""
CATALOGUE: dict[str, ModelCard] = {
    card.name: card for folder in FOLDERS for card in import_module(f"tabtune_core.models.{folder}.family").CARDS
}
FAMILIES: dict[str, Family] = {card.family.name: card.family for card in CATALOGUE.values()}

WEIGHTS = Path(__file__).parent / "weights"


def get_card(name: str) -> ModelCard:
    """Returns the card of a model; raises SettingError, which names the models that exist."""
    if name not in CATALOGUE:
        raise SettingError(f"There is no model {name!r}; choose one of {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def with_usual_rate(run: RunSettings) -> RunSettings:
    """Returns the requested run with the rate that it is stored with: its model's, or the guide's for a checkpoint."""
    if run.strategy not in TRAINED or run.train.learning_rate is not None:
        return run
    card = CATALOGUE.get(run.model) if run.checkpoint is None else None
    return run.changed(learning_rate=card.usual_rate(run.task, run.strategy) if card else run.learning_rate)


def with_tried_rates(sweep: SweepSettings) -> SweepSettings:
    """Returns the sweep with the learning rates that each rank and full fine-tuning try, unless it names one."""
    named = len(sweep.learning_rates) or int(sweep.run.train.learning_rate is not None)
    if sweep.one_rate or named == 1:
        return sweep
    lora, full = (
        tuple(with_usual_rate(sweep.run.with_strategy(strategy)).learning_rate * times for times in TRIED_RATES)
        for strategy in ("peft", "base-ft")
    )
    return dataclasses.replace(
        sweep,
        learning_rates=sweep.learning_rates or (lora if sweep.ranks else ()),
        full_learning_rates=sweep.full_learning_rates or (full if sweep.full_fine_tuning else ()),
    )


def named_checkpoint(card: ModelCard, task: Task, path: str | Path) -> Path:
    """Returns the user's checkpoint; of a folder, the file in it with the model's file name. Raises CheckpointError."""
    file = Path(os.path.expanduser(path))  # leaves '~' of an unknown user unchanged
    if os.path.isdir(file):
        file /= Path(card.weights_for(task).file).name
    if not os.path.isfile(file):  # False if a name is too long, where ``Path`` raises
        way_out = f"Put it there or correct the path; without a path, {card.title}'s own weights are used."
        raise CheckpointError(f"There is no checkpoint at {file}. {way_out}")
    return file


def check_request(settings: RunSettings) -> None:
    """Refuses a run before launch if the catalogue alone shows that it would fail.

    Raises:
        SettingError: the model does not exist, or does not support the task, so many context rows or recomputing.
        MissingPackageError: the model's package is not installed.
        CheckpointError: the user's checkpoint does not exist, or is required and not given.
        TargetError: a target or a pattern names no layer, or the rank is above the cap of every target.
    """
    card = get_card(settings.model)
    if settings.strategy in REFERENCES:
        return
    card.weights_for(settings.task)
    if not card.family.installed:
        raise card.family.missing_package()
    limit = card.family.context_limit
    trained = () if settings.strategy == "inference" else ("context_rows",)
    for name in (*trained, "predict_context_rows"):
        rows = getattr(settings.train, name)
        if limit is not None and rows is not None and rows > limit:
            most = f"{card.title} takes at most {limit:,} context rows"
            raise SettingError(f"train.{name} is {rows}; {most}. Set it to {limit} or fewer.")
    if settings.train.gradient_checkpointing and not card.family.block_lists:
        why = f"{card.family.name} always recomputes its layers"
        raise SettingError(f"train.gradient_checkpointing changes nothing: {why}. Leave it out.")
    if settings.checkpoint is not None:
        named_checkpoint(card, settings.task, settings.checkpoint)
    elif card.weights_for(settings.task).by_path:
        raise card.without_path(settings.task)
    if settings.strategy == "peft" and settings.checkpoint is None:  # a user's checkpoint may have other layers
        _check_adapter(card, settings.task, settings.lora)


def _check_adapter(card: ModelCard, task: Task, lora: LoraSettings) -> None:
    shapes, rules, every = card.adapted_shapes(task, lora.targets), card.rules(task), card.layers(task).weights
    targets = lora.targets or rules.targets
    check_reached(match_targets(every, targets, rules), every, targets, rules)
    pattern_values("alpha_pattern", lora.alpha_pattern, list(shapes), rules.groups)
    by_pattern = pattern_values("rank_pattern", lora.rank_pattern, list(shapes), rules.groups)
    check_ranks(lora.rank, by_pattern, {path: min(shape) for path, shape in shapes.items()})


def check_features(card: ModelCard, features: int) -> None:
    """Raises TableError for a table with more feature columns than the model supports."""
    limit = card.family.feature_limit
    if limit is not None and features > limit:
        has = f"The table has {features:,} columns to predict from; {card.title} takes at most {limit:,}"
        raise TableError(f"{has}. Leave some out, or choose another model.")
