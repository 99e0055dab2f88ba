"""A sweep while it goes on: progress, curves, memory, and what can be asked of it.

The page reads the store and holds nothing: a reload, a second tab and a restart of the server show the same.
"""

import streamlit as st

from dashboard import queries
from dashboard.components import unreadable
from dashboard.components.glossary import define
from dashboard.components.job_status import worker_trouble
from dashboard.formatting import labels, plain, sweep_title
from dashboard.url_state import go, pick
from dashboard.views.live import progress
from dashboard.views.live.charts import charts
from dashboard.views.live.one_run import one_run, pick_run
from dashboard.views.live.queue import queue
from dashboard.views.live.view import controls, share
from tabtune_core.errors import StoreError

st.title("Live", help=define("Evaluation", "Zero-shot", "Best checkpoint"))
sweeps = queries.sweeps()
if not sweeps:
    st.info("Nothing is running yet. Choose a table, a model and some ranks; the curves then appear here.", icon=":material/monitoring:")
    if st.button("Start a run", type="primary"):
        go("views/new_run/page.py")
    st.stop()

asked = st.query_params.get("sweep")
if asked and asked not in sweeps:
    st.warning(f"There is no sweep {plain(repr(asked))} in this workspace; it may have been deleted. This is the newest one.")
sweep = pick("Sweep", list(sweeps), name="sweep", default=next(iter(sweeps)), format_func=lambda name: sweep_title(sweeps[name]))
unreadable.runs()
try:
    going = queries.active(queries.store().runs(sweep))
except StoreError as error:
    st.error(plain(str(error)))
    st.stop()


@st.fragment(run_every=1.0 if going else None)
def watch() -> None:
    """Draws the sweep as it stands; every second while something is still to come."""
    runs = queries.store().runs(sweep)
    if not runs:
        return
    named, settings = labels(runs), runs[0].settings
    latest = queries.latest(runs, settings.selection_metric)
    # each part in a container of its own: what comes and goes in one shall not move the charts, which would draw them from nothing
    with st.container():
        if queries.active(runs):
            worker_trouble(queries.look_after_worker())
        progress.overall(runs, named, latest)
        progress.runs_table(runs, named, latest, settings.selection_metric)
    with st.container(horizontal=True):
        progress.sweep_buttons(runs, sweep)
        share()
    with st.container():
        queue()
    with st.container():
        charts(runs, named, controls(settings.task), key=sweep)
    with st.container():
        st.subheader("One run")
        run = pick_run(runs, named, sweep)
        one_run(run, named[run.id], runs)
    if queries.active(runs) != going:
        st.rerun()  # the whole page, so that polling starts or ends


watch()
