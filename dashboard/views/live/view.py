"""How the curves are shown: the x axis, the second score, smoothing, and single runs or means of groups.

The address bar keeps these choices, so that they can be shared.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from dashboard.components import segments
from dashboard.formatting import TRAIN_SECONDS_HELP, with_models
from dashboard.queries.curves import Legend, grouped_legend, legend_of
from dashboard.url_state import keep
from dashboard.views.live.actions import NAMES, fields_of, value_of
from tabtune_core.metrics import METRICS, Task, metrics_of
from tabtune_core.settings import SETTINGS, STRATEGY_NAMES, RunSettings
from tabtune_core.settings.labels import numbered, told_apart
from tabtune_core.settings.serialization import written_targets
from tabtune_core.store.run_row import Run

USUAL: dict[Task, tuple[str, str]] = {"classification": ("accuracy", "log_loss"), "regression": ("r2", "rmse")}
"""The default second score is the first of these that is not the selection metric."""
SMOOTHINGS = [0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99]
SHARED = ("sweep", "run", "only", "group", "axis", "score", "log", "smooth")
"""Names in the address bar."""


@dataclass(frozen=True, slots=True)
class View:
    """The choices with which the charts are drawn."""

    first: str
    metric: str
    x: str
    log: bool
    smoothing: float
    group: str
    """A key of ``groupings``; runs of a group are drawn as their mean."""


def controls(
    settings: RunSettings, runs: Sequence[Run], sweep: str, ask_runs: Callable[[], list[str]]
) -> tuple[View, list[str]]:
    """Draws the x axis, and behind a button the other choices; returns them and the ids that ``ask_runs`` returns.

    The first score is the selection metric.
    """
    task, first, groups = settings.task, settings.selection_metric, groupings(runs)
    others = [name for name in metrics_of(task) if name != first]
    fields: dict[str, tuple[str, list[Any], Any]] = {  # by the name in the address bar: key, options, default
        "axis": ("live_x", ["step", "seconds"], "step"),
        "score": (f"live_metric_{task}", others, next(name for name in USUAL[task] if name != first)),
        "log": ("live_log", [False, True], False),
        "smooth": ("live_smoothing", SMOOTHINGS, 0.0),
        "group": (f"live_group_{sweep}", list(groups), usual_grouping(runs)),
    }
    keys = {name: key for name, (key, _, _) in fields.items()}
    for name, (key, options, default) in fields.items():
        if st.session_state.get(key) not in options:
            asked = st.query_params.get(name)
            st.session_state[key] = next((option for option in options if str(option) == asked), default)
    # the value is passed as the default too, because the browser shows the default before its first answer
    now = {name: st.session_state[key] for name, key in keys.items()}
    segments(
        "Curves over",
        {"step": "Over steps", "seconds": "Over seconds"},
        default=now["axis"],
        key=keys["axis"],
        persist_state="session",
        help=TRAIN_SECONDS_HELP,
        label_visibility="collapsed",
    )
    with st.popover("View", icon=":material/tune:", key="view"):
        shown = ask_runs()
        if len(groups) > 1:
            st.selectbox(
                "Group by",
                list(groups),
                list(groups).index(now["group"]),
                key=keys["group"],
                format_func=groups.__getitem__,
                help="Runs of a group are one line, their mean at each step; the band extends from the lowest to the "
                "highest of them.",
                persist_state="session",
            )
        st.selectbox(
            "Second score",
            others,
            others.index(now["score"]),
            key=keys["score"],
            format_func=lambda name: METRICS[name].label,
            help=f"The first is {METRICS[first].label}, which decides which checkpoint is kept.",
            persist_state="session",
        )
        st.select_slider(
            "Smoothing",
            SMOOTHINGS,
            now["smooth"],
            key=keys["smooth"],
            help="Exponential moving average; the value is the weight of the previous points. Raw values"
            " remain as a faint line. It applies to loss, gradient norm, step time and GPU; scores and memory are "
            "never smoothed.",
            persist_state="session",
        )
        st.toggle(
            "Logarithmic",
            now["log"],
            key=keys["log"],
            help="Vertical axes of the second score, loss, memory, gradient and GPU. A score that can be negative "
            "stays linear.",
            persist_state="session",
        )
    for name, (key, _, default) in fields.items():
        now[name] = st.session_state[key]
        keep(name, None if now[name] == default else str(now[name]))
    return View(first, now["score"], now["axis"], now["log"], now["smooth"], now["group"]), shown


def share() -> None:
    """Shows the address of this view, to copy."""
    with st.popover(
        "Share",
        icon=":material/link:",
        key="share",
        help="An address that opens this page with the same sweep, run and charts.",
    ):
        there = {name: st.query_params[name] for name in SHARED if name in st.query_params}
        page = (st.context.url or "").rstrip("/").removesuffix("/live") + "/live"
        st.code(f"{page}?{urlencode(there)}", language=None, wrap_lines=True)
        st.caption(
            "It opens for everyone who can reach this dashboard. Unless a run is chosen, it follows the current run."
        )


EACH, SEEDS = "run", "seeds"
MOST_APART = 12
"""With more runs under several seeds, the default is their means."""
TITLES = {name: SETTINGS[name].label for name in (*NAMES, "targets", "model")}
"""Settings that runs can be grouped by."""


def groupings(runs: Sequence[Run]) -> dict[str, str]:
    """Returns key -> title of each grouping: single runs, over seeds, and by every setting that differs within a
    strategy.
    """
    settings = [run.settings for run in runs]
    strategies = {one.strategy for one in settings}
    values = {
        name: [{_value(one, name) for one in settings if one.strategy == strategy} for strategy in strategies]
        for name in TITLES
    }
    differing = [name for name in TITLES if any(len(own) > 1 for own in values[name])]
    seeds = {SEEDS: "Configuration (mean over seeds)"} if len({one.seed for one in settings}) > 1 else {}
    return {EACH: "None: each run"} | seeds | {name: TITLES[name] for name in differing}


def usual_grouping(runs: Sequence[Run]) -> str:
    """Returns the default grouping."""
    return SEEDS if len(runs) > MOST_APART and SEEDS in groupings(runs) else EACH


def legend_by(group: str, runs: list[Run], shown: list[Run]) -> Legend:
    """Returns a legend of the runs ``shown`` with the names of their groups; strategies are never mixed."""
    if group == EACH:
        return legend_of(shown, runs)
    return grouped_legend(
        _over_seeds(runs) if group == SEEDS else {run.id: _by_setting(run.settings, group) for run in runs}, shown
    )


def _over_seeds(runs: list[Run]) -> dict[str, str]:
    alike = {run.id: dataclasses.replace(run.settings, seed=0) for run in runs}
    distinct = list({repr(one): one for one in alike.values()}.values())
    named = told_apart(with_models([one.label for one in distinct], distinct), distinct)
    names = dict(zip(map(repr, distinct), numbered(named), strict=True))
    return {run_id: names[repr(one)] for run_id, one in alike.items()}


def _by_setting(settings: RunSettings, by: str) -> str:
    value, name = _value(settings, by), STRATEGY_NAMES[settings.strategy]
    if value is None:
        return name
    return f"{name} r={value}" if by == "rank" else f"{name}, {TITLES[by].lower()} {value}"


def _value(settings: RunSettings, name: str) -> str | None:
    """Returns a setting as text; None if it does not apply to the run, or is tied to another setting."""
    if name == "model":
        return settings.model
    if name == "targets":
        return written_targets(settings.lora.targets) if settings.strategy == "peft" else None
    tied = name == "alpha" and settings.lora.alpha is None
    return value_of(settings, name) if name in fields_of(settings) and not tied else None
