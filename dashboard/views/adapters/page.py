"""The Adapters page: trained and uploaded adapters, their verification, file formats, and how to open them."""

from functools import partial
from pathlib import Path

import streamlit as st

from dashboard import queries
from dashboard.components import download, figure, unreadable
from dashboard.components.glossary import define
from dashboard.components.job_status import ask_for, result_of
from dashboard.formatting import megabytes, plain
from dashboard.url_state import go, invite, say_gone
from dashboard.views.adapters import adapter_upload, downloads
from dashboard.views.adapters.adapter_list import choose_adapter
from tabtune_core.errors import AdapterError, StoreError
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.lora.package_reader import readme, without_labels
from tabtune_core.metrics import METRICS
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.uploaded_adapters import damaged_adapters


def download_name(run: Run) -> str:
    """Returns the file name of the downloaded package."""
    return f"adapter-{run.settings.model}-r{run.settings.lora.rank}-{run.id}.zip"


def package(run: Run) -> Path:
    """Returns the path of the run's adapter package, which may not exist."""
    return queries.home() / "runs" / run.id / ADAPTER_FILE


def loader_code(facts: PackageFacts, run: Run) -> str:
    """Returns the Python of the package's README, with the name of the download."""
    code = readme(facts).partition("```python\n")[2].partition("```")[0]
    return code.replace(ADAPTER_FILE, download_name(run))


def withheld(run: Run) -> str:
    """Says why a package cannot be downloaded, and what to do."""
    if run.status not in ENDED:
        return "the run has not ended."
    if run.result and run.result.adapter_verified is False:
        return "a fresh process made different predictions with this package. Run it again for a new one."
    again = "Verify it again; if that fails, see the log." if run.result else "Run it again for a new one."
    return f"no fresh process has opened this package. {again}"


def figures(run: Run, path: Path) -> None:
    """Shows size and score."""
    with st.container(horizontal=True):
        figure("Package", megabytes(path.stat().st_size))
        figure("Rank", run.settings.lora.rank)
        if run.result:
            figure("Trained parameters", f"{run.result.trainable_parameters:,}")
            metric = run.settings.selection_metric
            value, meaning = run.result.validation.get(metric, float("nan")), METRICS[metric]
            figure(f"Validation {meaning.written}", meaning.text(value), help=meaning.unit)


def verify_again(run: Run) -> None:
    """Draws a button that has the worker verify the package once more, without training."""
    asked = {"run": run.id}
    [job] = queries.newest_jobs("verify", asked)
    st.button("Verify again", on_click=ask_for, args=("verify", asked), icon=":material/verified:")
    result_of(job, "Opening the package in a fresh process")


def package_download(run: Run, path: Path) -> None:
    """Draws the download of the package if a fresh process has verified it; else says why not."""
    if not (run.result and run.result.adapter_verified):
        st.info(f"No download: {withheld(run)}", icon=":material/block:")
        if run.result and run.result.adapter_verified is None:
            verify_again(run)
        return
    st.badge("verified", help="A fresh process made the same predictions.", icon=":material/verified:", color="green")
    with st.container(horizontal=True):
        name, mime = download_name(run), "application/zip"
        download("Download the adapter", path.read_bytes, name, mime, type="primary", key=f"download_{run.id}")
        # a button, since after a switch a fast click would get the other file
        if run.settings.task == "classification":
            key, content = f"download_no_labels_{run.id}", partial(without_labels, path)
            help = "It holds a hash in their place; predictions take the labels from the context rows."
            download("Download without class labels", content, name, mime, key=key, help=help)
        if st.button("Try it on rows", icon=":material/play_arrow:"):
            go("views/try_it/page.py", adapter=run.id)
    st.caption("It holds no rows of your table.", help=_HOLDS)


_HOLDS = (
    "But the names of its columns, the class labels unless you leave them out, and the numbers and a hash of the "
    "context rows. To predict, it needs the base model and the context rows."
)


def one_run(run: Run) -> None:
    """Draws an adapter of a run."""
    path = package(run)
    try:
        facts = queries.facts(run.id)
    except AdapterError as error:
        st.error(plain(str(error)))
        return
    if run.result and run.result.best_step == 0:
        st.warning("This adapter changes nothing: no checkpoint beat the pretrained model.")
    package_download(run, path)
    figures(run, path)
    if run.result and run.result.adapter_verified:
        downloads.other_formats(run, facts)
    with st.expander("How to load it", icon=":material/code:"):
        st.code(loader_code(facts, run), language="python", wrap_lines=True)
        st.caption(f"Licence of the base's weights: {plain(str(facts.base.licence))}. The README has more.")


st.title("Adapters", help=define("Adapter package", "Merged checkpoint", "Pipeline file"))
uploads = queries.uploads()
runs = {
    run.id: run for run in reversed(queries.listed(None)) if run.settings.strategy == "peft" and package(run).exists()
}
if not runs and not uploads:
    invite("No adapter yet. Each finished LoRA run adds one here, ready to download.", "inventory_2")
unreadable.damaged(damaged_adapters(queries.home()), "adapter", queries.delete_upload)
say_gone("run", [*uploads, *(run.id for run in queries.listed(None))], "adapter")
if runs or uploads:
    try:
        chosen = choose_adapter(runs, uploads)
        if chosen in uploads:
            adapter_upload.details(uploads[chosen])
        else:
            one_run(runs[chosen])
    except (FileNotFoundError, StoreError):
        st.info("This adapter was deleted in another tab.", icon=":material/delete:")
        st.button("Refresh the page", icon=":material/refresh:")

shown = "adapter_error" in st.session_state or not (runs or uploads)
with st.expander("Add an adapter from another machine", icon=":material/upload_file:", expanded=shown):
    adapter_upload.add()
