"""Waiting for the worker: the progress of a page's jobs, their results, and what to do if the worker ends."""

import contextlib
from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components.unreadable import attempt, page_part, queue
from dashboard.formatting import plain
from tabtune_core.errors import StoreError
from tabtune_core.execution.lock import LOOK_SECONDS, WorkerTrouble
from tabtune_core.store.jobs import JOB_ENDED, Job, read_progress


@page_part(0.5)
def wait_for(jobs: list[Job], doing: str) -> None:
    """Shows what ``jobs`` are ``doing`` and a button that cancels them; redraws the page when one has ended."""
    store = queries.store()
    try:
        now = [store.job(job.id) for job in jobs]
    except StoreError:  # deleted in another tab
        st.rerun()
    if any(job.status in JOB_ENDED for job in now):
        st.rerun()
    worker_trouble(queries.look_after_worker())
    ending = all(job.wish for job in now)
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.container():
            if ending:
                st.markdown(":material/hourglass_top: Cancelling …")
            else:
                _how_far(now, doing)
        key, help = f"cancel_{now[0].id}", "Ends it and removes its output. You can ask for it again."
        args, icon = ([job.id for job in now],), ":material/cancel:"
        st.button("Cancel", key, help, on_click=_cancel, args=args, disabled=ending, icon=icon)


def _how_far(jobs: list[Job], doing: str) -> None:
    """Shows a progress bar with words; only words before there is progress."""
    if all(job.status == "queued" for job in jobs):
        st.markdown(":material/hourglass_top: Waiting for the worker …")
        return
    known = [progress for job in jobs if (progress := read_progress(queries.store().job_dir(job.id))) is not None]
    if not known:
        st.markdown(f":material/hourglass_top: {doing} …")
        return
    waiting = sum(job.status == "queued" for job in jobs)
    words = " and ".join(words for _, words in known) + (f"; {waiting} more to come" if waiting else "")
    st.progress(sum(share for share, _ in known) / len(jobs), f"{doing}: {words}")


def _cancel(job_ids: list[str]) -> None:
    for job_id in job_ids:
        with contextlib.suppress(StoreError):  # deleted in another tab
            queries.store().cancel_job(job_id)


def ask_for(kind: str, arguments: Mapping[str, Any]) -> None:
    """Asks the worker for a job, unless another tab has asked for the same and it is still in progress."""
    [known] = queries.newest_jobs(kind, arguments)
    if known is None or known.status in JOB_ENDED:
        (attempt if known else queue)(queries.store().add_job, kind, arguments)
    queries.keep_worker()


def result_of(job: Job | None, doing: str) -> dict[str, Any] | None:
    """Returns the result of a job; without one, shows the progress or says why it has ended."""
    if job is not None and job.status not in JOB_ENDED:
        wait_for([job], doing)
    elif job is not None and not job.result:
        why_without_result(job)
    return job.result if job is not None else None


def why_without_result(job: Job) -> None:
    """Says why an ended job has no result."""
    if job.status == "cancelled":
        st.info("It was cancelled.", icon=":material/cancel:")
    else:
        st.error(plain(job.error or "The process ended without an error message. Try again."))


def worker_trouble(trouble: WorkerTrouble | None) -> None:
    """Says why runs or jobs wait for the worker."""
    if trouble is None:
        return
    if trouble.why == "no room":
        wait = "Queued runs and jobs wait, and start automatically."
        st.warning(f"{plain(trouble.what)} {wait}", icon=":material/hard_drive:")
    elif trouble.why == "stopped":
        st.info("The worker was stopped. Queued runs wait.")
        st.button("Start the worker", on_click=queries.keep_worker, icon=":material/play_arrow:")
    else:
        _worker_ended(trouble)


def _worker_ended(trouble: WorkerTrouble) -> None:
    if trouble.what:
        st.error(f"No worker is running to execute queued runs. {plain(trouble.what)}")
    else:
        ended = f"The worker, which executes the runs, was started {trouble.starts} times and is not running"
        log = "the last lines are:" if trouble.last_lines else "it ends without an error message."
        again = f"it is started again every {LOOK_SECONDS:.0f} s"
        st.error(f"{ended}; {again}. Its log is {plain(str(trouble.log))}; {log}")
        if trouble.last_lines:
            st.code(trouble.last_lines, language=None, wrap_lines=True)
    st.button("Start the worker again", on_click=queries.keep_worker, icon=":material/replay:")
