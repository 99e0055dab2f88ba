"""Figures of the Live page: what has ended is drawn once and kept, what goes on is drawn with each refresh; the browser puts both together.

The charts stand on the page with all around them; a refresh sends their figures alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import Drawn, Settled, compose, feed, settle, show_drawn
from dashboard.formatting import plain
from dashboard.queries import Look
from dashboard.queries.curves import Legend
from tabtune_core.charts import CHARTS
from tabtune_core.charts.memory import meters_read, speaking_meter
from tabtune_core.settings import TRAINED
from tabtune_core.store.run_row import ENDED, Run

MOST_NAMED = 12
"""With more runs the legend would take the room of the curves; the names are shown where the pointer rests."""


class Curves:
    """The runs of a sweep, parted into those whose lines are settled and those that are drawn anew."""

    def __init__(self, named: dict[str, str], shown: list[Run], legend: Legend, key: str, steps: int) -> None:
        self.named, self.shown, self.legend, self.key, self.steps = named, shown, legend, key, steps
        begun = [run for run in shown if run.started is not None]
        self.shaded = None if legend.together else next((run for run in begun if run.status == "running"), begun[-1] if begun else None)
        """The run whose phases are shaded."""
        self.shaded_name = named[self.shaded.id] if self.shaded else ""
        # what does not train step by step is a level line as long as the others, the shaded run carries the phases
        fresh = [run for run in shown if run.status not in ENDED or run.settings.strategy not in TRAINED or run is self.shaded]
        labels = legend.labels
        moving = {labels[run.id] for run in fresh}  # a mean changes with any of its runs
        self.fresh = [run for run in shown if labels[run.id] in moving]
        self.settled = [run for run in shown if labels[run.id] not in moving]

    def averaged_over(self, chart: str, options: dict[str, Any]) -> str:
        """The column over which runs that are drawn together are averaged; empty where each is drawn."""
        kind = CHARTS[chart].frame
        return {"steps": "step", "scores": "step", "phases": "phase"}.get(kind, options.get("x", "")) if self.legend.together else ""

    def meters(self) -> tuple[list[str], str]:
        """The meters of memory that have spoken, and the one that speaks for the device."""
        samples = queries.frame("memory", self.fresh, self.legend)
        return meters_read(samples) or ["resident_bytes"], speaking_meter(samples)

    def gpu_readings(self) -> str:
        """How busy, hungry and warm the GPU of the shaded run was at the last look; empty where no driver says so."""
        units = {"utilisation_percent": "{:.0f} % busy", "power_watts": "{:.0f} W", "temperature_celsius": "{:.0f} °C"}
        samples = queries.frame("memory", self.fresh, self.legend)
        samples = samples[samples["run"] == self.shaded_name]
        last = {column: samples[column].dropna() for column in units if column in samples}
        told = [units[column].format(values.iloc[-1]) for column, values in last.items() if len(values)]
        return f"GPU at the last reading of {plain(self.shaded_name)}: {', '.join(told)}." if told else ""


@dataclass(frozen=True, slots=True)
class OpenChart:
    """A chart that is open, and what it is drawn with."""

    key: str
    chart: str
    options: dict[str, Any]
    extra: Callable[[Curves], dict[str, Any]]
    """Makes what only the lines that are drawn anew are drawn with, from frames of the runs."""

    def figure(self, curves: Curves) -> tuple[Drawn, Settled | None]:
        """The chart as it is sent to every tab that shows it, and what of it is settled."""
        draw, kind, by = CHARTS[self.chart].draw, CHARTS[self.chart].frame, curves.averaged_over(self.chart, self.options)

        def settled_lines() -> Settled | None:
            return settle(draw(queries.frame(kind, curves.settled, curves.legend, by=by), **self.options))

        def composed() -> Drawn:
            figure = draw(queries.frame(kind, curves.fresh, curves.legend, by=by), **self.options, **self.extra(curves))
            named = len(curves.legend.styles) <= MOST_NAMED
            return compose(figure, key=self.key, settled=settled, legend=named, steps_to_come=curves.steps)

        same = (self.chart, by, curves.legend, repr(self.options))
        settled = queries.shared((*same, queries.stamp(kind, curves.settled)), settled_lines) if curves.settled else None
        stamps = [queries.stamp(one, curves.fresh) for one in (kind, *(["phases"] if kind == "memory" else []))]
        return queries.shared((*same, self.key, curves.steps, *stamps, settled.stamp if settled else ""), composed), settled


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh brings."""

    meters: tuple[list[str], str]
    """Of memory that have spoken, and the one that speaks for the device."""
    gpu: str
    """What the GPU was read to do, as a sentence."""
    figures: dict[str, str]
    """As JSON, by the key of their chart."""

    @property
    def size_bytes(self) -> int:
        """What it holds."""
        return sum(map(len, self.figures.values()))


class OpenCharts:
    """The charts of a page that are open, refreshed ``every`` so many seconds, or never."""

    def __init__(self, every: float | None) -> None:
        self.every = every
        self.meters: tuple[list[str], str] | None = None
        """Of which a person could choose."""
        self.charts: list[OpenChart] = []
        self.sent: dict[str, Drawn] = {}
        """What the page was drawn with, by key."""

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
        """Draws one chart and its table; ``extra`` as in OpenChart."""
        own = f"{key}_{curves.key}"
        self.charts.append(OpenChart(own, chart, options, extra))
        self.sent[own], settled = self.charts[-1].figure(curves)
        by = curves.averaged_over(chart, options)
        numbers = partial(queries.frame, CHARTS[chart].frame, curves.shown, curves.legend, by=by)
        show_drawn(self.sent[own], key=own, label=label, numbers=numbers, settled=settled, together=curves.key, every=self.every)

    def refresh(self, curves: Curves, look: Look) -> None:
        """Sends the charts that have changed since the page was drawn, as a browser may have missed what was sent before; draws the page
        anew where another meter has spoken.
        """

        def make() -> Refreshed:
            return Refreshed(curves.meters(), curves.gpu_readings(), {one.key: one.figure(curves)[0].figure for one in self.charts})

        now = queries.of_look(look, (curves.legend, *((one.key, repr(one.options)) for one in self.charts)), make)
        if self.meters not in (None, now.meters):
            st.rerun()
        if now.gpu:
            st.caption(now.gpu)
        if self.every is not None:
            feed({key: (self.sent[key].stamp, figure) for key, figure in now.figures.items() if self.sent[key].figure != figure})
