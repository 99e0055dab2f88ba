"""The widgets of a sweep's usual settings. Keys and defaults are those of forms.py; a tooltip is the field's docstring.

In: what the form is for, such as a model and a task. Out: widgets, whose values this browser tab and its address bar hold.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_type_hints

import streamlit as st

from dashboard.components import tree_view
from dashboard.components.device_names import ON_A_CLUSTER, device_names, free_memory
from dashboard.formatting import plain
from dashboard.views.new_run.forms import DECIMALS, DEFAULTS
from dashboard.views.new_run.target_tree import as_data, paths_of, toggled
from tabtune_core.execution.cluster_file import Cluster
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import LEARNING_RATES, LoraSettings, RunSettings, SweepSettings, TrainSettings, describe
from tabtune_core.settings.labels import short_rate

RANKS = (1, 2, 4, 8, 16, 32, 64)
DROPOUTS = ("0", "0.05", "0.1", "0.2")
"""The guide's section 4.3."""
ALPHAS = ("4", "8", "16", "32", "64")
LORA_RATES = ("5e-5", "1e-4", "2e-4", "5e-4", "1e-3")
FULL_RATES = ("5e-6", "1e-5", "2e-5", "5e-5", "1e-4")
USUAL_RANK = 8
SEVERAL = "Choose several values to compare them in separate runs; type other values and press Enter."


def number_field(label: str, name: str, owner: type, *, low: float, high: float | None = None, step: float = 1, **more: Any) -> None:
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


def choice_field(label: str, name: str, owner: type) -> None:
    """A setting that has one of a few values."""
    options = get_args(get_type_hints(owner)[name])
    st.selectbox(label, options, options.index(DEFAULTS[name]), key=name, help=describe(owner, name), bind="query-params")


def switch_field(label: str, name: str, owner: type, about: str | None = None, told: str = "") -> None:
    """A setting that is on or off; ``about`` is the field it sets, where that has another name, ``told`` what it did so far."""
    st.toggle(label, DEFAULTS[name], key=name, help=f"{describe(owner, about or name)} {plain(told)}".rstrip(), bind="query-params")


def text_field(label: str, name: str, owner: type, **more: Any) -> None:
    """A setting that is typed."""
    more.setdefault("help", describe(owner, name))
    st.text_input(label, DEFAULTS[name], key=name, bind="query-params", **more)


def numbers_field(
    label: str, name: str, owner: type, usual: Iterable[str], *, about: str | None = None, told: str = "", **more: Any
) -> None:
    """A list of numbers of one setting, chosen or typed; ``about`` and ``told`` as for a switch."""
    held = st.session_state.get(name, [])
    st.multiselect(
        label,
        list(dict.fromkeys([*usual, *DEFAULTS[name], *held])),
        key=name,
        default=DEFAULTS[name],
        accept_new_options=True,
        help=" ".join(part for part in (describe(owner, about or name), SEVERAL, plain(told)) if part),
        bind="query-params",
        **more,
    )


def parts_of(card: ModelCard, task: Task) -> list[str]:
    """Names of what can be adapted: groups and the model's own parts first, then every block and layer."""
    return list(dict.fromkeys([*card.groups(task), *card.family.targets, *paths_of(card, task)]))


def lora_widgets(card: ModelCard, task: Task, told: Mapping[str, str]) -> None:
    """Ranks, strength, dropout and the parts to adapt. ``told`` says by setting what it did in runs so far."""
    held = st.session_state.get("ranks") or []
    st.pills(
        "LoRA ranks to compare",
        sorted({*RANKS, *held}),
        selection_mode="multi",
        default=DEFAULTS["ranks"],
        key="ranks",
        help=" ".join((describe(LoraSettings, "rank"), "Each rank is a separate run.", plain(told.get("rank", "")))),
        bind="query-params",
        format_func=str,
    )
    left, right = st.columns(2)
    with left:
        numbers_field(
            "Dropout before the adapter",
            "dropouts",
            LoraSettings,
            DROPOUTS,
            about="dropout",
            told=told.get("dropout", ""),
            placeholder="0.05",
        )
    with right:
        switch_field("Tie alpha to twice the rank", "tied", LoraSettings, "alpha", told.get("alpha", ""))
        if not st.session_state.tied:
            numbers_field("Alpha, for every rank", "alphas", LoraSettings, ALPHAS, about="alpha", placeholder="Type a number")
    target_widgets(card, task, told.get("targets", ""))


