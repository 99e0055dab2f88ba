"""The widgets of what most people leave alone: more of the adapter, the optimizer, memory, the best state, rows and weights."""

import streamlit as st

from dashboard.views.new_run.form_widgets import widget, widgets
from dashboard.views.new_run.forms import DEFAULTS, FORM, keys_of
from tabtune_core.access import may_type_paths
from tabtune_core.metrics import METRICS, SELECTION, Task, metrics_of
from tabtune_core.settings import SETTINGS

TABS = ("Adapter", "Optimizer", "Memory and time", "Best checkpoint", "Rows, weights")
FIELDS = ("selection_metric", *(key for row in FORM.values() if row.place in TABS for key in keys_of(row)))
"""Keys of the widgets below."""


def holds_a_choice(task: Task) -> bool:
    """Whether one of the widgets below has another value than its default. Then they are drawn: what is not drawn has its default."""
    usual = {**DEFAULTS, "selection_metric": SELECTION[task]}
    return any(name in st.query_params or st.session_state.get(name, usual[name]) != usual[name] for name in FIELDS)


def advanced_widgets(task: Task) -> None:
    """What most people leave alone."""
    for name, tab in zip(TABS, st.tabs(TABS), strict=True):
        with tab:
            if name == "Best checkpoint":
                _selection_widget(task)
            widgets(name, {"optimizer": DEFAULTS["optimizer"], **st.session_state.to_dict(), "task": task})
            if name == "Rows, weights":
                shut = not may_type_paths()
                widget("checkpoint", placeholder="Not allowed on this server" if shut else "Path on this machine", disabled=shut)


def _selection_widget(task: Task) -> None:
    row, metrics = SETTINGS["selection_metric"], metrics_of(task)
    if st.session_state.get(row.name, metrics[0]) not in metrics:  # of another task
        st.session_state[row.name] = SELECTION[task]
    st.selectbox(
        row.label,
        metrics,
        metrics.index(SELECTION[task]),
        key=row.name,
        format_func=lambda name: METRICS[name].label,
        help=row.help,
        bind="query-params",
    )
