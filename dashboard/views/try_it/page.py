"""The Try it page: rows that a person edits or uploads, predicted by the base model and several adapters side by side.

The address has the job's id, so that a reload shows the same predictions.
"""

import contextlib

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components.glossary import define
from dashboard.components.job_status import wait_for, why_without_result
from dashboard.formatting import plain
from dashboard.url_state import go, keep
from dashboard.views.try_it import try_choice, try_result, try_rows
from tabtune_core.data.prediction_rows import forget_rows, keep_rows
from tabtune_core.errors import AdapterError, StoreError, TableError
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.wording import counted

KEPT_JOBS = 20
DAY_SECONDS = 86_400.0


def ask(choice: try_choice.Choice, rows: pd.DataFrame) -> None:
    """Asks the worker to predict the rows, and deletes old rows and jobs."""
    store = queries.store()
    forget_rows(store.home, older_than_seconds=DAY_SECONDS)
    for old in store.jobs("predict")[KEPT_JOBS:]:
        with contextlib.suppress(StoreError):  # it runs, or another tab was faster
            store.delete_job(old.id)
    adapters = [{"id": adapter.id, "title": adapter.title} for adapter in choice.adapters]
    arguments = {"rows": keep_rows(store.home, rows), "adapters": adapters, "table": choice.table.id, "base": choice.base}
    arguments |= {} if choice.context_rows is None else {"context_rows": choice.context_rows}
    job = store.add_job("predict", arguments)
    keep("job", job)
    st.session_state["try_asked"] = (job, fingerprint(choice, rows))
    queries.keep_worker()


def fingerprint(choice: try_choice.Choice, rows: pd.DataFrame | None) -> tuple[object, ...]:
    """Returns a key that changes with anything that would change the predictions."""
    content = None if rows is None else hash(tuple(pd.util.hash_pandas_object(rows.astype(str), index=False)))
    return tuple(adapter.id for adapter in choice.adapters), choice.table.id, choice.base, choice.context_rows, content


def asked() -> Job | None:
    """Returns the prediction that the address names, or None."""
    try:
        job = queries.store().job(st.query_params.get("job", ""))
    except StoreError:
        return None
    return job if job.kind == "predict" else None


def show_result(now_chosen: tuple[object, ...]) -> None:
    """Draws the predictions or their progress."""
    job = asked()
    if job is None:
        st.caption("Press Predict to see the predictions of the base model and each adapter side by side.")
        return
    st.header("Predictions")
    of, then = st.session_state.get("try_asked", (None, None))
    if of == job.id and then != now_chosen:
        st.caption(":material/history: These predictions are older than your last change. Press Predict again.")
    if job.status not in JOB_ENDED:
        wait_for([job], "Predicting")
    elif job.result:
        try_result.draw(job.result, queries.store().job_dir(job.id))
    else:
        why_without_result(job)


st.title("Try it", help=define("Context row", "Zero-shot"))
found = try_choice.candidates()
if not found:
    st.info(
        "No adapter to try yet. A finished LoRA run adds one; you can try it when it is verified and its table is in the workspace.",
        icon=":material/play_arrow:",
    )
    if st.button("Start a run", type="primary"):
        go("views/new_run/page.py")
    if st.button("See all adapters"):
        go("views/adapters/page.py")
    st.stop()

try:
    choice = try_choice.choose_adapters(found)
except (AdapterError, StoreError) as error:
    st.error(plain(str(error)))
    st.stop()
if choice is None:
    st.stop()

left, right = st.columns([1, 1.5], gap="large")
with left:
    way = st.segmented_control("Rows", ["Edit one row", "Upload rows"], default="Edit one row", required=True, key="try_way")
    try:
        if way == "Upload rows":
            rows = try_rows.upload_rows(choice)
            how_many = "" if rows is None else f" {counted(len(rows), 'row')}"
            nothing = rows is None or rows.empty
            pressed = st.button(f"Predict{how_many}", type="primary", icon=":material/play_arrow:", disabled=nothing, key=choice.button)
        else:
            rows, pressed = try_rows.edit_row(choice)
    except TableError as error:
        st.error(plain(str(error)))
        st.stop()
with right:
    if pressed:
        assert rows is not None
        ask(choice, rows)
    show_result(fingerprint(choice, rows))
