"""Sweep settings <-> the values of widgets. A widget's key is the name of its setting; its tooltip is the field's docstring.

In: widget values by key, also out of the address bar. Out: checked settings, or the SettingError that says what to change.
"""

import re
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.views.new_run.typed_values import read_numbers, read_seeds, written, written_rate
from tabtune_core.errors import SettingError
from tabtune_core.metrics import SELECTION, Task
from tabtune_core.settings import LoraSettings, RunSettings, SplitBy, SweepSettings, TrainSettings, read_pattern
from tabtune_core.settings.serialization import read_target_set, written_targets

LORA_FIELDS = ("bias", "use_rslora", "use_dora", "init_lora_weights")
PATTERNS: dict[str, type[int] | type[float]] = {"rank_pattern": int, "alpha_pattern": float}
"""Kept in a field of lines such as ``decoder = 4``."""
TRAIN_FIELDS = (
    "epochs",
    "time_limit",
    "rate_scales_with_rank",
    "lr_ratio",
    "optimizer",
    "batch_size",
    "context_rows",
    "predict_context_rows",
    "episode_set",
    "views",
    "validation_rows",
    "test_rows",
    "weight_decay",
    "eps",
    "class_weights",
    "schedule",
    "warmup_ratio",
    "warmup_steps",
    "clip_norm",
    "amp",
    "gradient_checkpointing",
    "cuda_graph",
    "eval_every",
    "patience",
)
RUN_FIELDS = ("model", "device", "validation_share", "test_share", "split_seed", "test_rows_move")
SWEEP_FIELDS = ("zero_shot", "full_fine_tuning", "references")
DECIMALS = (
    *("weight_decay", "beta_1", "beta_2", "eps", "warmup_ratio", "clip_norm"),
    *("lr_ratio", "time_limit", "validation_share", "test_share"),
)
"""Settings that may be whole in a file, where a field of decimals takes no whole number."""


LARGEST_WHOLE = 2**53 - 1
"""A browser counts no further."""
USUAL_ALPHA = 16.0
"""Shown when alpha is no longer tied to the rank."""


def to_widgets(sweep: SweepSettings) -> dict[str, Any]:
    """The value of every widget that shows this sweep; the table, the target and its task are the Data page's."""
    run, lora, train = sweep.run, sweep.run.lora, sweep.run.train
    values = {
        **{name: getattr(run, name) for name in RUN_FIELDS},
        **{name: getattr(lora, name) for name in LORA_FIELDS},
        **{name: getattr(train, name) for name in TRAIN_FIELDS},
        **{name: getattr(sweep, name) for name in SWEEP_FIELDS},
        **{name: "\n".join(f"{part} = {value}" for part, value in getattr(lora, name).items()) for name in PATTERNS},
        "selection_metric": run.selection_metric,
        "checkpoint": run.checkpoint or "",
        "ranks": list(sweep.ranks),
        **_axis_values(sweep),
        "seeds": ", ".join(str(seed) for seed in sweep.seeds),
        "length": "epochs" if train.steps is None else "steps",
        "steps": train.steps or 100,
        "beta_1": train.betas[0],
        "beta_2": train.betas[1],
    }
    return values | {name: float(values[name]) for name in DECIMALS if values[name] is not None}


def _axis_values(sweep: SweepSettings) -> dict[str, Any]:
    """Values of the axes as the lists that a person can type into; the first set of parts has a picker of its own."""
    lora, rate = sweep.run.lora, sweep.run.train.learning_rate
    alphas = sweep.alphas or (() if lora.alpha is None else (lora.alpha,))
    first, *others = sweep.target_sets or (lora.targets,)
    return {
        "tied": not alphas,
        "alphas": [written(alpha) for alpha in alphas or (USUAL_ALPHA,)],
        "dropouts": [written(dropout) for dropout in sweep.dropouts or (lora.dropout,)],
        "targets": list(first),
        "target_sets": [written_targets(targets) for targets in others],
        "learning_rates": [written_rate(one) for one in sweep.learning_rates or (() if rate is None else (rate,))],
        "full_learning_rates": [written_rate(one) for one in sweep.full_learning_rates],
    }


