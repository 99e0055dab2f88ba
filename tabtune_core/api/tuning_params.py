"""The guide's names for settings: ``tuning_params`` and ``peft_config`` of a pipeline.

In: the arguments of a pipeline. Out: the settings of a run, or an error that suggests the nearest name. A key that
would change nothing is refused.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tabtune_core.errors import SettingError, nearest
from tabtune_core.models.catalogue import CATALOGUE, with_usual_rate
from tabtune_core.settings import LEARNING_RATES, LORA, MODELS, SETTINGS, TRAINED, RunSettings, Setting
from tabtune_core.settings.serialization import plain_values

FAMILY_MODELS: dict[str, tuple[str, str]] = {}
for _card in CATALOGUE.values():
    if not _card.in_the_box:
        FAMILY_MODELS.setdefault(_card.family.name, (f"TABTUNE_{_card.family.name.upper()}", _card.name))
"""By family name: the environment variable that can name a model, and the default, the family's first release in the
catalogue.
"""
ARGUMENTS: dict[str, Setting] = {
    f"{'peft_config.' if row.section == 'lora' else ''}{row.argument or row.name}": row
    for row in SETTINGS.values()
    if row.argument is not None
}
"""Settings that a pipeline takes, by the guide's and PEFT's names."""
WITHHOLDING = ("validation_share", "validation_rows", "split_by", "split_column")
"""Settings of the validation rows. 'inference' has no such rows; a leaderboard uses the same for all entries."""
OTHER_NAMES = {"peft_config.lr_ratio": "lr_ratio", "max_grad_norm": "clip_norm", "gradient_clipping": "clip_norm"}
"""Other accepted names: the guide's section 12.1 has the ratio beside r; other libraries use the other two."""
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
"""Suggestions for common names that are spelled too differently from ours to be found by their letters."""
KNOWN = (*ARGUMENTS, *OTHER_NAMES, "peft_config")
NESTED = {
    written: name
    for name, row in ARGUMENTS.items()
    if row.section == "lora"
    for short in (row.name, name.removeprefix("peft_config."))
    for written in (short, f"lora_{short}", f"peft_config__{short}")
}
"""Names that may follow ``tuning_params__`` for a setting of ``peft_config``."""


def model_of(name: str) -> str:
    """Returns the catalogue's name of a model, for a model or a family.

    Raises:
        SettingError: naming the models that exist.
    """
    if name in FAMILY_MODELS:
        variable, current = FAMILY_MODELS[name]
        name = os.environ.get(variable, current)
    if name not in CATALOGUE:
        raise SettingError(
            f"There is no model {name!r}; choose {', '.join(FAMILY_MODELS)} or one of {', '.join(CATALOGUE)}."
        )
    return name


def read_params(
    model_name: str, tuning_strategy: str, tuning_params: Mapping[str, Any] | None, task: str
) -> RunSettings:
    """Returns the settings that a pipeline's arguments stand for.

    Raises:
        SettingError: naming the argument, its value and what is allowed.
    """
    if tuning_strategy not in MODELS:
        raise SettingError(f"tuning_strategy is {tuning_strategy!r}; it must be one of {', '.join(map(repr, MODELS))}.")
    params = _flat(tuning_params or {})
    for name in params:
        _check_name(name)
        _check_use(name, tuning_strategy, params)
    for name in [name for name in OTHER_NAMES if name in params]:
        if OTHER_NAMES[name] in params:
            raise SettingError(f"'{name}' and '{OTHER_NAMES[name]}' are the same setting; give one of them.")
        params[OTHER_NAMES[name]] = params.pop(name)
    rows = {name: ARGUMENTS[name] for name in params if name in ARGUMENTS}
    values = {row.name: params[name] for name, row in rows.items() if row.section != "lora" or params[name] is not None}
    if values.get("init_lora_weights") is True:  # PEFT's own default
        del values["init_lora_weights"]
    if isinstance(values.get("targets"), str):
        values["targets"] = (values["targets"],)
    run = RunSettings(dataset="(in memory)", target="y")
    return with_usual_rate(run.changed(task=task, model=model_of(model_name), strategy=tuning_strategy, **values))


