"""Figures of the Live page: lines of ended runs are made once, a refresh sends only changed figures."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import Drawn, Numbers, Settled, compose, feed, settle, show_drawn
from dashboard.queries import Look
from dashboard.queries.curves import Legend
from tabtune_core.analysis.races import picture_rows
from tabtune_core.charts import CHARTS
from tabtune_core.charts.memory import meters_read
from tabtune_core.metrics import METRICS
from tabtune_core.settings import TRAINED
from tabtune_core.store.run_row import ENDED, Run

HEIGHT = 320
"""Of the picture, in pixels: as that of the chart beside it."""


class Curves:
    """The runs of a sweep, divided into those whose lines no longer change and those that each refresh draws."""

    def __init__(
        self, named: dict[str, str], shown: list[Run], legend: Legend, key: str, steps: int, away: frozenset[str]
    ) -> None:
        self.named, self.shown, self.legend, self.key, self.steps = named, shown, legend, key, steps
        self.away = away
        """Ids of the runs whose costs were measured on another device than those of the sweep."""
        # a run without training steps is a level line as long as the others
        fresh = [run for run in shown if run.status not in ENDED or run.settings.strategy not in TRAINED]
        labels = legend.labels
        moving = {labels[run.id] for run in fresh}  # a mean changes with any of its runs
        self.fresh = [run for run in shown if labels[run.id] in moving]
        self.settled = [run for run in shown if labels[run.id] not in moving]

    def drawn_by(self, chart: str, x: str = "") -> "Curves":
        """Returns the lines of a chart: with memory or seconds on an axis, without those of a run that is ``away``."""
        if chart not in ("memory", "seconds") and x != "seconds":
            return self
        labels, level = self.legend.labels, chart == "score"  # of runs that are not trained, at any time
        away = [run for run in self.shown if run.id in self.away and (run.settings.strategy in TRAINED or not level)]
        mixed = {labels[run.id] for run in away}
        own = [run for run in self.shown if labels[run.id] not in mixed]
        return Curves(self.named, own, self.legend, self.key, self.steps, self.away)

    def averaged_over(self, chart: str, options: dict[str, Any]) -> str:
        """Returns the column over which runs of a group are averaged; empty if each run is drawn."""
        by = options.get("x", "") if CHARTS[chart].frame == "memory" else "step"
        return by if self.legend.together else ""

    def meters(self) -> list[str]:
        """Returns the memory meters that have readings."""
        return meters_read(queries.frame("memory", self.drawn_by("memory").fresh, self.legend))


@dataclass(frozen=True, slots=True)
class OpenChart:
    """An open chart, and its options."""

    key: str
    chart: str
    options: dict[str, Any]
    extra: Callable[[Curves], dict[str, Any]]
    """Returns further options for the lines that each refresh draws, made from frames of the runs."""

    def figure(self, curves: Curves) -> tuple[Drawn, Settled | None]:
        """Returns the chart as it is sent to every tab that shows it, and its settled lines."""
        curves = curves.drawn_by(self.chart, self.options.get("x", ""))
        chart, by = CHARTS[self.chart], curves.averaged_over(self.chart, self.options)
        draw, kind = chart.draw, chart.frame

        def settled_lines() -> Settled | None:
            return settle(draw(queries.frame(kind, curves.settled, curves.legend, by=by), **self.options))

        def composed() -> Drawn:
            figure = draw(queries.frame(kind, curves.fresh, curves.legend, by=by), **self.options, **self.extra(curves))
            return compose(figure, key=self.key, settled=settled, steps_to_come=curves.steps)

        same = (self.chart, by, curves.legend, repr(self.options))
        settled = (
            queries.shared((*same, queries.stamp(kind, curves.settled)), settled_lines) if curves.settled else None
        )
        moving = (curves.steps, queries.stamp(kind, curves.fresh), settled.stamp if settled else "")
        return queries.shared((*same, self.key, *moving), composed), settled


@dataclass(frozen=True, slots=True)
class RankPicture:
    """The score against rank, as it grows."""

    key: str
    sweep: str
    metric: str
    options = ()
    """As of an OpenChart."""

    def rows(self, curves: Curves) -> pd.DataFrame:
        """Returns the rows of the runs that are shown, with their best scores so far."""

        def make() -> pd.DataFrame:
            board = queries.ranked(self.sweep, self.metric)
            return picture_rows(queries.store(), board[board["run"].isin(curves.named)], self.metric)

        return queries.shared(("rank picture", self.metric, queries.stamp("scores", curves.shown)), make)

    def figure(self, curves: Curves) -> tuple[Drawn, Settled | None]:
        """Returns the picture as it is sent to every tab."""
        drawn = CHARTS["rank_curve"].draw(self.rows(curves), metric=self.metric, height=HEIGHT)
        return compose(drawn, key=self.key), None


class OpenCharts:
    """The open charts of a page, refreshed ``every`` so many seconds, or never."""

    def __init__(self, every: float | None) -> None:
        self.every = every
        self.meters: list[str] | None = None
        """Meters that the page offers."""
        self.charts: list[OpenChart | RankPicture] = []
        self.sent: dict[str, Drawn] = {}
        """Figures that the page was drawn with, by key."""

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
        """Draws one chart and its table; ``extra`` is as in OpenChart."""
        by = curves.averaged_over(chart, options)
        shown = curves.drawn_by(chart, options.get("x", "")).shown
        numbers = partial(queries.frame, CHARTS[chart].frame, shown, curves.legend, by=by)
        self._show(OpenChart(f"{key}_{curves.key}", chart, options, extra), curves, label, numbers)

    def draw_picture(self, curves: Curves, metric: str) -> None:
        """Draws the score against rank."""
        chart = RankPicture(f"picture_{curves.key}", curves.key, metric)
        self._show(chart, curves, f"{METRICS[metric].label} against rank", partial(chart.rows, curves))

    def _show(self, chart: OpenChart | RankPicture, curves: Curves, label: str, numbers: Numbers) -> None:
        self.charts.append(chart)
        self.sent[chart.key], settled = chart.figure(curves)
        show_drawn(
            self.sent[chart.key],
            key=chart.key,
            label=label,
            numbers=numbers,
            settled=settled,
            together=curves.key,
            every=self.every,
        )

    def refresh(self, curves: Curves, look: Look) -> None:
        """Sends all charts that have changed since the page was drawn; redraws the page for another meter."""

        def make() -> tuple[list[str], dict[str, str]]:
            return curves.meters(), {one.key: one.figure(curves)[0].figure for one in self.charts}

        now = (curves.legend, *((one.key, repr(one.options)) for one in self.charts))
        meters, figures = queries.of_look(look, now, make)
        if self.meters not in (None, meters):
            st.rerun()
        if self.every is not None:
            changed = {key: figure for key, figure in figures.items() if self.sent[key].figure != figure}
            feed({key: (self.sent[key].stamp, figure) for key, figure in changed.items()})
