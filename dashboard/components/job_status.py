"""Waiting for the worker: how far the jobs of a page are, and what to do where no worker stays up."""

import numpy as np
import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.server.worker_watch import WorkerTrouble
from tabtune_core.errors import StoreError
from tabtune_core.store.job_progress import read_progress
from tabtune_core.store.jobs import JOB_ENDED, Job


@st.fragment(run_every=1.0)
def wait_for(jobs: list[Job], doing: str) -> None:
    """How far the jobs are, as far as they say it; the whole page is drawn anew when one has ended. ``doing`` is what is going on."""
    store = queries.store()
    try:
        now = [store.job(job.id) for job in jobs]
    except StoreError:  # deleted in another tab
        st.rerun()
    if any(job.status in JOB_ENDED for job in now):
        st.rerun()
    worker_trouble(queries.look_after_worker())
    if all(job.status == "queued" for job in now):
        st.markdown(":material/hourglass_top: Waiting for the worker …")
        return
    told = [share for job in jobs if (share := read_progress(store.job_dir(job.id))) is not None]
    if told:
        st.progress(float(np.sum(told)) / len(jobs), doing)
    else:
        st.markdown(f":material/hourglass_top: {doing} …")


def worker_trouble(trouble: WorkerTrouble | None) -> None:
    """Says why runs or jobs wait for the worker, or that it is of another version."""
    if trouble is None:
        return
    if trouble.why == "outdated":
        asked = "It was asked to make way for one of this version; what runs goes on."
        by_hand = f"It cannot be asked to make way; end it with `kill {trouble.pid}`. What runs goes on."
        how = asked if trouble.can_be_asked else by_hand
        st.info(f"The worker (process {trouble.pid}) is of another version than these pages: {plain(trouble.version)}. {how}")
    elif trouble.why == "suspended":
        st.warning(
            f"The worker (process {trouble.pid}) does not respond, because it is suspended. What runs goes on, what is queued waits."
            f" Let it go on with `kill -CONT {trouble.pid}`, or end it with `kill -9 {trouble.pid}`."
        )
    elif trouble.why == "stopped":
        st.info("The worker was stopped with `tabtune worker --stop`. What runs goes on, what is queued waits.")
        st.button("Start the worker", on_click=queries.keep_worker, icon=":material/play_arrow:")
    else:
        _worker_ended(trouble)


def _worker_ended(trouble: WorkerTrouble) -> None:
    times = "once" if trouble.starts == 1 else f"{trouble.starts} times"
    st.error(
        f"The worker, which executes the runs, was started {times} and is not running. Its log is {plain(str(trouble.log))};"
        f" it ends {'as follows:' if trouble.last_lines else 'without an error message.'}"
    )
    if trouble.last_lines:
        st.code(trouble.last_lines, language=None, wrap_lines=True)
    st.button("Start the worker again", on_click=queries.keep_worker, icon=":material/replay:")
