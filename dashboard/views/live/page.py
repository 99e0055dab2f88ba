"""The Live page: a sweep's progress, curves and memory, and buttons to stop or change its runs; it keeps no state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

from dashboard import queries
from dashboard.components import unreadable
from dashboard.components.glossary import define
from dashboard.components.job_status import worker_trouble
from dashboard.components.search_tries import search_tries, search_words
from dashboard.components.unreadable import page_part
from dashboard.formatting import labels, plain, sweep_titles
from dashboard.queries import Latest, Look
from dashboard.url_state import SELECT_PIXELS, go, nothing_yet, pick, say_gone, stop
from dashboard.views.live import progress
from dashboard.views.live.actions import go_on, waiting_runs
from dashboard.views.live.charts import charts, chosen
from dashboard.views.live.drawing import Curves, OpenCharts
from dashboard.views.live.one_run import one_run, pick_run
from dashboard.views.live.progress import end_notification
from dashboard.views.live.view import controls, legend_by
from tabtune_core.analysis.runs_table import costs_note, elsewhere
from tabtune_core.errors import StoreError
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.searches import PAUSED

head = st.container(horizontal=True, vertical_alignment="center")
head.title("Live", help=define("Evaluation", "Zero-shot", "Best checkpoint"), width="content")
sweeps = queries.sweeps()
if not sweeps:
    nothing_yet(
        "Nothing is running yet. Choose a table, a model and some ranks; the curves then appear here.", "monitoring"
    )

say_gone("sweep", list(sweeps), "sweep")
current = next((name for name, seen in sweeps.items() if not ENDED.issuperset(seen.counts)), next(iter(sweeps)))
with head:
    sweep = pick(
        "Sweep",
        list(sweeps),
        name="sweep",
        default=current,
        format_func=sweep_titles(sweeps).__getitem__,
        label_visibility="collapsed",
        width=SELECT_PIXELS,
    )
unreadable.runs()
with unreadable.errors_shown(StoreError, stop=True):
    drawn = queries.look(sweep)
runs, stamp = drawn.runs, drawn.stamp
if not runs:
    stop()  # the runs cannot be read, as unreadable.runs() has said
named, settings, going = labels(runs), runs[0].settings, queries.active(runs)
every, table_every, seldom = (1.0, 3.0, 8.0) if going else (None, None, None)  # seconds between two refreshes

progress.tab_title(runs)
progress.failures(runs, named)
# this holds what changes with every step; the controls below it do not move
above = st.container()
with st.container(horizontal=True, vertical_alignment="center"):
    if going:
        progress.sweep_buttons(sweep)
    else:
        compare, icon = "Compare the results of this sweep's runs.", ":material/leaderboard:"
        if st.button("Leaderboard", type="primary", icon=icon, help=compare):
            go("views/leaderboard/page.py", sweep=sweep, board=sweep)
        if (search := queries.store().search(sweep)) and search.ended == PAUSED:
            st.button("Go on with the search", on_click=go_on, args=(runs,), icon=":material/play_circle:")
    view, shown = controls(settings, runs, sweep, lambda: chosen(named, sweep))
    end_notification(sweep, progress.ending(runs, sweeps[sweep]), going=going)
legend = legend_by(view.over_seeds, runs, [run for run in runs if run.id in shown])
opened, board = OpenCharts(every), queries.ranked(sweep, settings.selection_metric, archived=True)
away = frozenset(board.loc[elsewhere(board), "run"])
if note := costs_note(board):
    st.caption(plain(note))


@contextmanager
def as_it_stands(look_at: Callable[[], Look]) -> Iterator[Look]:
    """Yields the runs of ``look_at``; redraws the whole page if a run began, ended, was renamed or was deleted."""
    try:
        look = look_at()
        if look.stamp != stamp:
            st.rerun()
        yield look
    except StoreError:
        if queries.stamp_of(sweep) == stamp:
            raise
        st.rerun()


def curves_of(now: list[Run], latest: dict[str, Latest]) -> Curves:
    """Returns the curves of the runs that are shown."""
    return Curves(
        named, [run for run in now if run.id in shown], legend, sweep, progress.steps_shown(now, latest), away
    )


@page_part()
def draw_charts() -> None:
    """Draws all charts, with the page and when a person opens another chart; ``watch`` keeps them up to date."""
    with as_it_stands(lambda: queries.watched(sweep, drawn)) as look:
        charts(curves_of(look.runs, queries.latest(look, settings.selection_metric)), opened, view)


draw_charts()


@page_part(every)
def watch() -> None:
    """Draws the present state of the sweep, repeatedly until all runs have ended."""
    with as_it_stands(lambda: queries.watched(sweep, drawn)) as look:
        now, latest = look.runs, queries.latest(look, settings.selection_metric)
        curves = curves_of(now, latest)
        if going:
            worker_trouble(queries.look_after_worker())
        progress.overall(now, named, latest)
        search_words(sweep)
        opened.refresh(curves, look)


# not inside watch: if the page is redrawn during a refresh, the refresh must not write outside its own place
with above:
    watch()


@page_part(table_every)
def table() -> None:
    """Draws one line per run, below the charts, and what a search has tried."""
    with as_it_stands(lambda: queries.watched(sweep, drawn)) as look:
        latest = queries.latest(look, settings.selection_metric)
        search_tries(sweep)
        progress.runs_table(look, named, latest, settings.selection_metric, away)


table()
page_part(seldom)(waiting_runs)(sweep)


@page_part(seldom)
def one() -> None:
    """Draws one run with its notes and buttons."""
    with as_it_stands(lambda: queries.look(sweep)) as look:
        now = look.runs
        st.header("One run")
        run = pick_run(now, named, sweep)
        one_run(run, named[run.id])


one()