def target_widgets(card: ModelCard, task: Task, told: str) -> None:
    """The set of parts to adapt, by name or in a tree of the model, and other sets to compare it with."""
    parts = dict.fromkeys([*parts_of(card, task), *st.session_state.get("targets", [])])
    st.multiselect(
        "Target modules",
        list(parts),
        key="targets",
        default=DEFAULTS["targets"],
        help=f"{describe(LoraSettings, 'targets')} {plain(told)}",
        placeholder="The model's own list (all of them)",
        bind="query-params",
    )
    tree = st.expander("Choose in a tree of the model", icon=":material/account_tree:", key="parts_tree", on_change="rerun")
    if tree.open:
        with tree:
            chosen, rank = st.session_state.targets, max(st.session_state.ranks or [USUAL_RANK])
            tree_view.show(as_data(card, task, chosen, rank), rank=rank, key="tree", on_tick=lambda path: tick(card, task, path))
    sets = dict.fromkeys([*card.groups(task), *st.session_state.get("target_sets", [])])
    st.multiselect(
        "Other sets of target modules to compare",
        list(sets),
        key="target_sets",
        default=DEFAULTS["target_sets"],
        accept_new_options=True,
        help=f"{describe(SweepSettings, 'target_sets')} Join the modules of one set with +; 'default' is the model's own list.",
        placeholder="None; each set is a separate run",
        bind="query-params",
    )


def tick(card: ModelCard, task: Task, path: str) -> None:
    """A tick in the tree: the parts to adapt are others from the next time that the page is drawn."""
    st.session_state["targets"] = toggled(card, task, st.session_state.get("targets", []), path)


def training_widgets(told: Mapping[str, str]) -> None:
    """How long, how fast, and on how many rows a step. ``told`` says by setting what it did in runs so far."""
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
            number_field("Steps", "steps", TrainSettings, low=1, step=10)
        else:
            number_field("Epochs", "epochs", TrainSettings, low=1, step=5)
    numbers_field(
        "LoRA learning rate",
        "learning_rates",
        TrainSettings,
        LORA_RATES,
        about="learning_rate",
        told=told.get("learning_rate", ""),
        placeholder=f"{short_rate(LEARNING_RATES['peft'])} (usual)",
    )
    with st.grid(min_column_width=240):
        number_field("Context rows while training", "context_rows", TrainSettings, low=10, step=128)
        number_field("Query rows per step (batch size)", "batch_size", TrainSettings, low=1, step=32)
        number_field("Context rows at prediction", "predict_context_rows", TrainSettings, low=10, step=1024, placeholder="all that fit")


def baseline_widgets() -> None:
    """What to compare with, and how often to repeat."""
    switch_field("Zero-shot: without training", "zero_shot", SweepSettings)
    switch_field("Full fine-tuning: every weight", "full_fine_tuning", SweepSettings)
    if st.session_state.full_fine_tuning:
        usual = f"{short_rate(LEARNING_RATES['base-ft'])} (usual)"
        numbers_field("Full fine-tuning learning rate", "full_learning_rates", SweepSettings, FULL_RATES, placeholder=usual)
    switch_field("Linear model and gradient boosting", "references", SweepSettings)
    text_field("Seeds", "seeds", SweepSettings, help=describe(SweepSettings, "seeds") + " For example 0, 1, 2.")


def device_widget(cards: list[str], machine: tuple[int, int], memory: list[tuple[int, int] | None], cluster: Cluster | None) -> None:
    """Where to train. ``cards`` names the NVIDIA cards of this machine; memory is free and total bytes, of the machine and each card.

    With a ``cluster`` runs go to its nodes, whatever this machine has.
    """
    names = ON_A_CLUSTER if cluster else device_names(cards)
    held = st.session_state.get("device", "auto")
    st.selectbox(
        "Device",
        list(dict.fromkeys([*names, held])),
        key="device",
        format_func=lambda name: names.get(name, name),
        help=describe(RunSettings, "device"),
        persist_state="session",
    )
    if cluster is None:
        st.caption(free_memory(machine, memory))
        return
    st.caption(f":material/lan: Runs go to the nodes of a Ray cluster: {plain(cluster.summary)}.")
    for problem in filter(None, (cluster.waits, *(node.problem for node in cluster.nodes))):
        st.caption(f":material/warning: {plain(problem)}")
