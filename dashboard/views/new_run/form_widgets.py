"""The widgets of a sweep's settings; keys and defaults are those of forms.py, a tooltip is the field's docstring."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.url_state import refuse_odd
from dashboard.views.new_run.forms import DEFAULTS, FORM, is_decimal, is_idle, keys_of
from tabtune_core.execution.cluster import Cluster
from tabtune_core.metrics import METRICS, SELECTION, Task, metrics_of
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import AXES, SETTINGS, Setting, Strategy, SweepSettings, describe
from tabtune_core.settings.labels import short_rate
from tabtune_core.settings.sweep import TRIED_RATES

RANKS = (1, 2, 4, 8, 16, 32, 64)
DROPOUTS = ("0", "0.05", "0.1", "0.2")
"""The guide's section 4.3."""
ALPHAS = ("4", "8", "16", "32", "64")
LORA_RATES = ("1e-4", "2e-4", "5e-4", "1e-3", "2e-3", "5e-3")
FULL_RATES = ("1e-5", "2e-5", "5e-5", "1e-4", "2e-4", "5e-4")
SEVERAL = "Choose several values to compare them in separate runs; type other values and press Enter."


def widget(name: str, **more: Any) -> None:
    """Draws the widget for a setting's type.

    No bounds on numbers: Streamlit would reject a value silently; our own validation explains it.
    """
    row = FORM[name]
    about = {"help": row.help, "bind": "query-params", **more}
    if row.kind is bool:
        st.toggle(row.label, DEFAULTS[name], key=name, **about)
    elif get_origin(row.kind) is Literal:
        options = get_args(row.kind)
        st.selectbox(row.label, options, options.index(DEFAULTS[name]), key=name, **about)
    elif get_origin(row.kind) is Mapping:
        such = f"{row.placeholder}\none per line"
        st.text_area(row.label, DEFAULTS[name], key=name, height=90, placeholder=such, **about)
    elif row.kind is str:
        st.text_input(row.label, DEFAULTS[name], key=name, **about)
    else:
        _number_fields(row, about)


def _number_fields(row: Setting, about: Mapping[str, Any]) -> None:
    kind: Any = float if is_decimal(row) else int
    keys = keys_of(row)
    for place, key in enumerate(keys, start=1):
        refuse_odd(key)
        st.number_input(
            f"{row.label} {place}" if len(keys) > 1 else row.label,
            value=DEFAULTS[key],
            step=kind(row.step),
            format=row.format if kind is float else None,
            key=key,
            placeholder=row.placeholder or None,
            **about,
        )


def widgets(place: str, values: Mapping[str, Any], width: int = 180) -> None:
    """Draws a part of the form, without settings that have no effect given ``values``."""
    kinds: dict[Any, list[str]] = defaultdict(list)
    for row in FORM.values():
        if row.place == place and not is_idle(row, values):
            kind = get_origin(row.kind) or row.kind
            kinds[kind if kind in (bool, str, Mapping) else "field"].append(row.name)
    for kind, least in (("field", width), (bool, None), (Mapping, 240)):  # texts are drawn by hand
        if names := kinds[kind]:
            with st.grid(min_column_width=least) if least else st.container():
                for name in names:
                    widget(name)


def list_field(row: Setting, usual: Iterable[str], *, help: str, placeholder: str, typed: bool = True) -> None:
    """Draws a field of several values, chosen from the ``usual`` ones or ``typed``; held ones stay options."""
    st.multiselect(
        row.label,
        list(dict.fromkeys([*usual, *DEFAULTS[row.name], *st.session_state.get(row.name, [])])),
        key=row.name,
        default=DEFAULTS[row.name],
        accept_new_options=typed,
        help=help,
        placeholder=placeholder,
        bind="query-params",
    )


def numbers_field(name: str, usual: Iterable[str], placeholder: str = "") -> None:
    """Draws the field of an axis: a list of numbers."""
    axis = AXES[name]
    about = SETTINGS[axis.axis].help if name != "full_learning_rates" else axis.help
    list_field(axis, usual, help=f"{about} {SEVERAL}", placeholder=placeholder or axis.placeholder)


