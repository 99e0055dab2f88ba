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
    compared: Compared, kind: str, doing: str, *, icon: str, seconds: Callable[[Run], float] | None = None
) -> tuple[Run, dict[str, Any]] | None:
    """Draws the choice and the button, which says how many ``seconds`` it takes; returns the run and its result."""
    lora = [run for run in compared.done if run.settings.strategy == "peft"]
    if not lora:
        st.info("No LoRA run of this sweep has a result yet.", icon=":material/hourglass_top:")
        return None
    best = next((of for of in compared.board["id"] if of in {run.id for run in lora}), None)
    lora.sort(key=lambda run: (run.id != best, -run.settings.lora.rank))
    ids, names = [run.id for run in lora], compared.legend.labels.__getitem__
    chosen = st.selectbox("Run", ids, format_func=names, key=f"{kind}_{compared.sweep}", width=SELECT_PIXELS)
    run = next(run for run in lora if run.id == chosen)
    [job] = queries.newest_jobs(kind, {"run": run.id})
    if result := result_of(job, doing):
        return run, result
    if job is None or job.status in JOB_ENDED:
        long = seconds(run) if seconds else 0.0
        words = f"Compute (about {duration(long)})" if long else "Compute"
        arguments, more = (kind, {"run": run.id}), "Also while other runs train."
        st.button(words, key=f"ask_{kind}", on_click=ask_for, args=arguments, icon=icon, help=more)
    return None
