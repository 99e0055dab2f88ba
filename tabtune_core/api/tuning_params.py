"""The guide's names for settings: ``tuning_params`` and ``peft_config`` of a pipeline.

In: the arguments of a pipeline. Out: the settings that a run has, or an error that suggests the nearest name. Every key that is
accepted changes what it says; a key that could not is refused.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabtune_core.errors import SettingError, nearest
from tabtune_core.models.catalogue import BY_NAME, CATALOGUE
from tabtune_core.settings import ADAM_ONLY, LORA_ONLY, REFERENCES, STRATEGY_NAMES, RunSettings, TrainSettings

FAMILY_MODELS: dict[str, tuple[str, str]] = {}
for _card in CATALOGUE.values():
    if not _card.in_the_box:
        FAMILY_MODELS.setdefault(_card.family.name, (f"TABTUNE_{_card.family.name.upper()}", _card.name))
"""A family's name stands for its release that comes first in the catalogue, or for what an environment variable names instead."""
PEFT_NAMES = {
    "r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    **{name: name for name in ("bias", "use_rslora", "use_dora", "init_lora_weights", "rank_pattern", "alpha_pattern")},
}
"""The guide's section 3.1 and PEFT's, and ours."""
RUN_NAMES = ("device", "seed", "checkpoint", "validation_share", "split_by", "split_column")
PREDICTING = ("predict_context_rows", "views")
"""Of the train settings, those that matter to a model that is not trained too."""
TRAINING = tuple(f.name for f in dataclasses.fields(TrainSettings) if f.name not in (*PREDICTING, "test_rows"))
WITHHOLDING = ("validation_share", "validation_rows", "split_by", "split_column")
"""Which rows choose and are not trained on: 'inference' has none, and a leaderboard the same for all entries."""
OTHER_NAMES = {"peft_config.lr_ratio": "lr_ratio", "max_grad_norm": "clip_norm", "gradient_clipping": "clip_norm"}
"""The guide's section 12.1 has the ratio beside r; the others are what other libraries call ours."""
NEAR = {
    "lr": "learning_rate",
    "random_state": "seed",
    "n_epochs": "epochs",
    "max_epochs": "epochs",
    "n_estimators": "views",
    "rank": "peft_config.r",
    "alpha": "peft_config.lora_alpha",
    "dropout": "peft_config.lora_dropout",
    "targets": "peft_config.target_modules",
}
"""What people write for a setting of ours, whose letters would not lead there."""
KNOWN = (*RUN_NAMES, *PREDICTING, *TRAINING, *OTHER_NAMES, "peft_config", *(f"peft_config.{name}" for name in PEFT_NAMES))


def model_of(name: str) -> str:
    """The catalogue's name of a model or a family.

    Raises:
        SettingError: naming those that exist.
    """
    if name in FAMILY_MODELS:
        variable, current = FAMILY_MODELS[name]
        name = os.environ.get(variable, current)
    if name not in BY_NAME:
        raise SettingError(f"There is no model {name!r}; choose {', '.join(FAMILY_MODELS)} or one of {', '.join(CATALOGUE)}.")
    return name


def read_params(model_name: str, tuning_strategy: str, tuning_params: Mapping[str, Any] | None, task: str) -> RunSettings:
    """The settings that a pipeline's arguments stand for.

    Raises:
        SettingError: naming the argument, its value and what would do.
    """
    known = [name for name in STRATEGY_NAMES if name not in REFERENCES]
    if tuning_strategy not in known:
        raise SettingError(f"tuning_strategy is {tuning_strategy!r}; it must be one of {', '.join(map(repr, known))}.")
    params = _flat(tuning_params or {})
    for name in params:
        _check_name(name)
        _check_use(name, tuning_strategy, params.get("optimizer"))
    for name in [name for name in OTHER_NAMES if name in params]:
        if OTHER_NAMES[name] in params:
            raise SettingError(f"'{name}' and '{OTHER_NAMES[name]}' are the same setting; give one of them.")
        params[OTHER_NAMES[name]] = params.pop(name)
    lora = {ours: params.get(f"peft_config.{name}") for name, ours in PEFT_NAMES.items()}
    lora = {name: value for name, value in lora.items() if value is not None}
    if lora.get("init_lora_weights") is True:  # PEFT's own default
        del lora["init_lora_weights"]
    targets = lora.pop("targets", ())
    return RunSettings.from_dict(
        {
            "dataset": "(in memory)",
            "target": "y",
            "task": task,
            "model": model_of(model_name),
            "strategy": tuning_strategy,
            "lora": {**lora, "targets": (targets,) if isinstance(targets, str) else targets},
            "train": {name: params[name] for name in (*PREDICTING, *TRAINING) if name in params},
            **{name: params[name] for name in RUN_NAMES if name in params},
        }
    )


