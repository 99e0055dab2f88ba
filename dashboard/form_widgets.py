"""The widgets of a sweep's settings, by what they are about. Keys and defaults are those of forms.py; a tooltip is the field's docstring.

In: what the form is for, such as a model and a task. Out: widgets, whose values this browser tab and its address bar hold.
"""

from typing import Any, get_args, get_type_hints

import streamlit as st

from dashboard.forms import DECIMALS, DEFAULTS
from tabtune_core.metrics import METRICS, SELECTION, Task, metrics_of
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import LEARNING_RATES, LoraSettings, RunSettings, SweepSettings, TrainSettings, describe

RANKS = (1, 2, 4, 8, 16, 32, 64)


def _number(label: str, name: str, owner: type, *, low: float, high: float | None = None, step: float = 1, **more: Any) -> None:
    """A number field of one setting; whole numbers stay whole.

    Bounds are those of the library or wider, so that no valid value is turned away; what only the library refuses, it explains.
    """
    kind = float if name in DECIMALS else int
    if kind is float:
        more.setdefault("format", "%g")
    st.number_input(
        label, kind(low), None if high is None else kind(high), DEFAULTS[name], kind(step), key=name,
        help=more.pop("help", None) or describe(owner, name), bind="query-params", **more,
    )  # fmt: skip


def _choice(label: str, name: str, owner: type) -> None:
    """A setting that has one of a few values."""
    options = get_args(get_type_hints(owner)[name])
    st.selectbox(label, options, options.index(DEFAULTS[name]), key=name, help=describe(owner, name), bind="query-params")


def _switch(label: str, name: str, owner: type, about: str | None = None) -> None:
    """A setting that is on or off; ``about`` is the field it sets, where that has another name."""
    st.toggle(label, DEFAULTS[name], key=name, help=describe(owner, about or name), bind="query-params")


def _text(label: str, name: str, owner: type, **more: Any) -> None:
    """A setting that is typed."""
    more.setdefault("help", describe(owner, name))
    st.text_input(label, DEFAULTS[name], key=name, bind="query-params", **more)


def parts_of(card: ModelCard, task: Task) -> list[str]:
    """Names of what can be adapted, groups first."""
    return list(dict.fromkeys([*card.family.groups[task], *card.family.targets]))


def lora_widgets(card: ModelCard, task: Task) -> None:
    """Ranks, strength, dropout and the parts to adapt."""
    held = st.session_state.get("ranks") or []
    st.pills(
        "LoRA ranks to compare", sorted({*RANKS, *held}), selection_mode="multi", default=DEFAULTS["ranks"], key="ranks",
        help=describe(LoraSettings, "rank") + " Each rank is a run of its own.", bind="query-params", format_func=str,
    )  # fmt: skip
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        _switch("Tie alpha to twice the rank", "tied", LoraSettings, "alpha")
        if not st.session_state.tied:
            _number("Alpha, for every rank", "alpha", LoraSettings, low=0, step=1)
    with right:
        _number("Dropout before the adapter", "dropout", LoraSettings, low=0, high=1, step=0.05)
    parts = dict.fromkeys([*parts_of(card, task), *st.session_state.get("targets", [])])
    st.multiselect(
        "Parts of the model to adapt", list(parts), key="targets",
        default=DEFAULTS["targets"], help=describe(LoraSettings, "targets"), placeholder="The model's own list (all of them)",
        bind="query-params",
    )  # fmt: skip


def training_widgets() -> None:
    """How long, how fast, and on how many rows a step."""
    one, two = st.columns(2, vertical_alignment="bottom")
    with one:
        st.segmented_control(
            "Length of training in", ["epochs", "steps"], default=DEFAULTS["length"], required=True, key="length",
            help="An epoch is one pass over the training rows; a step is one update of the adapter.", bind="query-params",
        )  # fmt: skip
    with two:
        if st.session_state.length == "steps":
            _number("Steps", "steps", TrainSettings, low=1, step=10)
        else:
            _number("Epochs", "epochs", TrainSettings, low=1, step=5)
    one, two, three = st.columns(3)
    with one:
        usual = f"{LEARNING_RATES['peft']:.0e} (usual)"
        _number("Learning rate of LoRA", "learning_rate", TrainSettings, low=0, high=1, step=1e-5, format="%.1e", placeholder=usual)
    with two:
        _number("Context rows", "context_rows", TrainSettings, low=10, step=128)
    with three:
        _number("Query rows a step (batch size)", "batch_size", TrainSettings, low=1, step=32)