def to_sweep(
    values: Mapping[str, Any],
    *,
    dataset: str,
    target: str,
    task: Task = "classification",
    split_at_median: bool = False,
    split: tuple[SplitBy, str | None] = ("random", None),
) -> SweepSettings:
    """The sweep that the widgets describe; a widget that is not there has its default.

    Raises:
        SettingError: naming the setting and what would do.
    """
    values = {**DEFAULTS, "selection_metric": SELECTION[task], **values}
    if values["optimizer"] == "sgd":  # which shows no fields for what it does not use
        values |= {name: DEFAULTS[name] for name in ("beta_1", "beta_2", "eps")}
    if values["test_rows_move"]:  # which has no seed of their own
        values["split_seed"] = DEFAULTS["split_seed"]
    if task == "regression":  # which has no classes to weigh
        values["class_weights"] = DEFAULTS["class_weights"]
    alphas = () if values["tied"] else read_numbers("Alpha", values["alphas"])
    if not alphas and not values["tied"]:
        raise SettingError("Alpha has no value; type one, or tie it to the rank.")
    dropouts = read_numbers("Dropout", values["dropouts"]) or (LoraSettings().dropout,)
    rates = read_numbers("The learning rate", values["learning_rates"])
    sets = dict.fromkeys((tuple(values["targets"]), *map(read_target_set, values["target_sets"])))
    patterns: dict[str, Any] = {
        name: read_pattern(filter(str.strip, re.split("[\n,]", values[name])), kind) for name, kind in PATTERNS.items()
    }
    lora = LoraSettings(
        alpha=alphas[0] if alphas else None,
        dropout=dropouts[0],
        targets=next(iter(sets)),
        **{name: values[name] for name in LORA_FIELDS},
        **patterns,
    )
    train = TrainSettings(
        steps=values["steps"] if values["length"] == "steps" else None,
        learning_rate=rates[0] if rates else None,
        betas=(values["beta_1"], values["beta_2"]),
        selection_metric=None if values["selection_metric"] == SELECTION[task] else values["selection_metric"],
        **{name: values[name] for name in TRAIN_FIELDS},
    )
    run = RunSettings(
        dataset=dataset,
        target=target,
        task=task,
        split_at_median=split_at_median,
        split_by=split[0],
        split_column=split[1],
        checkpoint=values["checkpoint"].strip() or None,
        lora=lora,
        train=train,
        **{name: values[name] for name in RUN_FIELDS},
    )
    axes: dict[str, Any] = {"alphas": alphas, "dropouts": dropouts, "target_sets": tuple(sets), "learning_rates": rates}
    full_rates = read_numbers("The rate of full fine-tuning", values["full_learning_rates"]) if values["full_fine_tuning"] else ()
    return SweepSettings(
        run=run,
        ranks=tuple(sorted(values["ranks"])),
        full_learning_rates=full_rates,
        seeds=read_seeds(values["seeds"]),
        **{name: axis for name, axis in axes.items() if len(axis) > 1 and values["ranks"]},
        **{name: values[name] for name in SWEEP_FIELDS},
    )


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


def sweep_name(table: str, model: str, sweep: SweepSettings) -> str:
    """What lists call a sweep: the table, the model, and what is compared."""
    ranks = f"r = {', '.join(map(str, sweep.ranks))}" if sweep.ranks else ""
    axes = {"alpha": sweep.alphas, "dropout": sweep.dropouts, "rate": sweep.learning_rates}
    others = [f"{name} {', '.join(map(written, values))}" for name, values in axes.items() if values]
    parts = [f"{len(sweep.target_sets)} sets of target modules"] if sweep.target_sets else []
    return "; ".join(part for part in (", ".join(filter(None, (f"{table}: {model}", ranks))), *others, *parts, sweep.run.split) if part)