def write_params(settings: RunSettings) -> dict[str, Any]:
    """The arguments of a pipeline that stand for these settings; what is as usual is left out. The checkpoint is named without its folder.

    >>> write_params(RunSettings(dataset="d", target="y", seed=1, train=TrainSettings(epochs=3)))["tuning_params"]
    {'seed': 1, 'epochs': 3}
    """
    usual = RunSettings(dataset=settings.dataset, target=settings.target, task=settings.task)
    values, lora, train = settings.to_dict(), settings.to_dict()["lora"], settings.to_dict()["train"]
    params = {name: values[name] for name in RUN_NAMES if name in values and getattr(settings, name) != getattr(usual, name)}
    if settings.strategy == "inference":
        params = {name: value for name, value in params.items() if name not in WITHHOLDING}
    if "checkpoint" in params:
        params["checkpoint"] = Path(params["checkpoint"]).name
    allowed = PREDICTING if settings.strategy == "inference" else (*PREDICTING, *TRAINING)
    params |= {name: train[name] for name in allowed if name in train and getattr(settings.train, name) != getattr(usual.train, name)}
    if settings.strategy == "peft":
        changed = {name for name in lora if getattr(settings.lora, name) != getattr(usual.lora, name)}
        config = {name: lora[ours] for name, ours in PEFT_NAMES.items() if ours in changed}
        params |= {"peft_config": config} if config else {}
    return {
        "model_name": settings.model,
        "tuning_strategy": settings.strategy,
        "tuning_params": params,
        "task": settings.task,
    }


def params_today(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a pipeline that was saved by any version: earlier ones had ``context_rows`` and withheld rows for inference, too."""
    tuning = dict(params.get("tuning_params") or {})
    if params.get("tuning_strategy") == "inference":
        if "context_rows" in tuning:
            tuning["predict_context_rows"] = tuning.pop("context_rows")
        tuning = {name: value for name, value in tuning.items() if name not in WITHHOLDING}
    return {**params, "tuning_params": tuning}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """``peft_config`` laid out as ``peft_config.r`` and so on."""
    flat = {name: value for name, value in params.items() if name != "peft_config"}
    config = params.get("peft_config") or {}
    if not isinstance(config, Mapping):
        raise SettingError(f"'peft_config' is {config!r}; it must be a dictionary such as {{'r': 8, 'lora_alpha': 16}}.")
    return flat | {f"peft_config.{name}": value for name, value in config.items()}


def _check_name(name: str) -> None:
    if name not in KNOWN:
        near = NEAR.get(name) or nearest(name, KNOWN)
        hint = f"Did you mean '{near}'?" if near else f"Known are {', '.join(KNOWN)}."
        raise SettingError(f"Unknown setting {name!r}. {hint}")


def _check_use(name: str, strategy: str, optimizer: object) -> None:
    if (name.startswith("peft_config.") or name in LORA_ONLY) and strategy != "peft":
        raise SettingError(f"'{name}' changes nothing with tuning_strategy {strategy!r}; leave it out, or choose 'peft'.")
    if strategy == "inference" and OTHER_NAMES.get(name, name) in (*TRAINING, *WITHHOLDING):
        raise SettingError(
            f"'{name}' changes nothing with tuning_strategy 'inference', which neither trains nor withholds rows; leave it out."
        )
    if name in ADAM_ONLY and optimizer == "sgd":
        raise SettingError(f"'{name}' changes nothing with the optimizer 'sgd'; leave it out, or choose 'adamw'.")
