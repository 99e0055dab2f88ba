"""The curves of all runs of a sweep. They keep their zoom while points arrive.

What has ended is drawn once and kept; a refresh draws the runs that go on, and the browser puts both together. The charts stand on the page
with all around them; a refresh sends their figures alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.charts import CHARTS
from dashboard.charts.card import READINGS
from dashboard.charts.composed import Drawn
from dashboard.charts.memory import METERS, meters_read, speaking_meter
from dashboard.charts.settled import Settled
from dashboard.components.plotly_chart import feed, show_drawn
from dashboard.formatting import LOSS_UNITS, plain
from dashboard.queries import Look, Refreshed
from dashboard.queries.cast import Cast
from dashboard.url_state import handed_over, keep
from dashboard.views.live.view import View
from tabtune_core.metrics import METRICS
from tabtune_core.settings import TRAINED
from tabtune_core.store.run_row import ENDED, Run

MOST_NAMED = 12
"""With more runs the legend would take the room of the curves; the names are shown where the pointer rests."""


class Curves:
    """The runs of a sweep, parted into those whose lines are settled and those that are drawn anew."""

    def __init__(self, named: dict[str, str], shown: list[Run], cast: Cast, key: str, steps: int) -> None:
        self.named, self.shown, self.cast, self.key, self.steps = named, shown, cast, key, steps
        begun = [run for run in shown if run.started is not None]
        self.shaded = None if cast.together else next((run for run in begun if run.status == "running"), begun[-1] if begun else None)
        """The run whose phases are shaded."""
        self.shaded_name = named[self.shaded.id] if self.shaded else ""
        # what does not train step by step is a level line as long as the others, the shaded run carries the phases
        fresh = [run for run in shown if run.status not in ENDED or run.settings.strategy not in TRAINED or run is self.shaded]
        labels = cast.labels
        moving = {labels[run.id] for run in fresh}  # a mean changes with any of its runs
        self.fresh = [run for run in shown if labels[run.id] in moving]
        self.settled = [run for run in shown if labels[run.id] not in moving]
        self._frames: dict[str, pd.DataFrame] = {}

    def frame(self, kind: str) -> pd.DataFrame:
        """Rows of the runs that are drawn anew, each under its own name."""
        if kind not in self._frames:
            self._frames[kind] = queries.frame(kind, self.fresh, self.cast)
        return self._frames[kind]

    def reach(self, kind: str, column: str) -> float:
        """The largest value of a column over all runs."""
        return max((reach for runs in (self.fresh, self.settled) if (reach := queries.reach(kind, column, runs)) == reach), default=0.0)

    def composed(
        self, chart: str, *, own: str, options: dict[str, Any], extra: Callable[["Curves"], dict[str, Any]]
    ) -> tuple[Drawn, Settled | None]:
        """One chart as it is now, and what of it is settled."""
        return queries.drawn(
            chart,
            self.fresh,
            self.settled,
            self.cast,
            key=own,
            legend=len(self.cast.styles) <= MOST_NAMED,
            options=options,
            extra=extra(self),
            by=self.across(chart, options),
            reach=self.steps,
        )

    def across(self, chart: str, options: dict[str, Any]) -> str:
        """The column over which runs that are drawn together are averaged; empty where each is drawn."""
        kind = CHARTS[chart].frame
        return {"steps": "step", "scores": "step", "phases": "phase"}.get(kind, options.get("x", "")) if self.cast.together else ""

    def meters(self) -> tuple[list[str], str]:
        """The meters of memory that have spoken, and the one that speaks for the device."""
        samples = self.frame("memory")
        return meters_read(samples) or ["resident_bytes"], speaking_meter(samples)


@dataclass
class Opened:
    """The charts of a page that are open."""

    every: float | None
    """Seconds between two refreshes."""
    composed: dict[str, Callable[[Curves], tuple[Drawn, Settled | None]]] = field(default_factory=dict)
    """How each is drawn, by its key."""
    drawn_with: str = ""
    """What the figures depend on besides the runs; equal in tabs that show the same."""
    drawn: dict[str, Drawn] = field(default_factory=dict)
    """What the page was drawn with."""
    meters: tuple[list[str], str] | None = None
    """Of which a person could choose."""

    def draw(
        self,
        curves: Curves,
        chart: str,
        *,
        key: str,
        label: str,
        extra: Callable[[Curves], dict[str, Any]] = lambda curves: {},
        **options: Any,
    ) -> None:
        """One chart. ``extra`` makes what only the lines that are drawn anew are drawn with."""
        own = f"{key}_{curves.key}"
        self.drawn_with += f" {own} {options}"
        self.composed[own] = partial(Curves.composed, chart=chart, own=own, options=options, extra=extra)
        drawn, settled = self.composed[own](curves)
        self.drawn[own] = drawn
        numbers = partial(queries.frame, CHARTS[chart].frame, curves.shown, curves.cast, by=curves.across(chart, options))
        show_drawn(drawn, key=own, label=label, numbers=numbers, settled=settled, together=curves.key, every=self.every)

    def refresh(self, curves: Curves, look: Look) -> None:
        """Sends the charts that have changed since the page was drawn, as a browser may have missed what was sent before; draws the page
        anew where another meter has spoken.
        """

        def make() -> Refreshed:
            figures = {own: composed(curves)[0].figure for own, composed in self.composed.items()}
            return Refreshed(curves.meters(), card_readings(curves), figures)

        now = queries.alike(look, self.drawn_with, make)
        if self.meters not in (None, now.meters):
            st.rerun()
        if now.card:
            st.caption(now.card)
        if self.every is not None:
            feed({own: (self.drawn[own].stamp, figure) for own, figure in now.figures.items() if self.drawn[own].figure != figure})


def charts(curves: Curves, opened: Opened, view: View) -> None:
    """Two scores, the loss and the memory of the runs that are shown; behind tabs the rest, of which only the open one is drawn."""
    task, draw = curves.shown[0].settings.task, partial(opened.draw, curves)
    opened.composed.clear()
    opened.drawn_with = f"{curves.cast}"
    left, right = st.columns(2)

    def reach(curves: Curves) -> dict[str, Any]:
        return {"reach": max(curves.reach("scores", view.x), curves.steps if view.x == "step" else 0)}

    with left:
        score_heading(view.first)
        label = f"Validation {METRICS[view.first].written} of each run"
        draw("score", key=view.first, label=label, metric=view.first, x=view.x, extra=reach)
    with right:
        score_heading(view.metric)
        label = f"Validation {METRICS[view.metric].written} of each run"
        draw("score", key="score", label=label, metric=view.metric, x=view.x, log=view.log, extra=reach)
    left, right = st.columns(2)
    with left:
        heading("Training loss", "loss")
        options = {"unit": LOSS_UNITS[task], "x": view.x, "log": view.log, "smoothing": view.smoothing}
        draw("loss", key="loss", label="Training loss of each run", **options)
    with right:
        memory(curves, opened, view)
    more: dict[str, tuple[str, Callable[[], None]]] = {
        "Time of a step": ("seconds", lambda: step_time(draw, view)),
        "Memory by phase": ("phase_peaks", lambda: draw("phase_peaks", key="phase_peaks", label=CHARTS["phase_peaks"].help)),
        "Gradient norm": (
            "gradient_norm",
            lambda: draw(
                "gradient_norm", key="gradient_norm", label=CHARTS["gradient_norm"].help, x=view.x, log=view.log, smoothing=view.smoothing
            ),
        ),
        "Learning rate": (
            "learning_rate",
            lambda: draw("learning_rate", key="learning_rate", label=CHARTS["learning_rate"].help, x=view.x),
        ),
        "GPU load, power, temperature": ("card", lambda: card(draw, view)),
    }
    for tab, (name, fill) in zip(st.tabs(list(more), key=f"more_{curves.key}", on_change="rerun"), more.values(), strict=True):
        if tab.open:
            with tab:
                st.caption(CHARTS[name].help)
                fill()


def chosen(named: dict[str, str], key: str) -> list[str]:
    """Ids of all runs, or of those that a person picks where there are many, or that another page or the address names."""
    own = f"live_only_{key}"
    asked = handed_over("only") or ("" if own in st.session_state else st.query_params.get("only", ""))
    wanted = [run_id for run_id in asked.split(",") if run_id in named]
    if wanted:
        st.session_state[own] = wanted
    if len(named) <= MOST_NAMED and not st.session_state.get(own):
        return list(named)
    ids = st.multiselect(
        "Only these runs",
        list(named),
        default=wanted,
        format_func=named.__getitem__,
        key=own,
        placeholder=f"All {len(named)}; hover over a curve to see its name",
    )
    if ids:
        keep("only", ",".join(ids))
    elif "only" in st.query_params:
        del st.query_params["only"]
    return ids or list(named)


def heading(text: str, chart: str) -> None:
    """The title above a chart, with what one reads off it."""
    st.markdown(f"**{text}**", help=CHARTS[chart].help)


def score_heading(metric: str) -> None:
    """The title above a chart of a score."""
    st.markdown(f"**{METRICS[metric].label}**", help=f"{METRICS[metric].help} {CHARTS['score'].help}")


def step_time(draw: Callable[..., None], view: View) -> None:
    """How long a step takes, or all of them."""
    cumulative = st.toggle("Add up", key="live_cumulative")
    draw("seconds", key="seconds", label=CHARTS["seconds"].help, cumulative=cumulative, smoothing=view.smoothing)


def memory(curves: Curves, opened: Opened, view: View) -> None:
    """Memory on a meter that this machine has, with the phases of one run shaded."""
    opened.meters = read, usual = curves.meters()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        heading("Memory", "memory")
        if len(read) > 1:
            meter = st.selectbox(
                "Meter",
                list(METERS),
                list(METERS).index(usual),
                key=f"live_meter_{usual}",
                format_func=lambda name: METERS[name] + ("" if name in read else ": N/A"),
                label_visibility="collapsed",
                width=300,
            )
        else:
            meter = read[0]
            st.caption("GPU memory: N/A (no NVIDIA meter was read)")

    def extra(curves: Curves) -> dict[str, Any]:
        phases = curves.frame("phases")
        return {"phases": phases[phases["run"] == curves.shaded_name], "reach": curves.reach("memory", "seconds")}

    # over steps a point has the last step done; over seconds, the whole life of the run is there
    opened.draw(curves, "memory", key="memory", label="Memory of each run", extra=extra, meter=meter, x=view.x, log=view.log)
    if curves.cast.together:
        st.caption("Lines are means over the runs of a group that have got there; bands reach from the lowest to the highest run.")
    if name := plain(curves.shaded_name):
        over_time = f"Shaded: the phases of {name}."
        st.caption(over_time if view.x == "seconds" else "With seconds on the axis, the phases of a run are shaded.")


def card(draw: Callable[..., None], view: View) -> None:
    """Utilisation, power or temperature of the card."""
    meter = st.segmented_control(
        "GPU reading",
        list(READINGS),
        default="utilisation_percent",
        required=True,
        key="live_card",
        format_func=READINGS.__getitem__,
        label_visibility="collapsed",
        persist_state="session",
    )
    options = {"meter": meter, "x": view.x, "log": view.log, "smoothing": view.smoothing}
    draw("card", key="card", label=f"{READINGS[meter]} of each run", **options)


def card_readings(curves: Curves) -> str:
    """How busy, hungry and warm the card of the shaded run was at the last look; empty where no driver says so."""
    units = {"utilisation_percent": "{:.0f} % busy", "power_watts": "{:.0f} W", "temperature_celsius": "{:.0f} °C"}
    samples = curves.frame("memory")
    samples = samples[samples["run"] == curves.shaded_name]
    last = {column: samples[column].dropna() for column in units if column in samples}
    told = [units[column].format(values.iloc[-1]) for column, values in last.items() if len(values)]
    return f"GPU at the last reading of {plain(curves.shaded_name)}: {', '.join(told)}." if told else ""
