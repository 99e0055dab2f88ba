"""The Try it page: rows that a person edits or uploads, predicted by several models; the address has the job's id."""

from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from dashboard import queries
from dashboard.components.glossary import define
from dashboard.components.job_status import result_of
from dashboard.components.unreadable import attempt, errors_shown
from dashboard.url_state import keep, nothing_yet, stop
from dashboard.views.try_it import try_choice, try_result, try_rows
from tabtune_core.data.prediction_rows import asked_rows, forget_rows, keep_rows
from tabtune_core.errors import AdapterError, StoreError, TableError
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.wording import counted

KEPT_JOBS, SEEN = 20, "try_seen"
"""Most predictions that are kept; key of the session state with the choice and the row of the last run of the page."""
DAY_SECONDS, PLAY = 86_400.0, ":material/play_arrow:"


def ask(choice: try_choice.Choice, rows: pd.DataFrame) -> None:
    """Asks the worker to predict the rows, and deletes old rows and jobs."""
    store = queries.store()
    forget_rows(store.home, older_than_seconds=DAY_SECONDS)
    queries.delete_jobs(*(old.id for old in store.jobs("predict")[KEPT_JOBS:]))
    if (old := asked()) is not None and old.status not in JOB_ENDED:
        attempt(store.cancel_job, old.id)  # of the row before the change
    keep("job", store.add_job("predict", {"rows": keep_rows(store.home, rows), **arguments_of(choice)}))
    queries.keep_worker()


def arguments_of(choice: try_choice.Choice) -> dict[str, Any]:
    """Returns the arguments of a prediction, without its rows."""
    adapters = [{"id": adapter.id, "title": adapter.title} for adapter in choice.adapters]
    return {"adapters": adapters, "table": choice.table.id, "base": choice.base}


def of_another_choice(job: Job, choice: try_choice.Choice, rows: pd.DataFrame | None) -> bool:
    """Returns True if a press would ask for something else now, also after a reload."""
    wanted = {name: value for name, value in job.arguments.items() if name != "rows"}
    of_rows = asked_rows(queries.home(), job.arguments["rows"], queries.store().job_dir(job.id))
    if wanted != arguments_of(choice) or of_rows is None or rows is None:
        return True
    return not of_rows.equals(pa.Table.from_pandas(rows, preserve_index=False))


def at_once(choice: try_choice.Choice, row: pd.DataFrame) -> bool:
    """Returns True if the row is to be predicted without a press: on the first visit, and after each change."""
    now = f"{arguments_of(choice)} {row.to_json()}"
    before, st.session_state[SEEN] = st.session_state.get(SEEN), now
    return asked() is None or before not in (None, now)


def asked() -> Job | None:
    """Returns the prediction that the address names, or None."""
    try:
        job = queries.store().job(st.query_params.get("job", ""))
    except StoreError:
        return None
    return job if job.kind == "predict" else None


def show_result(choice: try_choice.Choice, rows: pd.DataFrame | None) -> None:
    """Draws the predictions or their progress, and says if they are not of this choice."""
    job = asked()
    if job is None:
        return
    st.markdown("**Predictions**")
    if other := of_another_choice(job, choice, rows):
        st.warning("These predictions are of another choice.", icon=":material/history:")
    if result := result_of(job, "Predicting"):
        try_result.draw(result, queries.store().job_dir(job.id), outdated=other)


st.title("Try it", help=define("Context row", "Zero-shot"))
known = try_choice.candidates()
if not known:
    nothing_yet("No adapter to try yet. A finished LoRA run adds one.", "play_arrow")

with errors_shown(AdapterError, StoreError, stop=True):
    choice = try_choice.choose_adapters(known)
if choice is None:
    stop()

answer, form = st.columns([1.4, 1], gap="large")  # on a narrow screen the answer is above the form
with form:
    ways = ["Edit one row", "Upload rows"]
    way = st.segmented_control("Rows", ways, default=ways[0], required=True, key="try_way")
    with errors_shown(TableError, stop=True):
        if way == "Upload rows":
            rows = try_rows.upload_rows(choice)
            how_many = "" if rows is None else f" {counted(len(rows), 'row')}"
            nothing = rows is None or rows.empty
            pressed = st.button(f"Predict{how_many}", choice.button, type="primary", icon=PLAY, disabled=nothing)
        else:
            rows = try_rows.edit_row(choice)
            pressed = at_once(choice, rows)
            job = asked()
            if not pressed and (job is None or job.status in JOB_ENDED):
                stale = job is None or not job.result or of_another_choice(job, choice, rows)
                pressed = stale and answer.button("Predict this row", choice.button, type="primary", icon=PLAY)
with answer:
    if pressed:
        assert rows is not None
        ask(choice, rows)
    show_result(choice, rows)