def parts_of(card: ModelCard, task: Task) -> list[str]:
    """Returns the names of all possible targets: groups and the model's own list first, then every block and layer."""
    paths = [path.split(".") for path in card.layers(task).weights]
    parts = [".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)]
    return list(dict.fromkeys([*card.rules(task).groups, *card.family.targets, *parts]))


def minutes_widget() -> float | None:
    """Draws the time of a search, which replaces ranks and rates; None without one."""
    refuse_odd("minutes")
    minutes: float | None = st.number_input(
        "Find the best for me (minutes)",
        value=None,
        step=5.0,
        format="%g",
        key="minutes",
        placeholder="or choose ranks below",
        help="Rank, learning rate, dropout, adapted parts, variant and context rows while training are proposed run by "
        "run from the results on the validation rows, until the time is spent. What you change under More settings "
        "stays as it is.",
        bind="query-params",
        width=280,
    )
    return minutes


def ranks_widget() -> None:
    """Draws the ranks to compare."""
    st.pills(
        AXES["ranks"].label,
        sorted({*RANKS, *(st.session_state.get("ranks") or [])}),
        selection_mode="multi",
        default=DEFAULTS["ranks"],
        key="ranks",
        help=f"{SETTINGS['rank'].help} Each rank is a separate run.",
        bind="query-params",
        format_func=str,
    )


def lora_widgets(card: ModelCard, task: Task) -> None:
    """Draws alpha, dropout and target modules."""
    left, right = st.columns(2)
    with left:
        numbers_field("dropouts", DROPOUTS)
    with right:
        help = SETTINGS["alpha"].help
        st.toggle("Tie alpha to twice the rank", DEFAULTS["tied"], key="tied", help=help, bind="query-params")
        if not st.session_state.tied:
            numbers_field("alphas", ALPHAS)
    target_widgets(card, task)


def target_widgets(card: ModelCard, task: Task) -> None:
    """Draws the target modules, and other sets to compare them with."""
    row, own_list = SETTINGS["targets"], "The model's own list (all of them)"
    list_field(row, parts_of(card, task), help=row.help, placeholder=own_list, typed=False)
    sets, help = AXES["target_sets"], "Join the modules of one set with +; 'default' is the model's own list."
    groups, none = card.rules(task).groups, "None; each set is a separate run"
    list_field(sets, groups, help=f"{sets.help} {help}", placeholder=none)


def training_widgets(card: ModelCard, task: Task) -> None:
    """Draws length of training, learning rates, rows per step and seeds."""
    one, two = st.columns(2, vertical_alignment="bottom")
    refuse_odd("length")
    with one:
        help = "An epoch is one pass over the training rows; a step is one update of the adapter."
        units, held = ["epochs", "steps"], {"default": DEFAULTS["length"], "key": "length"}
        st.segmented_control("Length of training in", units, required=True, help=help, bind="query-params", **held)
    with two:
        widget(st.session_state.length)
    fields: tuple[tuple[str, Strategy, tuple[str, ...], str], ...] = (
        ("learning_rates", "peft", LORA_RATES, ": each rank keeps its best"),
        ("full_learning_rates", "base-ft", FULL_RATES, ": the best is kept"),
    )
    for name, strategy, offered, why in fields[: 1 + st.session_state.full_fine_tuning]:
        usual = card.usual_rate(task, strategy)
        tried = f"{', '.join(short_rate(usual * times) for times in TRIED_RATES)}{why}"
        numbers_field(name, offered, card.told_rate(task, strategy) if st.session_state.one_rate else tried)
    widgets("Training", {}, width=240)
    help = f"{describe(SweepSettings, 'seeds')} For example 0, 1, 2."
    st.text_input("Seeds", DEFAULTS["seeds"], key="seeds", help=help, bind="query-params")


def baseline_widgets(*, searching: bool) -> None:
    """Draws what to compare LoRA with and, without a search, whether the ranks share one learning rate."""
    with st.container(horizontal=True):
        for name in ("zero_shot", "full_fine_tuning", "references", "one_rate")[: 3 if searching else 4]:
            widget(name)


def device_widget(cluster: Cluster | None) -> None:
    """Draws where to train. With a ``cluster``, runs go to its nodes and this machine's devices do not matter."""
    names = ON_A_CLUSTER if cluster else device_names(queries.cards())
    held = st.session_state.get("device", "auto")
    row, words = SETTINGS["device"], {name: names.get(name, name) for name in (*names, held)}
    st.selectbox(
        row.label, list(words), key="device", format_func=words.__getitem__, help=row.help, persist_state="session"
    )
    if cluster is None:
        return
    st.caption(f":material/lan: Runs go to the nodes of a Ray cluster: {plain(cluster.summary)}.")
    for problem in filter(None, (cluster.waits, *(node.problem for node in cluster.nodes))):
        st.caption(f":material/warning: {plain(problem)}")


ON_A_CLUSTER = {
    "auto": "auto: a GPU of the cluster; a CPU if it has no GPU",
    "cpu": "cpu",
    "cuda:0": "cuda: a GPU of the cluster",
}


def device_names(cards: list[str]) -> dict[str, str]:
    """Returns the text of each ``device``; it must not change while a page is open, as Streamlit goes by it."""
    titles = {f"cuda:{i}": f"cuda:{i} ({card})" for i, card in enumerate(cards)}
    if len(cards) > 1:
        automatic = f"auto: a free one of {len(cards)} GPUs"
    else:
        automatic = f"auto: {titles['cuda:0']}" if cards else "auto: cpu; no NVIDIA GPU found"
    return {"auto": automatic, "cpu": "cpu", **titles}


TABS = ("Training", "Adapter", "Optimizer", "Memory and time", "Best checkpoint", "Rows, weights")


def more_widgets(card: ModelCard, task: Task, cluster: Cluster | None) -> None:
    """Draws the settings that most people do not change."""
    for name, tab in zip(TABS, st.tabs(TABS), strict=True):
        with tab:
            if name == "Training":
                training_widgets(card, task)
                device_widget(cluster)
                continue
            if name == "Adapter":
                lora_widgets(card, task)
            if name == "Best checkpoint":
                _selection_widget(task)
            widgets(name, {"optimizer": DEFAULTS["optimizer"], **st.session_state.to_dict(), "task": task})
            if name == "Rows, weights":
                widget("checkpoint", placeholder="Path on this machine")


def _selection_widget(task: Task) -> None:
    row, metrics = SETTINGS["selection_metric"], metrics_of(task)
    if st.session_state.get(row.name, metrics[0]) not in metrics:  # of another task
        st.session_state[row.name] = SELECTION[task]
    words, usual = {name: METRICS[name].label for name in metrics}.__getitem__, metrics.index(SELECTION[task])
    st.selectbox(row.label, metrics, usual, key=row.name, format_func=words, help=row.help, bind="query-params")
