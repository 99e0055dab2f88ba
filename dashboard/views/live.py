"""A sweep while it goes on: progress, curves, memory, and what can be asked of it.

The page reads the store and holds nothing: a reload, a second tab and a restart of the server show the same.
"""

import streamlit as st

from dashboard import monitor, reading
from dashboard.choice import go, pick
from dashboard.words import labels, sweep_title
from tabtune_core.errors import StoreError

st.title("Live")
sweeps = reading.sweeps()
if not sweeps:
    st.info("Nothing is running yet. Choose a table, a model and some ranks; the curves then appear here.", icon=":material/monitoring:")
    if st.button("Start a run", type="primary"):
        go("views/new_run.py")
    st.stop()

asked = st.query_params.get("sweep")
if asked and asked not in sweeps:
    st.warning(f"There is no sweep {asked!r} in this workspace; it may have been deleted. This is the newest one.")
sweep = pick("Sweep", list(sweeps), name="sweep", default=next(iter(sweeps)), format_func=lambda name: sweep_title(sweeps[name]))
try:
    going = reading.active(reading.store().runs(sweep))
except StoreError as error:
    st.error(str(error))
    st.stop()


@st.fragment(run_every=1.0 if going else None)
def watch() -> None:
    """Draws the sweep as it stands; every second while something is still to come."""
    runs = reading.store().runs(sweep)
    if reading.active(runs):
        monitor.worker_trouble(reading.look_after_worker())
    named, far = labels(runs), monitor.far_along(runs)
    frames = {kind: reading.frame(kind, runs) for kind in reading.FRAMES}
    monitor.overall(runs, named, far)
    monitor.runs_table(runs, named, far, frames, runs[0].settings.selection_metric)
    monitor.sweep_buttons(runs, sweep)
    monitor.charts(runs, named, frames, key=sweep)
    st.subheader("One run")
    ids = list(named)
    current = next((run.id for run in runs if run.status == "running"), next((run.id for run in runs if run.error), ids[0]))
    chosen = st.selectbox(
        "Run", ids, ids.index(current), format_func=named.__getitem__, key=f"one_run_{sweep}", label_visibility="collapsed"
    )
    monitor.one_run(next(run for run in runs if run.id == chosen), named[chosen])
    if reading.active(runs) != going:
        st.rerun()  # the whole page, so that polling starts or ends


watch()
