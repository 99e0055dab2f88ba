"""Sweep settings <-> the values of widgets. A widget's key is the name of its setting; its tooltip is the field's docstring.

In: widget values by key, also out of the address bar. Out: checked settings, or the SettingError that says what to change.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import streamlit as st

from tabtune_core.errors import SettingError
from tabtune_core.metrics import METRICS, SELECTION
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import (
    LEARNING_RATES,
    Amp,
    LoraSettings,
    Optimizer,
    RunSettings,
    Schedule,
    SweepSettings,
    TrainSettings,
    describe,
)

RANKS = (1, 2, 4, 8, 16, 32, 64)
LORA_FIELDS = ("dropout", "targets")
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
    """The value of every widget that shows this sweep; the table, the target and the cut at the median are the Data page's."""
    run, lora, train = sweep.run, sweep.run.lora, sweep.run.train
    values = {
        **{name: getattr(run, name) for name in RUN_FIELDS},
        **{name: getattr(lora, name) for name in LORA_FIELDS},
        **{name: getattr(train, name) for name in TRAIN_FIELDS},
        **{name: getattr(sweep, name) for name in SWEEP_FIELDS},
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


def to_sweep(values: Mapping[str, Any], *, dataset: str, target: str, split_at_median: bool = False) -> SweepSettings:
    """The sweep that the widgets describe; a widget that is not there has its default.

    Raises:
        SettingError: naming the setting and what would do.
    """
    values = {**DEFAULTS, **values}
    lora = LoraSettings(alpha=None if values["tied"] else values["alpha"], **{name: values[name] for name in LORA_FIELDS})
    train = TrainSettings(
        steps=values["steps"] if values["length"] == "steps" else None,
        betas=(values["beta_1"], values["beta_2"]),
        selection_metric=None if values["selection_metric"] == SELECTION["classification"] else values["selection_metric"],
        **{name: values[name] for name in TRAIN_FIELDS},
    )
    run = RunSettings(
        dataset=dataset,
        target=target,
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


def _number(label: str, name: str, owner: type, *, low: float, high: float | None = None, step: float = 1, **more: Any) -> None:
    """A number field of one setting; whole numbers stay whole.

    Bounds are those of the library or wider, so that no valid value is turned away; what only the library refuses, it explains.
    """
    kind = float if name in DECIMALS else int
    if kind is float:
        more.setdefault("format", "%g")
    st.number_input(
        label,
        kind(low),
        None if high is None else kind(high),
        DEFAULTS[name],
        kind(step),
        key=name,
        help=more.pop("help", None) or describe(owner, name),
        bind="query-params",
        **more,
    )


def _choice(label: str, name: str, options: tuple[str, ...]) -> None:
    """A training setting that has one of a few values."""
    chosen = options.index(DEFAULTS[name])
    st.selectbox(label, options, chosen, key=name, help=describe(TrainSettings, name), bind="query-params")


def _switch(label: str, name: str) -> None:
    """A training setting that is on or off."""
    st.toggle(label, DEFAULTS[name], key=name, help=describe(TrainSettings, name), bind="query-params")


def lora_widgets(card: ModelCard) -> None:
    """Ranks, strength, dropout and the parts to adapt."""
    held = st.session_state.get("ranks") or []
    st.pills(
        "LoRA ranks to compare",
        sorted({*RANKS, *held}),
        selection_mode="multi",
        default=DEFAULTS["ranks"],
        key="ranks",
        help=describe(LoraSettings, "rank") + " Each rank is a run of its own.",
        bind="query-params",
        format_func=str,
    )
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        st.toggle("Tie alpha to twice the rank", DEFAULTS["tied"], key="tied", help=describe(LoraSettings, "alpha"), bind="query-params")
        if not st.session_state.tied:
            _number("Alpha, for every rank", "alpha", LoraSettings, low=0, step=1)
    with right:
        _number("Dropout before the adapter", "dropout", LoraSettings, low=0, high=1, step=0.05)
    parts = [*card.family.groups["classification"], *card.family.targets]
    st.multiselect(
        "Parts of the model to adapt",
        list(dict.fromkeys([*parts, *st.session_state.get("targets", [])])),
        key="targets",
        default=DEFAULTS["targets"],
        help=describe(LoraSettings, "targets"),
        placeholder="The model's own list (all of them)",
        bind="query-params",
    )


def training_widgets() -> None:
    """How long, how fast, and on how many rows a step."""
    one, two = st.columns(2, vertical_alignment="bottom")
    with one:
        st.segmented_control(
            "Length of training in",
            ["epochs", "steps"],
            default=DEFAULTS["length"],
            required=True,
            key="length",
            help="An epoch is one pass over the training rows; a step is one update of the adapter.",
            bind="query-params",
        )
    with two:
        if st.session_state.length == "steps":
            _number("Steps", "steps", TrainSettings, low=1, step=10)
        else:
            _number("Epochs", "epochs", TrainSettings, low=1, step=5)
    one, two, three = st.columns(3)
    with one:
        _number(
            "Learning rate of LoRA",
            "learning_rate",
            TrainSettings,
            low=0,
            high=1,
            step=1e-5,
            format="%.1e",
            placeholder=f"{LEARNING_RATES['peft']:.0e} (usual)",
        )
    with two:
        _number("Context rows", "context_rows", TrainSettings, low=10, step=128)
    with three:
        _number("Query rows a step (batch size)", "batch_size", TrainSettings, low=1, step=32)


def baseline_widgets() -> None:
    """What to compare with, and how often to repeat."""
    st.toggle(
        "Zero-shot: the model as it is",
        DEFAULTS["zero_shot"],
        key="zero_shot",
        help=describe(SweepSettings, "zero_shot"),
        bind="query-params",
    )
    st.toggle(
        "Full fine-tuning: every weight",
        DEFAULTS["full_fine_tuning"],
        key="full_fine_tuning",
        bind="query-params",
        help=describe(SweepSettings, "full_fine_tuning"),
    )
    st.text_input(
        "Seeds", DEFAULTS["seeds"], key="seeds", help=describe(SweepSettings, "seeds") + " For example 0, 1, 2.", bind="query-params"
    )


def device_widget(cards: list[str]) -> None:
    """Where to train. ``cards`` names the NVIDIA cards of this machine."""
    automatic = f"auto: {cards[0]}" if cards else "auto: cpu (no NVIDIA card found)"
    names = {"auto": automatic, "cpu": "cpu", **{f"cuda:{i}": f"cuda:{i} ({card})" for i, card in enumerate(cards)}}
    held = st.session_state.get("device", "auto")
    st.selectbox(
        "Device",
        list(dict.fromkeys([*names, held])),
        key="device",
        format_func=lambda name: names.get(name, name),
        help=describe(RunSettings, "device"),
        persist_state="session",
    )


def advanced_widgets() -> None:
    """What most people leave alone."""
    st.text_input(
        "Weights file to use instead of the model's own",
        DEFAULTS["checkpoint"],
        key="checkpoint",
        help=describe(RunSettings, "checkpoint"),
        placeholder="Path on this machine",
        bind="query-params",
    )
    held = st.session_state.get("selection_metric", DEFAULTS["selection_metric"])
    metrics = [metric.name for metric in METRICS.values() if metric.task == "classification" or metric.name == held]
    st.selectbox(
        "Score that decides",
        metrics,
        metrics.index(DEFAULTS["selection_metric"]),
        key="selection_metric",
        bind="query-params",
        help=describe(TrainSettings, "selection_metric"),
    )
    with st.grid(min_column_width=180):
        _choice("Optimizer", "optimizer", get_args(Optimizer))
        _choice("Schedule after the warm-up", "schedule", get_args(Schedule))
        _choice("16-bit training", "amp", get_args(Amp))
    _switch("Recompute activations (gradient checkpointing)", "gradient_checkpointing")
    _switch("Scale the rate with the rank", "rate_scales_with_rank")
    with st.grid(min_column_width=180):
        _number("Views a prediction", "views", TrainSettings, low=1)
        _number("Steps between looks", "eval_every", TrainSettings, low=1)
        _number("Patience (looks)", "patience", TrainSettings, low=0)
        _number("Warm-up (share of steps)", "warmup_ratio", TrainSettings, low=0, high=1, step=0.05)
        _number("Warm-up (steps)", "warmup_steps", TrainSettings, low=0, step=10, placeholder="by share")
        _number("Gradient clipping (norm)", "clip_norm", TrainSettings, low=0, step=0.1)
        _number("Rate of B against A (LoRA+)", "lr_ratio", TrainSettings, low=0)
        _number("Weight decay", "weight_decay", TrainSettings, low=0, high=1, step=0.01)
        _number("Beta 1", "beta_1", TrainSettings, low=0, high=1, step=0.01, help=describe(TrainSettings, "betas"))
        _number("Beta 2", "beta_2", TrainSettings, low=0, high=1, step=0.001, help=describe(TrainSettings, "betas"))
        _number("Epsilon", "eps", TrainSettings, low=0, high=1, step=1e-8, format="%.0e")
        _number("Validation rows (share)", "validation_share", RunSettings, low=0.05, high=0.5, step=0.05)
        _number("Test rows (share)", "test_share", RunSettings, low=0.05, high=0.5, step=0.05)
        _number("Most validation rows", "validation_rows", TrainSettings, low=10, step=500)
        _number("Most test rows", "test_rows", TrainSettings, low=10, step=1000)
