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
from tabtune_core.settings import LORA, MODELS, SETTINGS, RunSettings
from tabtune_core.settings.serialization import plain_values

FAMILY_MODELS: dict[str, tuple[str, str]] = {}
for _card in CATALOGUE.values():
    if not _card.in_the_box:
        FAMILY_MODELS.setdefault(_card.family.name, (f"TABTUNE_{_card.family.name.upper()}", _card.name))
"""By family name: the environment variable that can name a model, and the default, its first release."""
CONFIG = "peft_config."
_TAKEN = [row for row in SETTINGS.values() if row.argument is not None]
ARGUMENTS = {f"{CONFIG if row.section == 'lora' else ''}{row.argument or row.name}": row for row in _TAKEN}
"""Settings that a pipeline takes, by the guide's and PEFT's names."""
WITHHOLDING = ("validation_share", "validation_rows", "split_by", "split_column")
"""Settings of the validation rows. 'inference' has no such rows; a leaderboard uses the same for all entries."""
RATIO = "peft_config.lr_ratio"
"""Another name of ``lr_ratio``: the guide's section 12.1 has it beside r."""
NEAR = {
    **{"lr": "learning_rate", "random_state": "seed", "n_epochs": "epochs", "max_epochs": "epochs"},
    **{"n_estimators": "views", "rank": "peft_config.r", "alpha": "peft_config.lora_alpha"},
    **{"dropout": "peft_config.lora_dropout", "targets": "peft_config.target_modules"},
    **{"max_grad_norm": "clip_norm", "gradient_clipping": "clip_norm"},
}
"""Suggestions for common names that are spelled too differently from ours to be found by their letters."""
NESTED = {f"lora_{row.name}": name for name, row in ARGUMENTS.items() if row.section == "lora"}
"""Names that may follow ``tuning_params__`` for a setting of ``peft_config``, beside ``peft_config__r`` and so on."""


def model_of(name: str) -> str:
    """Returns the catalogue's name of a model, for a model or a family; SettingError names the models that exist."""
    if name in FAMILY_MODELS:
        variable, current = FAMILY_MODELS[name]
        name = os.environ.get(variable, current)
    if name not in CATALOGUE:
        known = f"choose {', '.join(FAMILY_MODELS)} or one of {', '.join(CATALOGUE)}"
        raise SettingError(f"There is no model {name!r}; {known}.")
    return name


def read_params(
    model_name: str, tuning_strategy: str, tuning_params: Mapping[str, Any] | None, task: str
) -> RunSettings:
    """Returns the settings of a pipeline's arguments; SettingError names the argument and what is allowed."""
    if tuning_strategy not in MODELS:
        raise SettingError(f"tuning_strategy is {tuning_strategy!r}; it must be one of {', '.join(map(repr, MODELS))}.")
    params = _flat(tuning_params or {})
    for name in params:
        _check_name(name)
        _check_use(name, tuning_strategy, params)
    rows = {name: ARGUMENTS[name] for name in params}
    values = {row.name: params[name] for name, row in rows.items() if row.section != "lora" or params[name] is not None}
    if values.get("init_lora_weights") is True:  # PEFT's own default
        del values["init_lora_weights"]
    if isinstance(values.get("targets"), str):
        values["targets"] = (values["targets"],)
    run = RunSettings(dataset="(in memory)", target="y")
    return with_usual_rate(run.changed(task=task, model=model_of(model_name), strategy=tuning_strategy, **values))


def changed_params(params: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``tuning_params`` with single settings changed; SettingError suggests the nearest known name.

    >>> changed_params({"steps": 5, "peft_config": {"r": 2}}, {"lora_rank": 4, "peft_config__lora_alpha": 8})
    {'steps': 5, 'peft_config': {'r': 4, 'lora_alpha': 8}}
    """
    flat = _flat(params or {})
    for written, value in changes.items():
        new = _flat({NESTED.get(written, written.replace("peft_config__", CONFIG)): value})
        for name in new:
            _check_name(name)
        if written == "peft_config":
            flat = {old: kept for old, kept in flat.items() if not old.startswith(CONFIG)}
        flat |= new
    return _nested(flat)


def write_params(settings: RunSettings) -> dict[str, Any]:
    """Returns the arguments of a pipeline for these settings, without defaults and without the checkpoint's folder.

    >>> write_params(RunSettings(dataset="d", target="y").changed(seed=1, epochs=3))["tuning_params"]
    {'seed': 1, 'epochs': 3}
    """
    used = {name: row for name, row in ARGUMENTS.items() if settings.strategy in row.strategies}
    useless = WITHHOLDING if settings.strategy == "inference" else ()
    changed = [name for name, row in used.items() if name not in useless and not settings.is_usual(row.name)]
    params = _nested(plain_values({name: settings.value(used[name].name) for name in changed}))
    if "checkpoint" in params:
        params["checkpoint"] = Path(params["checkpoint"]).name
    strategy = {"model_name": settings.model, "tuning_strategy": settings.strategy}
    return {**strategy, "tuning_params": params, "task": settings.task}


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens ``peft_config`` to ``peft_config.r`` and so on; NumPy scalars, as of a search, become plain."""
    if not isinstance(params, Mapping) or not all(isinstance(name, str) for name in params):
        example = "{'steps': 100, 'peft_config': {'r': 8}}"
        raise SettingError(f"'tuning_params' is {params!r}; it must be a dictionary such as {example}.")
    config = params.get("peft_config") or {}
    if not isinstance(config, Mapping):
        example = "{'r': 8, 'lora_alpha': 16}"
        raise SettingError(f"'peft_config' is {config!r}; it must be a dictionary such as {example}.")
    flat = {name: value for name, value in params.items() if name != "peft_config"}
    flat |= {f"{CONFIG}{name}": value for name, value in config.items()}
    if RATIO in flat and "lr_ratio" in flat:
        raise SettingError(f"'{RATIO}' and 'lr_ratio' are the same setting; give one of them.")
    flat = {"lr_ratio" if name == RATIO else name: value for name, value in flat.items()}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in flat.items()}


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    config = {name.removeprefix(CONFIG): value for name, value in flat.items() if name.startswith(CONFIG)}
    plain = {name: value for name, value in flat.items() if not name.startswith(CONFIG)}
    return plain | ({"peft_config": config} if config else {})


def _check_name(name: str) -> None:
    if name not in ARGUMENTS:
        near = NEAR.get(name) or nearest(name, ARGUMENTS)
        hint = f"Did you mean '{near}'?" if near else f"Known are {', '.join(ARGUMENTS)}."
        raise SettingError(f"Unknown setting {name!r}. {hint}")


def _check_use(name: str, strategy: str, params: Mapping[str, Any]) -> None:
    row, changes_nothing = ARGUMENTS[name], f"'{name}' changes nothing"
    if strategy not in row.strategies or (strategy == "inference" and row.name in WITHHOLDING):
        other = ", or choose 'peft'" if row.strategies == LORA else ""
        raise SettingError(f"{changes_nothing} with tuning_strategy {strategy!r}; leave it out{other}.")
    if row.idle and params.get(row.idle.other) == row.idle.value:
        raise SettingError(f"{changes_nothing} {row.idle.why}")