def baseline_widgets() -> None:
    """What to compare with, and how often to repeat."""
    _switch("Zero-shot: the model as it is", "zero_shot", SweepSettings)
    _switch("Full fine-tuning: every weight", "full_fine_tuning", SweepSettings)
    _text("Seeds", "seeds", SweepSettings, help=describe(SweepSettings, "seeds") + " For example 0, 1, 2.")


def device_widget(cards: list[str]) -> None:
    """Where to train. ``cards`` names the NVIDIA cards of this machine."""
    automatic = f"auto: {cards[0]}" if cards else "auto: cpu (no NVIDIA card found)"
    names = {"auto": automatic, "cpu": "cpu", **{f"cuda:{i}": f"cuda:{i} ({card})" for i, card in enumerate(cards)}}
    held = st.session_state.get("device", "auto")
    st.selectbox(
        "Device", list(dict.fromkeys([*names, held])), key="device", format_func=lambda name: names.get(name, name),
        help=describe(RunSettings, "device"), persist_state="session",
    )  # fmt: skip


def advanced_widgets(task: Task) -> None:
    """What most people leave alone."""
    adapter, optimizer, memory, choosing, rows = st.tabs(["Adapter", "Optimizer", "Memory and time", "Best state", "Rows, weights"])
    with adapter:
        _adapter_widgets()
    with optimizer:
        _optimizer_widgets()
    with memory:
        with st.grid(min_column_width=180):
            _choice("16-bit training (CUDA card only)", "amp", TrainSettings)
            _number("Views a prediction", "views", TrainSettings, low=1)
        _switch("Recompute activations (gradient checkpointing)", "gradient_checkpointing", TrainSettings)
    with choosing:
        metrics = metrics_of(task)
        if st.session_state.get("selection_metric", metrics[0]) not in metrics:  # of another task
            st.session_state["selection_metric"] = SELECTION[task]
        st.selectbox(
            "Score that decides", metrics, metrics.index(SELECTION[task]), key="selection_metric",
            format_func=lambda name: METRICS[name].label, help=describe(TrainSettings, "selection_metric"), bind="query-params",
        )  # fmt: skip
        with st.grid(min_column_width=180):
            _number("Steps between looks", "eval_every", TrainSettings, low=1)
            _number("Patience (0: never stop)", "patience", TrainSettings, low=0)
    with rows:
        with st.grid(min_column_width=180):
            _number("Validation rows (share)", "validation_share", RunSettings, low=0.05, high=0.5, step=0.05)
            _number("Test rows (share)", "test_share", RunSettings, low=0.05, high=0.5, step=0.05)
            _number("Most validation rows", "validation_rows", TrainSettings, low=10, step=500)
            _number("Most test rows", "test_rows", TrainSettings, low=10, step=1000)
        _text("Weights file to use instead of the model's own", "checkpoint", RunSettings, placeholder="Path on this machine")


def _adapter_widgets() -> None:
    with st.grid(min_column_width=180):
        _choice("Biases that train", "bias", LoraSettings)
        _number("Rate of B against A (LoRA+)", "lr_ratio", TrainSettings, low=0)
    _switch("Scale by alpha / root of the rank (rsLoRA)", "use_rslora", LoraSettings)
    _switch("Scale the rate with the rank", "rate_scales_with_rank", TrainSettings)
    _switch("Train lengths beside directions (DoRA)", "use_dora", LoraSettings)
    with st.grid(min_column_width=240):
        for label, name, shown in (("Other ranks", "rank_pattern", "decoder = 4"), ("Other alphas", "alpha_pattern", "decoder = 8")):
            st.text_area(
                label, DEFAULTS[name], key=name, height=90, help=describe(LoraSettings, name), placeholder=f"{shown}\none a line",
                bind="query-params",
            )  # fmt: skip


def _optimizer_widgets() -> None:
    with st.grid(min_column_width=180):
        _choice("Optimizer", "optimizer", TrainSettings)
        _number("Weight decay", "weight_decay", TrainSettings, low=0, high=1, step=0.01)
        _number("Gradient clipping (0: none)", "clip_norm", TrainSettings, low=0, step=0.1)
        _choice("Schedule after the warm-up", "schedule", TrainSettings)
        _number("Warm-up (share of steps)", "warmup_ratio", TrainSettings, low=0, high=1, step=0.05)
        _number("Warm-up (steps)", "warmup_steps", TrainSettings, low=0, step=10, placeholder="by share")
        if st.session_state.optimizer != "sgd":
            _number("Beta 1", "beta_1", TrainSettings, low=0, high=1, step=0.01, help=describe(TrainSettings, "betas"))
            _number("Beta 2", "beta_2", TrainSettings, low=0, high=1, step=0.001, help=describe(TrainSettings, "betas"))
            _number("Epsilon", "eps", TrainSettings, low=0, high=1, step=1e-8, format="%.0e")
