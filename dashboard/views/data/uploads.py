"""Adding tables: one or several files, samples, and another attempt with a file that could not be read.

Each file's failure is reported separately; the other files are kept.
"""

from typing import NoReturn

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain, without_flags
from dashboard.url_state import choose
from dashboard.views.data.choices_form import reading_form
from dashboard.views.data.reading import FAILED, NOTES, Item, begin, failed
from tabtune_core.access import may_fetch
from tabtune_core.data.datasets import SAMPLES
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading.names import shown_name

SAMPLE_WORDS = {
    "breast_cancer": "569 rows, 30 numbers, 2 classes",
    "wine": "178 rows, 13 numbers, 3 classes",
    "iris": "150 rows, 4 numbers, 3 classes",
    "diabetes": "442 rows, 10 numbers, a number to predict",
}


def use_sample(name: str) -> NoReturn:
    """Adds a sample and shows it."""
    st.session_state.pop(NOTES, None)
    st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1
    choose("table", queries.keep_sample(name).id)
    st.rerun()


def forget_first() -> None:
    """Discards the first failed file."""
    st.session_state[FAILED] = failed()[1:]


def notes() -> None:
    """Shows the messages of the last upload, and a form for a file that other choices may make readable."""
    for severity, text in st.session_state.get(NOTES, []):
        {"error": st.error, "info": st.info}[severity](plain(without_flags(text)))
    if not failed():
        return
    name, data, reason = failed()[0]
    st.error(plain(without_flags(f"{shown_name(name)} was not added. {reason}")))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**Reading choices for {plain(shown_name(name))}**", width="content")
        st.button("Discard this file", on_click=forget_first, type="tertiary", icon=":material/close:")
    choices = reading_form("upload", ReadingChoices(), button="Try again with these choices")
    if choices is not None:
        forget_first()
        begin([Item(name, data, choices)])
    if len(failed()) > 1:
        st.caption(f"Next: {plain(', '.join(shown_name(name) for name, *_ in failed()[1:]))}.")


def add() -> None:
    """Draws upload and samples. The uploader is replaced after each use, which frees the memory of its files."""
    number = st.session_state.setdefault("uploads", 0)
    files = st.file_uploader(
        "Upload one or more tables",
        key=f"upload_{number}",
        accept_multiple_files=True,
        max_upload_size=queries.upload_limit() // 1_000_000,
        help="CSV with any usual separator and encoding, also zipped, a workbook (Excel, ODS), Parquet or "
        "JSON lines. Each file becomes one table. Files stay on the machine that this server runs on.",
    )
    if files:
        st.session_state["uploads"] = number + 1
        begin([Item(file.name, file.getvalue(), ReadingChoices()) for file in files])
    if may_fetch():
        such = "https://…, hf://datasets/…, openml:31"
        address = st.text_input("Or an address", key=f"address_{number}", placeholder=such)
        if st.button("Fetch the table", icon=":material/download:", key=f"fetch_{number}") and address.strip():
            st.session_state["uploads"] = number + 1
            begin([Item(address.strip(), address.strip(), ReadingChoices())])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Or a sample:", width="content")
        for name in SAMPLES:
            key, help = f"sample_{name}", f"{SAMPLE_WORDS[name]}."
            if st.button(name.replace("_", " "), key, help, type="tertiary", icon=":material/science:"):
                use_sample(name)
