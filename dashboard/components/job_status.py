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
    """Says that runs or jobs wait for a worker that does not stay up."""
    if trouble is None:
        return
    times = "once" if trouble.starts == 1 else f"{trouble.starts} times"
    st.error(
        f"The worker, which executes the runs, was started {times} and is not running. Its log is {plain(str(trouble.log))};"
        f" it ends {'as follows:' if trouble.last_lines else 'without an error message.'}"
    )
    if trouble.last_lines:
        st.code(trouble.last_lines, language=None, wrap_lines=True)
    st.button("Start the worker again", on_click=queries.keep_worker, icon=":material/replay:")
