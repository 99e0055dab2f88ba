"""The formats of one adapter: contents, preparation, verification, download, and the code that opens each."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components import download
from dashboard.components.job_status import ask_for, wait_for, why_without_result
from dashboard.formatting import megabytes, plain
from tabtune_core.execution.jobs.export_formats import FORMATS, Format, file_name, snippet
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.store.run_row import Run

KIND = "export"


def prepare(asked: Mapping[str, str]) -> None:
    """Asks the worker for a file, and deletes the job of an earlier attempt."""
    [old] = queries.newest_jobs(KIND, asked)
    ask_for(KIND, asked)
    if old is not None and old.status in JOB_ENDED:
        queries.delete_jobs(old.id)


def other_formats(run: Run, facts: PackageFacts) -> None:
    """Draws the other formats of the adapter, one line each."""
    st.header("Other formats")
    if run.settings.dataset not in queries.tables():
        st.info("Add the table of this run again to prepare other formats.")
        return
    jobs = queries.newest_jobs(KIND, *({"run": run.id, "format": form} for form in FORMATS))
    for form, job in zip(FORMATS, jobs, strict=True):
        _line(run, facts, form, job)
    if going := [job for job in jobs if job is not None and job.status not in JOB_ENDED]:
        wait_for(going, "Creating and verifying the file; it takes seconds, longer for a large model")


def _line(run: Run, facts: PackageFacts, form: Format, job: Job | None) -> None:
    kind = FORMATS[form]
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{plain(kind.title)}**", width="content", help=kind.inside)
            _button(run, facts, form, job)
        if kind.holds_rows:
            rows = f"Holds {len(facts.context_rows):,} rows of your table, with the target."
            st.markdown(f":orange[:material/visibility: {rows}]", help="Give it only to those who may see them.")
        if job is not None and job.result:
            _verified(job.result, run)
        elif job is not None and job.status in JOB_ENDED:
            why_without_result(job)
        with st.expander("Code", icon=":material/code:"):
            st.code(snippet(form, facts, run.id, table=facts.table_name).code, language="python", wrap_lines=True)


def _button(run: Run, facts: PackageFacts, form: Format, job: Job | None) -> None:
    if job is not None and job.status not in JOB_ENDED:
        st.markdown(":material/hourglass_top: Preparing", width="content")
        return
    # each button has a name of its own, for screen readers
    title = FORMATS[form].title[0].lower() + FORMATS[form].title[1:]
    path = queries.store().job_dir(job.id) / file_name(form, facts, run.id) if job and job.result else None
    if job and path and path.is_file():
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            mime = "application/zip" if path.suffix == ".zip" else "application/octet-stream"
            size = megabytes(path.stat().st_size)
            download(f"Download ({size})", path.read_bytes, path.name, mime, type="primary", key=f"get_{form}_{run.id}")
            key, icon, delete = f"drop_{form}_{run.id}", ":material/delete:", queries.delete_jobs
            st.button(f"Remove {title}", key, on_click=delete, args=(job.id,), type="tertiary", icon=icon)
        return
    asked = {"run": run.id, "format": form}
    st.button(f"Prepare {title}", on_click=prepare, args=(asked,), icon=":material/build:", key=f"make_{form}_{run.id}")


def _verified(result: Mapping[str, Any], run: Run) -> None:
    classes = run.settings.task == "classification"
    unit = "of a probability" if classes else "standard deviations of the target"
    flips = f" {result['labels']:,} labels differ." if result["labels"] else ""
    member = "" if result["views"] == run.settings.train.views else " It was compared with one ensemble member."
    largest = f"Largest difference from the run's predictions: {result['difference']:.1e} {unit}."
    help = f"A fresh process ran the code below with {plain(result['through'])}. {largest}{flips}{member}"
    st.badge(f"verified on {result['rows']:,} test rows", icon=":material/verified:", color="green", help=help)
