"""The Try it page: rows that a person edits or uploads, predicted by the base model and several adapters side by side.

The address has the job's id, so that a reload shows the same predictions.
"""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components.glossary import define
from dashboard.components.job_status import result_of
from dashboard.components.unreadable import errors_shown
from dashboard.formatting import cell_number, plain
from dashboard.url_state import MOST_BESIDE, go, invite, keep, stop
from dashboard.views.try_it import try_choice, try_result, try_rows
from tabtune_core.data.findings import shorten
from tabtune_core.data.prediction_rows import as_kept, asked_rows, forget_rows, keep_rows
from tabtune_core.data.values import words
from tabtune_core.errors import AdapterError, StoreError, TableError
from tabtune_core.store.jobs import Job
from tabtune_core.wording import counted, few

KEPT_JOBS = 20
DAY_SECONDS = 86_400.0


def ask(choice: try_choice.Choice, rows: pd.DataFrame) -> None:
    """Asks the worker to predict the rows, and deletes old rows and jobs."""
    store = queries.store()
    forget_rows(store.home, older_than_seconds=DAY_SECONDS)
    queries.delete_jobs(*(old.id for old in store.jobs("predict")[KEPT_JOBS:]))
    keep("job", store.add_job("predict", {"rows": keep_rows(store.home, rows), **arguments_of(choice)}))
    queries.keep_worker()


def arguments_of(choice: try_choice.Choice) -> dict[str, Any]:
    """Returns the arguments of a prediction, without its rows."""
    adapters = [{"id": adapter.id, "title": adapter.title} for adapter in choice.adapters]
    fewer = {} if choice.context_rows is None else {"context_rows": choice.context_rows}
    return {"adapters": adapters, "table": choice.table.id, "base": choice.base, **fewer}


def of_another_choice(job: Job, choice: try_choice.Choice, rows: pd.DataFrame | None) -> str:
    """Says what a prediction is of, as far as a press would ask for something else now, also after a reload; else
    returns an empty text.
    """
    now = arguments_of(choice)
    then = {"base": now["base"], "table": now["table"], **job.arguments}
    ids, titles = ({adapter[key] for adapter in then["adapters"]} for key in ("id", "title"))
    asked = asked_rows(queries.home(), then["rows"], queries.store().job_dir(job.id))
    other = []
    if asked is None or rows is None or not asked.equals(as_kept(rows)):
        other.append("of other rows" if asked is None else _which(asked.to_pandas(), rows))
    if ids != {adapter["id"] for adapter in now["adapters"]}:
        other.append(f"by {few(sorted(titles), MOST_BESIDE)}")
    if then["base"] != now["base"]:
        other.append("with the base model" if then["base"] else "without the base model")
    if then["table"] != now["table"]:
        table = queries.tables().get(then["table"])
        other.append(f"with context rows of {'a deleted table' if table is None else table.name}")
    if then.get("context_rows") != now.get("context_rows"):
        other.append("with another number of context rows")
    return (
        f"These predictions are not of the present choice, but {', '.join(other)}. Press Predict again."
        if other
        else ""
    )


def _which(asked: pd.DataFrame, rows: pd.DataFrame | None) -> str:
    """Describes one row by the cells that differ from those of ``rows``, and several rows by their number."""
    if len(asked) > 1:
        return f"of {len(asked):,} other rows"
    cells = {str(name): _written(asked[name]) for name in asked}
    now = {} if rows is None or len(rows) > 1 else {str(name): _written(rows[name]) for name in rows}
    other = [
        f"{shorten(name)} = {shorten(cell)}" for name, cell in cells.items() if name not in now or now[name] != cell
    ]
    return f"of the row with {few(other)}" if other else "of another row"


def _written(cell: pd.Series) -> str:
    value = cell.iloc[0]
    if isinstance(value, float | int) and not isinstance(value, bool) and pd.notna(value):
        return cell_number(float(value))
    return (words(cell)[0] or "missing").removesuffix(" 00:00:00")


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
        st.caption("Press Predict to see the predictions of the base model and each adapter side by side.")
        return
    st.header("Predictions")
    if other := of_another_choice(job, choice, rows):
        st.warning(plain(other), icon=":material/history:")
    if result := result_of(job, "Predicting"):
        try_result.draw(result, queries.store().job_dir(job.id), outdated=bool(other))


st.title("Try it", help=define("Context row", "Zero-shot"))
found = try_choice.candidates()
if not found:
    way_out = "A finished LoRA run adds one; you can try it when it is verified and its table is in the workspace."
    invite(f"No adapter to try yet. {way_out}", "play_arrow")
    if st.button("See all adapters"):
        go("views/adapters/page.py")
    stop()

with errors_shown(AdapterError, StoreError, stop=True):
    choice = try_choice.choose_adapters(found)
if choice is None:
    stop()

left, right = st.columns([1, 1.5], gap="large")
with left:
    way = st.segmented_control(
        "Rows", ["Edit one row", "Upload rows"], default="Edit one row", required=True, key="try_way"
    )
    with errors_shown(TableError, stop=True):
        if way == "Upload rows":
            rows = try_rows.upload_rows(choice)
            how_many = "" if rows is None else f" {counted(len(rows), 'row')}"
            nothing = rows is None or rows.empty
            pressed = st.button(
                f"Predict{how_many}", type="primary", icon=":material/play_arrow:", disabled=nothing, key=choice.button
            )
        else:
            rows, pressed = try_rows.edit_row(choice)
with right:
    if pressed:
        assert rows is not None
        ask(choice, rows)
    show_result(choice, rows)