def changed_params(params: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``tuning_params`` with single settings changed.

    >>> changed_params({"steps": 5, "peft_config": {"r": 2}}, {"steps": 7, "lora_rank": 4, "peft_config__lora_alpha": 8})
    {'steps': 7, 'peft_config': {'r': 4, 'lora_alpha': 8}}

    Raises:
        SettingError: a name is unknown; the error suggests the nearest known one.
    """  # noqa: E501
    flat = _flat(params or {})
    for written, value in changes.items():
        name = NESTED.get(written, written)
        _check_name(name)
        if name == "peft_config":
            flat = {old: kept for old, kept in flat.items() if not old.startswith("peft_config.")}
        flat |= _flat({name: value})
    config = {
        name.removeprefix("peft_config."): flat.pop(name) for name in list(flat) if name.startswith("peft_config.")
    }
    return flat | ({"peft_config": config} if config else {})


def write_params(settings: RunSettings) -> dict[str, Any]:
    """Returns the arguments of a pipeline for these settings, without defaults. The checkpoint is named without its
    folder.

    >>> write_params(RunSettings(dataset="d", target="y").changed(seed=1, epochs=3))["tuning_params"]
    {'seed': 1, 'epochs': 3}
    """
    values = plain_values(
        {name: settings.value(row.name) for name, row in ARGUMENTS.items() if not settings.is_usual(row.name)}
    )
    useless = WITHHOLDING if settings.strategy == "inference" else ()
    params = {
        name: value
        for name, value in values.items()
        if settings.strategy in ARGUMENTS[name].strategies and name not in useless
    }
    config = {name: params.pop(name) for name in list(params) if name.startswith("peft_config.")}
    if config:
        params["peft_config"] = {name.removeprefix("peft_config."): value for name, value in config.items()}
    if "checkpoint" in params:
        params["checkpoint"] = Path(params["checkpoint"]).name
    return {
        "model_name": settings.model,
        "tuning_strategy": settings.strategy,
        "tuning_params": params,
        "task": settings.task,
    }


def params_today(params: Mapping[str, Any]) -> dict[str, Any]:
    """Converts the arguments of a pipeline saved by any version: earlier ones used ``context_rows`` and withheld rows
    for 'inference' too, and their default learning rate was the guide's.
    """
    tuning = dict(params.get("tuning_params") or {})
    if params.get("tuning_strategy") in TRAINED:
        tuning.setdefault("learning_rate", LEARNING_RATES[params["tuning_strategy"]])
    if params.get("tuning_strategy") == "inference":
        if "context_rows" in tuning:
            tuning["predict_context_rows"] = tuning.pop("context_rows")
        tuning = {name: value for name, value in tuning.items() if name not in WITHHOLDING}
    return {**params, "tuning_params": tuning}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens ``peft_config`` to ``peft_config.r`` and so on, and turns NumPy scalars, which a search may draw, into
    Python numbers.
    """
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        raise SettingError(
            f"'tuning_params' is {params!r}; it must be a dictionary such as {{'steps': 100, 'peft_config': {{'r': "
            f"8}}}}."
        )
    flat = {name: value for name, value in params.items() if name != "peft_config"}
    config = params.get("peft_config") or {}
    if not isinstance(config, Mapping):
        raise SettingError(
            f"'peft_config' is {config!r}; it must be a dictionary such as {{'r': 8, 'lora_alpha': 16}}."
        )
    flat |= {f"peft_config.{name}": value for name, value in config.items()}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in flat.items()}


def _check_name(name: str) -> None:
    if name not in KNOWN:
        near = NEAR.get(name) or nearest(name, KNOWN)
        hint = f"Did you mean '{near}'?" if near else f"Known are {', '.join(KNOWN)}."
        raise SettingError(f"Unknown setting {name!r}. {hint}")


def _check_use(name: str, strategy: str, params: Mapping[str, Any]) -> None:
    row = ARGUMENTS.get(OTHER_NAMES.get(name, name))
    if row is None:  # peft_config as a whole
        return
    if row.strategies == LORA and strategy != "peft":
        raise SettingError(
            f"'{name}' changes nothing with tuning_strategy {strategy!r}; leave it out, or choose 'peft'."
        )
    if strategy not in row.strategies or (strategy == "inference" and row.name in WITHHOLDING):
        raise SettingError(
            f"'{name}' changes nothing with tuning_strategy 'inference', which neither trains nor withholds rows; "
            "leave it out."
        )
    if row.idle and params.get(row.idle.other) == row.idle.value:
        raise SettingError(f"'{name}' changes nothing {row.idle.why}")
