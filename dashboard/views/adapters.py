"""Trained adapters: what is in the package, whether it was verified, and the file itself."""

import zipfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import reading
from dashboard.choice import go, pick
from dashboard.words import megabytes, moment, score
from tabtune_core.metrics import METRICS
from tabtune_core.runs.store import ENDED, Run

README_LIMIT_BYTES = 100_000


def package(run: Run) -> Path:
    """Where the run's adapter package lies, if it has one."""
    return reading.store().run_dir(run.id) / "adapter.zip"


def contents(path: Path) -> tuple[pd.DataFrame, str]:
    """The files inside, and the text of its README.

    Raises:
        zipfile.BadZipFile: when the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        inside = pd.DataFrame(
            {"File": [item.filename for item in archive.infolist()], "Size (kB)": [item.file_size / 1e3 for item in archive.infolist()]}
        )
        readme = next((item for item in archive.infolist() if item.filename.endswith("README.md")), None)
        return inside, archive.read(readme)[:README_LIMIT_BYTES].decode("utf-8", "replace") if readme else ""


def verification(run: Run) -> None:
    """Whether the package was loaded again and gave the same predictions."""
    verified = run.result.adapter_verified if run.result else None
    if verified:
        st.badge("verified: loaded in a fresh process, same predictions", icon=":material/verified:", color="green")
    elif verified is None:
        st.badge("not verified", icon=":material/help:", color="gray", help="Nobody has loaded this package in a fresh process yet.")
    else:
        st.badge("verification failed: a fresh process predicted something else", icon=":material/error:", color="red")


def withheld(run: Run) -> str:
    """Why a package is not handed out, and what to do."""
    if run.status not in ENDED:
        return "the run still goes on. Its adapter is offered once a fresh process has loaded it and given the run's own predictions."
    if run.result and run.result.adapter_verified is False:
        return "a fresh process did not get the run's own predictions from this package. The log says more; run it again for a new one."
    return "the run ended before a fresh process could try this package. Run it again for a new one."


st.title("Adapters")
runs = {run.id: run for run in reversed(reading.store().runs()) if run.settings.strategy == "peft" and package(run).exists()}
if not runs:
    st.info("No adapter yet. A LoRA run that ends leaves one here, ready to download.", icon=":material/inventory_2:")
    if st.button("Start a run", type="primary"):
        go("views/new_run.py")
    st.stop()


def title(name: str) -> str:
    """What the list calls an adapter."""
    run = runs[name]
    return f"{run.name} · {run.settings.model} · predicts {run.settings.target} · {moment(run.ended or run.created)}"


chosen = pick("Adapter", list(runs), name="run", default=next(iter(runs)), format_func=title)
run, path = runs[chosen], package(runs[chosen])
try:
    inside, readme = contents(path)
except zipfile.BadZipFile:
    st.error("This adapter package is damaged and cannot be opened. Run it again to get a new one.")
    st.stop()

verification(run)
with st.container(horizontal=True):
    st.metric("Package", megabytes(path.stat().st_size), border=True, width="content")
    st.metric("Rank", run.settings.lora.rank, border=True, width="content")
    if run.result:
        st.metric("Trained parameters", f"{run.result.trainable_parameters:,}", border=True, width="content")
        metric = run.settings.selection_metric
        value = run.result.validation.get(metric, float("nan"))
        st.metric(f"Validation {METRICS[metric].label}", score(value, metric), border=True, width="content", help=METRICS[metric].unit)
if run.result and run.result.best_step == 0:
    st.warning("No gain over zero-shot: this adapter changes nothing, the pretrained model did better than any trained state.")
if run.result and run.result.adapter_verified:
    st.download_button(
        "Download the adapter", path.read_bytes, f"adapter-{run.settings.model}-r{run.settings.lora.rank}-{run.id}.zip", "application/zip",
        on_click="ignore", type="primary", icon=":material/download:", key=f"download_{run.id}",
    )  # fmt: skip
else:
    st.info(f"No download: {withheld(run)}", icon=":material/block:")
st.caption("The package holds no rows of your table. It needs the base model named inside, and the context rows, to predict.")

how, what, log = st.tabs(["How to load it", "What is inside", "Log"])
how.markdown(readme or "This package has no README.")
what.dataframe(inside, hide_index=True, column_config={"Size (kB)": st.column_config.NumberColumn(format="%.1f")})
log.code(reading.log_tail(run.id) or "This run has written no log.", language=None, wrap_lines=True)
