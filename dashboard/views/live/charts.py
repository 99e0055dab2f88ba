"""The charts of the Live page, with the options that a person has chosen."""

from functools import partial
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.url_state import asked_for, keep
from dashboard.views.live.drawing import Curves, OpenCharts
from dashboard.views.live.view import View
from tabtune_core.analysis.comparison import at_one_rate
from tabtune_core.charts import CHARTS
from tabtune_core.charts.memory import METERS
from tabtune_core.charts.style import MOST_LABELS
from tabtune_core.metrics import LOSS_UNITS, METRICS


def charts(curves: Curves, opened: OpenCharts, view: View) -> None:
    """Draws the score over steps and against rank, then memory and loss, and the other charts in tabs."""
    task, draw = curves.shown[0].settings.task, partial(opened.draw, curves)
    opened.charts.clear()

    def whole_axis(curves: Curves) -> dict[str, Any]:
        to_come = curves.steps if view.x == "step" else 0
        return {"axis_end": max(queries.axis_end("scores", view.x, curves.shown), to_come)}

    def score(key: str, metric: str) -> None:
        st.markdown(f"**{METRICS[metric].label}**", help=f"{METRICS[metric].help} {CHARTS['score'].help}")
        label = f"Validation {METRICS[metric].written} of each run"
        draw("score", key=key, label=label, extra=whole_axis, metric=metric, x=view.x)

    ranks = {run.settings.lora.rank for run in curves.shown if run.settings.strategy == "peft"}
    left, right = st.columns(2)
    with left:
        score("first", view.first)
    with right:
        if ranks:
            once = at_one_rate(queries.ranked(curves.key, view.first).query("strategy == 'peft'"))
            st.markdown(f"**{METRICS[view.first].label} against rank{once}**", help=CHARTS["rank_curve"].help)
            opened.draw_picture(curves, view.first)
        else:
            memory(curves, opened, view)
    left, right = st.columns(2)
    with left:
        st.markdown("**Training loss**", help=CHARTS["loss"].help)
        draw("loss", key="loss", label="Training loss of each run", unit=LOSS_UNITS[task], x=view.x)
    with right:
        if ranks:
            memory(curves, opened, view)
        else:
            score("score", view.metric)

    second = {"metric": view.metric, "x": view.x, "extra": whole_axis}
    more: dict[str, tuple[str, dict[str, Any]]] = {
        **({METRICS[view.metric].label: ("score", second)} if ranks else {}),
        "Time of a step": ("seconds", {}),
        "Gradient norm": ("gradient_norm", {"x": view.x}),
    }
    tabs = st.tabs(list(more), key=f"more_{curves.key}", on_change="rerun")
    for tab, (title, (name, options)) in zip(tabs, more.items(), strict=True):
        if tab.open:
            with tab:
                st.markdown(f"**{title}**", help=CHARTS[name].help)
                draw(name, key=name, label=CHARTS[name].help, **options)


def chosen(named: dict[str, str], key: str) -> list[str]:
    """Returns the ids of all runs, or of those that a person, another page or the address names."""
    own = f"live_only_{key}"
    wanted = [run_id for run_id in asked_for("only", own).split(",") if run_id in named]
    if wanted:
        st.session_state[own] = wanted
    ids = list[str]()
    if len(named) > MOST_LABELS or st.session_state.get(own):
        words, hint = named.__getitem__, f"All {len(named)}; hover over a curve to see its name"
        ids = st.multiselect(
            "Only these runs", list(named), default=wanted, format_func=words, key=own, placeholder=hint
        )
    keep("only", ",".join(ids) or None)
    return ids or list(named)


def memory(curves: Curves, opened: OpenCharts, view: View) -> None:
    """Draws what the runs add to the loaded model or, on request, another meter."""
    curves = curves.drawn_by("memory")
    opened.meters = read = curves.meters()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("**Memory**", help=CHARTS["memory"].help)
        words = {name: METERS[name][0] for name in read}.__getitem__
        meter = st.selectbox(
            "Meter", read, key="live_meter", format_func=words, label_visibility="collapsed", width=300
        )

    def extra(curves: Curves) -> dict[str, Any]:
        return {"axis_end": queries.axis_end("memory", view.x, curves.shown)}

    # over steps, a point is at the last step done; over seconds, the chart covers the whole run
    opened.draw(curves, "memory", key="memory", label="Memory of each run", extra=extra, meter=meter, x=view.x)
    if curves.legend.together:
        st.caption("Lines are means over the runs of a group; bands go from the lowest to the highest run.")
