"""Sweep settings <-> the values of widgets. A widget's key is the name of its setting; its tooltip is the field's docstring.

In: widget values by key, also out of the address bar. Out: checked settings, or the SettingError that says what to change.
"""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from tabtune_core.errors import SettingError
from tabtune_core.metrics import SELECTION, Task
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings, read_pattern

LORA_FIELDS = ("dropout", "targets", "bias", "use_rslora", "use_dora")
PATTERNS: dict[str, type[int] | type[float]] = {"rank_pattern": int, "alpha_pattern": float}
"""Kept in a field of lines such as ``decoder = 4``."""
TRAIN_FIELDS = (
    "epochs",
    "learning_rate",
    "rate_scales_with_rank",
    "lr_ratio",
    "optimizer",
    "batch_size",
    "context_rows",
    "views",
    "validation_rows",
    "test_rows",
    "weight_decay",
    "eps",
    "schedule",
    "warmup_ratio",
    "warmup_steps",
    "clip_norm",
    "amp",
    "gradient_checkpointing",
    "eval_every",
    "patience",
)
RUN_FIELDS = ("model", "device", "validation_share", "test_share")
SWEEP_FIELDS = ("zero_shot", "full_fine_tuning")
DECIMALS = (
    *("dropout", "alpha", "learning_rate", "weight_decay", "beta_1", "beta_2", "eps", "warmup_ratio", "clip_norm"),
    *("lr_ratio", "validation_share", "test_share"),
)
"""Settings that may be whole in a file, where a field of decimals takes no whole number."""


LARGEST_WHOLE = 2**53 - 1
"""A browser counts no further."""


def to_widgets(sweep: SweepSettings) -> dict[str, Any]:
    """The value of every widget that shows this sweep; the table, the target and its task are the Data page's."""
    run, lora, train = sweep.run, sweep.run.lora, sweep.run.train
    values = {
        **{name: getattr(run, name) for name in RUN_FIELDS},
        **{name: getattr(lora, name) for name in LORA_FIELDS},
        **{name: getattr(train, name) for name in TRAIN_FIELDS},
        **{name: getattr(sweep, name) for name in SWEEP_FIELDS},
        **{name: "\n".join(f"{part} = {value}" for part, value in getattr(lora, name).items()) for name in PATTERNS},
        "targets": list(lora.targets),
        "selection_metric": run.selection_metric,
        "checkpoint": run.checkpoint or "",
        "ranks": list(sweep.ranks),
        "seeds": ", ".join(str(seed) for seed in sweep.seeds),
        "tied": lora.alpha is None,
        "alpha": 16.0 if lora.alpha is None else float(lora.alpha),
        "length": "epochs" if train.steps is None else "steps",
        "steps": train.steps or 100,
        "beta_1": train.betas[0],
        "beta_2": train.betas[1],
    }
    return values | {name: float(values[name]) for name in DECIMALS if values[name] is not None}


def to_sweep(
    values: Mapping[str, Any], *, dataset: str, target: str, task: Task = "classification", split_at_median: bool = False
) -> SweepSettings:
    """The sweep that the widgets describe; a widget that is not there has its default.

    Raises:
        SettingError: naming the setting and what would do.
    """
    values = {**DEFAULTS, "selection_metric": SELECTION[task], **values}
    if values["optimizer"] == "sgd":  # which shows no fields for what it does not use
        values |= {name: DEFAULTS[name] for name in ("beta_1", "beta_2", "eps")}
    lora = LoraSettings(
        alpha=None if values["tied"] else values["alpha"],
        **{name: values[name] for name in LORA_FIELDS},
        **{name: read_pattern(filter(str.strip, re.split("[\n,]", values[name])), kind) for name, kind in PATTERNS.items()},
    )
    train = TrainSettings(
        steps=values["steps"] if values["length"] == "steps" else None,
        betas=(values["beta_1"], values["beta_2"]),
        selection_metric=None if values["selection_metric"] == SELECTION[task] else values["selection_metric"],
        **{name: values[name] for name in TRAIN_FIELDS},
    )
    run = RunSettings(
        dataset=dataset,
        target=target,
        task=task,
        split_at_median=split_at_median,
        checkpoint=values["checkpoint"].strip() or None,
        lora=lora,
        train=train,
        **{name: values[name] for name in RUN_FIELDS},
    )
    return SweepSettings(
        run=run,
        ranks=tuple(sorted(values["ranks"])),
        seeds=read_seeds(values["seeds"]),
        **{name: values[name] for name in SWEEP_FIELDS},
    )


def read_seeds(text: str) -> tuple[int, ...]:
    """Whole numbers between commas or blanks.

    Raises:
        SettingError: for anything else.
    """
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isdecimal() for part in parts):
        raise SettingError(f"Seeds are {text!r}; write whole numbers with commas between them, for example 0, 1, 2.")
    return tuple(int(part) for part in parts)


DEFAULTS: dict[str, Any] = to_widgets(SweepSettings(run=RunSettings(dataset="-", target="-")))


def widget_values() -> dict[str, Any]:
    """What the widgets of this browser tab hold."""
    return {name: st.session_state[name] for name in DEFAULTS if name in st.session_state}


def fill(sweep: SweepSettings) -> None:
    """Puts a sweep into the widgets. To be called before they are drawn, for example as a callback.

    Raises:
        SettingError: for a whole number that no widget can hold; then nothing is put.
    """
    values = to_widgets(sweep)
    for name, value in [*values.items(), *(("ranks", rank) for rank in sweep.ranks)]:
        if isinstance(value, int) and value > LARGEST_WHOLE:
            raise SettingError(f"{name} is {value:,}; a page holds whole numbers up to {LARGEST_WHOLE:,}. Choose a smaller one.")
    for name, value in values.items():
        st.session_state[name] = value


def command_line(dataset: str, name: str, home: Path) -> str:
    """The command that runs the same sweep without the pages: on the table as it was read, from the settings saved as sweep.toml."""
    return shlex.join(["python", "-m", "tabtune_core", "sweep", dataset, "--settings", "sweep.toml", "--name", name, "--home", str(home)])
