"""Add a table, see what was read, and name the column to predict."""

from typing import NoReturn

import streamlit as st

from dashboard import reading, table_views
from dashboard.choice import choose, go, pick
from dashboard.choices_form import reading_form
from dashboard.words import plain
from tabtune_core.data.datasets import SAMPLES, Dataset, add_sample
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.errors import LayoutError, TableError

STEPS = (
    ("1 · Add a table", "A CSV with a column to predict. It stays on this machine."),
    ("2 · Choose ranks", "A pretrained model learns your table through small adapters. Compare several sizes (ranks) in one go."),
    ("3 · Watch and keep", "Memory, time and accuracy live, a leaderboard, and the adapter to download."),
)
UPLOAD = ("upload_error", "failed_upload")  # left by an upload that failed: why, and name and bytes where other choices may help


def first_visit() -> None:
    """What this is, in three steps, and the shortest way to see it."""
    st.title("LoRA Lab")
    st.markdown("Fine-tune a tabular foundation model on your own table with LoRA, and see what each rank costs and brings.")
    with st.grid(3, min_column_width=240):
        for title, text in STEPS:
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{title}**")
                st.caption(text)
    if st.button("Use the sample table", type="primary", icon=":material/science:", help="Breast cancer: 569 rows, 30 numbers, 2 classes."):
        use(add_sample(reading.home(), "breast_cancer"))


def forget_upload() -> None:
    """Lets go of an upload that failed."""
    for left in UPLOAD:
        st.session_state.pop(left, None)


def use(dataset: Dataset) -> NoReturn:
    """Chooses a table and shows it."""
    forget_upload()
    choose("table", dataset.id)
    st.rerun()


def take(name: str, data: bytes, choices: ReadingChoices) -> NoReturn:
    """Adds an uploaded file and shows it, or keeps why not for the next look at the page."""
    forget_upload()
    try:
        with st.spinner(f"Reading {name}"):
            dataset = reading.add(data, name, choices)
    except TableError as error:
        st.session_state["upload_error"] = f"{name} was not added. {error}"
        if isinstance(error, LayoutError):
            st.session_state["failed_upload"] = (name, data)
        st.rerun()
    use(dataset)


def add() -> None:
    """Upload and samples. The uploader is replaced after each file, which frees the file's memory."""
    number = st.session_state.setdefault("uploads", 0)
    file = st.file_uploader(
        "Upload a table", type=["csv", "tsv", "txt", "parquet", "zip", "gz"], key=f"upload_{number}",
        max_upload_size=reading.LIMIT_BYTES // 1_000_000,
        help="CSV with any usual separator and encoding, also zipped, or Parquet. Nothing leaves this machine.",
    )  # fmt: skip
    if file is not None:
        st.session_state["uploads"] = number + 1
        take(file.name, file.getvalue(), ReadingChoices())
    if "upload_error" in st.session_state:
        st.error(plain(st.session_state["upload_error"]))
    if "failed_upload" in st.session_state:
        name, data = st.session_state["failed_upload"]
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**Reading choices for {plain(name)}**", width="content")
            st.button("Forget this file", on_click=forget_upload, type="tertiary", icon=":material/close:")
        choices = reading_form("upload", ReadingChoices(), button="Try again with these choices")
        if choices is not None:
            take(name, data, choices)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Or a sample:", width="content")
        for name in SAMPLES:
            if st.button(name.replace("_", " "), key=f"sample_{name}", type="tertiary", icon=":material/science:"):
                use(add_sample(reading.home(), name))


tables = reading.tables()
if not tables:
    first_visit()
    add()
    st.stop()

st.title("Data")
with st.container(horizontal=True, vertical_alignment="bottom"):
    table = pick(
        "Table", list(tables), name="table", default=next(iter(tables)), format_func=lambda name: reading.table_title(tables[name])
    )
    table_views.delete(tables[table])
with st.expander("Add another table", icon=":material/upload_file:", expanded="upload_error" in st.session_state):
    add()

dataset = tables[table]
table_views.figures(dataset)
table_views.questions(dataset)
target = table_views.target(dataset)
if st.button("Next: choose a model", type="primary", icon=":material/arrow_forward:", icon_position="right"):
    go("views/new_run.py", table=table, target=target)

st.subheader("What was read")
table_views.findings(dataset.findings)
columns, first_rows = st.tabs(["Columns", "First rows"])
with columns:
    table_views.columns(dataset)
with first_rows:
    table_views.first_rows(dataset)
table_views.reading_choices(dataset)
table_views.picture(dataset)
