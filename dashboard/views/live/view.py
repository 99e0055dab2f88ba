"""How the curves are shown: x axis, second score, means over seeds; the address bar keeps it."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard.components import segments
from dashboard.formatting import TRAIN_SECONDS_HELP, with_models
from dashboard.queries.curves import Legend, grouped_legend, legend_of
from dashboard.url_state import keep
from tabtune_core.metrics import METRICS, Task, metrics_of
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import numbered, told_apart
from tabtune_core.store.run_row import Run

USUAL: dict[Task, tuple[str, str]] = {"classification": ("accuracy", "log_loss"), "regression": ("r2", "rmse")}
"""The default second score is the first of these that is not the selection metric."""
MOST_APART = 12
"""With more runs under several seeds, the default is their means."""


@dataclass(frozen=True, slots=True)
class View:
    """The choices with which the charts are drawn."""

    first: str
    metric: str
    x: str
    over_seeds: bool
    """Draws the runs that differ only in their seed as their mean."""


def controls(
    settings: RunSettings, runs: Sequence[Run], sweep: str, ask_runs: Callable[[], list[str]]
) -> tuple[View, list[str]]:
    """Draws the x axis and, behind a button, the other choices; returns them and the ids that ``ask_runs`` returns."""
    task, first, several = settings.task, settings.selection_metric, len({run.settings.seed for run in runs}) > 1
    others = [name for name in metrics_of(task) if name != first]
    fields: dict[str, tuple[str, list[Any], Any]] = {  # by the name in the address bar: key, options, default
        "axis": ("live_x", ["step", "seconds"], "step"),
        "score": (f"live_metric_{task}", others, next(name for name in USUAL[task] if name != first)),
        "means": (f"live_means_{sweep}", [False, True] if several else [False], several and len(runs) > MOST_APART),
    }
    for name, (key, options, default) in fields.items():
        if st.session_state.get(key) not in options:
            asked = st.query_params.get(name)
            st.session_state[key] = next((option for option in options if str(option) == asked), default)
    # the value is passed as the default too, because the browser shows the default before its first answer
    now = {name: st.session_state[key] for name, (key, *_) in fields.items()}

    def more(name: str) -> dict[str, Any]:
        return {"key": fields[name][0], "persist_state": "session"}

    axes, help = {"step": "Over steps", "seconds": "Over seconds"}, TRAIN_SECONDS_HELP
    segments("Curves over", axes, default=now["axis"], help=help, label_visibility="collapsed", **more("axis"))
    with st.popover("View", icon=":material/tune:", key="view"):
        shown = ask_runs()
        if several:
            means = "Runs that differ only in the seed are one line; the band is from the lowest to the highest."
            st.toggle("Mean over seeds", now["means"], help=means, **more("means"))
        words, place = {name: METRICS[name].label for name in others}.__getitem__, others.index(now["score"])
        help = f"The first is {METRICS[first].label}, which decides which checkpoint is kept."
        st.selectbox("Second score", others, place, format_func=words, help=help, **more("score"))
    for name, (key, _, default) in fields.items():
        now[name] = st.session_state[key]
        keep(name, None if now[name] == default else str(now[name]))
    return View(first, now["score"], now["axis"], now["means"]), shown


def legend_by(over_seeds: bool, runs: list[Run], shown: list[Run]) -> Legend:
    """Returns a legend of the runs ``shown``: each run, or one line for those that differ only in their seed."""
    if not over_seeds:
        return legend_of(shown, runs)
    seedless = {run.id: dataclasses.replace(run.settings, seed=0) for run in runs}
    distinct = list({repr(one): one for one in seedless.values()}.values())
    named = told_apart(with_models([one.label for one in distinct], distinct), distinct)
    names = dict(zip(map(repr, distinct), numbered(named), strict=True))
    return grouped_legend({run_id: names[repr(one)] for run_id, one in seedless.items()}, shown)
