"""The charts of the Live page, with the options that a person has chosen."""

from collections.abc import Callable
from functools import partial
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components import segments
from dashboard.formatting import plain
from dashboard.url_state import asked_for, keep
from dashboard.views.live.drawing import MOST_NAMED, Curves, OpenCharts
from dashboard.views.live.view import View
from tabtune_core.charts import CHARTS
from tabtune_core.charts.lines import READINGS
from tabtune_core.charts.memory import METERS, without_numbers
from tabtune_core.metrics import LOSS_UNITS, METRICS
from tabtune_core.wording import few


def charts(curves: Curves, opened: OpenCharts, view: View) -> None:
    """Draws first score, memory, second score and loss, and the other charts in tabs."""
    task, draw = curves.shown[0].settings.task, partial(opened.draw, curves)
    shown: dict[str, Any] = {"x": view.x, "log": view.log, "smoothing": view.smoothing}
    opened.charts.clear()

    def whole_axis(curves: Curves) -> dict[str, Any]:
        return {
            "axis_end": max(queries.axis_end("scores", view.x, curves.shown), curves.steps if view.x == "step" else 0)
        }

    def score(key: str, metric: str, *, log: bool) -> None:
        st.markdown(f"**{METRICS[metric].label}**", help=f"{METRICS[metric].help} {CHARTS['score'].help}")
        label = f"Validation {METRICS[metric].written} of each run"
        draw("score", key=key, label=label, extra=whole_axis, metric=metric, x=view.x, log=log)

    left, right = st.columns(2)
    with left:
        score("first", view.first, log=False)
    with right:
        memory(curves, opened, view)
    left, right = st.columns(2)
    with left:
        score("score", view.metric, log=view.log)
    with right:
        st.markdown("**Training loss**", help=CHARTS["loss"].help)
        draw("loss", key="loss", label="Training loss of each run", unit=LOSS_UNITS[task], **shown)

    def of_gpu() -> dict[str, Any]:
        reading = segments(
            "GPU reading", READINGS, key="live_gpu", label_visibility="collapsed", persist_state="session"
        )
        return {"meter": reading, **shown}

    more: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
        "Time of a step": (
            "seconds",
            lambda: {"cumulative": st.toggle("Cumulative", key="live_cumulative"), "smoothing": view.smoothing},
        ),
        "Memory by phase": ("phase_peaks", dict),
        "Gradient norm": ("gradient_norm", lambda: shown),
        "Learning rate": ("learning_rate", lambda: {"x": view.x}),
        "GPU load, power, temperature": ("gpu", of_gpu),
    }
    for tab, (name, choose) in zip(
        st.tabs(list(more), key=f"more_{curves.key}", on_change="rerun"), more.values(), strict=True
    ):
        if tab.open:
            with tab:
                st.caption(CHARTS[name].help)
                draw(name, key=name, label=CHARTS[name].help, **choose())


def chosen(named: dict[str, str], key: str) -> list[str]:
    """Returns the ids of all runs, or of those that a person, another page or the address names."""
    own = f"live_only_{key}"
    wanted = [run_id for run_id in asked_for("only", own).split(",") if run_id in named]
    if wanted:
        st.session_state[own] = wanted
    ids = list[str]()
    if len(named) > MOST_NAMED or st.session_state.get(own):
        ids = st.multiselect(
            "Only these runs",
            list(named),
            default=wanted,
            format_func=named.__getitem__,
            key=own,
            placeholder=f"All {len(named)}; hover over a curve to see its name",
        )
    keep("only", ",".join(ids) or None)
    return ids or list(named)


def memory(curves: Curves, opened: OpenCharts, view: View) -> None:
    """Draws memory on a meter that this machine has, with the phases of one run shaded."""
    opened.meters = read, usual = curves.meters()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown("**Memory**", help=CHARTS["memory"].help)
        if len(read) > 1:
            meter = st.selectbox(
                "Meter",
                list(METERS),
                list(METERS).index(usual),
                key=f"live_meter_{usual}",
                format_func=lambda name: METERS[name][0] + ("" if name in read else ": N/A"),
                label_visibility="collapsed",
                width=300,
            )
        else:
            meter = read[0]
            st.caption("GPU memory: N/A (no NVIDIA meter was read)")

    def extra(curves: Curves) -> dict[str, Any]:
        phases = queries.frame("phases", curves.fresh, curves.legend)
        end = queries.axis_end("memory", "seconds", curves.shown)
        return {"phases": phases[phases["run"] == curves.shaded_name], "axis_end": end}

    # over steps, a point is at the last step done; over seconds, the chart covers the whole run
    opened.draw(
        curves, "memory", key="memory", label="Memory of each run", extra=extra, meter=meter, x=view.x, log=view.log
    )
    if absent := without_numbers(queries.frame("memory", curves.shown, curves.legend), meter):
        st.caption(f"Not drawn, because this meter has no numbers of them: {plain(few(absent))}.")
    if curves.legend.together:
        st.caption(
            "Lines are means over the runs of a group that have reached a point; bands extend from the lowest to the "
            "highest run."
        )
    if name := plain(curves.shaded_name):
        over_time = f"Shaded: the phases of {name}."
        st.caption(over_time if view.x == "seconds" else "With seconds on the axis, the phases of a run are shaded.")
