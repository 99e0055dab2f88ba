"""A job about one LoRA run of a sweep: the choice of the run, a button, and the result once it is there."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components.job_status import ask_for, result_of
from dashboard.formatting import duration
from dashboard.url_state import SELECT_PIXELS
from dashboard.views.compare.compared import Compared
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_row import Run


def job_of_one_run(
    compared: Compared, runs: list[Run], kind: str, doing: str, *, icon: str, seconds: Callable[[Run], float]
) -> tuple[Run, dict[str, Any]] | None:
    """Draws the choice among ``runs`` and the button; returns the run and its result.

    The button says how many ``seconds`` it takes, unless they are 0.
    """
    ids, names = [run.id for run in runs], compared.legend.labels.__getitem__
    chosen = st.selectbox("Run", ids, format_func=names, key=f"{kind}_{compared.sweep}", width=SELECT_PIXELS)
    run = next(run for run in runs if run.id == chosen)
    [job] = queries.newest_jobs(kind, {"run": run.id})
    if result := result_of(job, doing):
        return run, result
    if job is None or job.status in JOB_ENDED:
        long = seconds(run)
        words = f"Compute (about {duration(long)})" if long else "Compute"
        arguments, more = (kind, {"run": run.id}), "Also while other runs train."
        st.button(words, key=f"ask_{kind}", on_click=ask_for, args=arguments, icon=icon, help=more)
    return None
