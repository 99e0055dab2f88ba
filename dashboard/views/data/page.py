"""The Data page: add a table, see what was read, and choose the column to predict."""

from typing import Any, Literal

import streamlit as st

from dashboard import queries
from dashboard.components import unreadable
from dashboard.components.glossary import define
from dashboard.components.target_picker import NOT_CHOSEN, RARE, ask_split, rare_grouped
from dashboard.formatting import plain, without_flags
from dashboard.url_state import go, pick, say_gone
from dashboard.views.data import reading, table_findings, table_views, uploads
from dashboard.views.data.columns_table import columns_table, has_unread_kinds
from tabtune_core.data.datasets import Dataset, damaged_datasets
from tabtune_core.data.findings import together
from tabtune_core.data.split_question import read_answer
from tabtune_core.data.target import Way
from tabtune_core.errors import TableError
from tabtune_core.settings import RunSettings

STEPS = (
    ("1 · Add a table", "A CSV with a column to predict. It stays on this machine."),
    ("2 · Choose ranks", "A pretrained model learns your table through small adapters. Compare several sizes (ranks)."),
    ("3 · Watch and keep", "Memory, time and accuracy live, a leaderboard, and the adapter to download."),
)


def first_visit() -> None:
    """Shows the product in three steps, and a button for the sample table."""
    st.title("LoRA Lab", help=define("Tabular foundation model", "LoRA"))
    st.markdown(
        "Fine-tune a tabular foundation model on your own table with LoRA, and see what each rank costs and gains."
    )
    with st.grid(3, min_column_width=240):
        for title, text in STEPS:
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{title}**")
                st.caption(text)
    with st.container(horizontal=True, vertical_alignment="center"):
        help, icon = "Breast cancer: 569 rows, 30 numbers, 2 classes.", ":material/science:"
        if st.button("Use the sample table", type="primary", icon=icon, help=help):
            uploads.use_sample("breast_cancer")
        st.page_link("views/guide/page.py", label="What is LoRA?", icon=":material/menu_book:")


def show(dataset: Dataset) -> None:
    """Draws everything about one table.

    Raises:
        TableError: its file is damaged.
    """
    table_views.figures(dataset)
    table_views.questions(dataset)
    target, way = table_views.target(dataset)
    stops: list[str] = []
    if target != NOT_CHOSEN:
        run = as_chosen(dataset, target, way, ask_split(dataset, target))
        stops = queries.table_stops(run)
    for reason in stops:
        st.error(f"**Stops training.** {plain(without_flags(reason))}", icon=":material/block:")
    with st.container(horizontal=True, vertical_alignment="center"):
        why_not = _why_not_yet(dataset, target, stops)
        look: Literal["primary", "secondary"] = "secondary" if why_not else "primary"
        icon = ":material/arrow_forward:"
        if st.button("Next: choose a model", type=look, icon=icon, icon_position="right", disabled=bool(why_not)):
            go("views/new_run/page.py", table=dataset.id, target=target)
        if why_not:
            st.caption(why_not, width="content")

    table_findings.findings(together(dataset.findings))
    with st.container(horizontal=True):
        table_findings.leave_out(dataset, table_findings.useless(dataset, target), key="useless")
        table_findings.drop_copies(dataset)
        table_findings.encode_texts(dataset, target)
    columns, first_rows = st.tabs(["Columns", "First rows"])
    with columns:
        if (kinds := columns_table(dataset)) is not None:
            reading.read_again(dataset, kinds)
    with first_rows:
        table_views.first_rows(dataset)
    table_views.reading_choices(dataset)


def _why_not_yet(dataset: Dataset, target: str, stops: list[str]) -> str:
    """Says what is to be done before a model can be chosen; empty if nothing is."""
    if has_unread_kinds(dataset):
        return "Read the file again with the kinds that you chose under Columns."
    if stops:
        return "Training cannot start with this table yet."
    return "Choose the column to predict first." if target == NOT_CHOSEN else ""


def as_chosen(dataset: Dataset, target: str, way: Way, split: str) -> RunSettings:
    """Returns settings with the target and the split that a person chose; a model is not chosen yet."""
    by, column = read_answer(split)
    how: dict[str, Any] = {"task": queries.TASKS[way], "split_at_median": way == "halves"}
    how |= {"split_by": by, "split_column": column}
    how |= {RARE: rare_grouped()} if way == "classes" else {}
    return RunSettings(dataset=dataset.id, target=target, strategy="linear", **how)


reading.follow()
tables = queries.tables()
if not tables:
    first_visit()
    unreadable.damaged(damaged_datasets(queries.home()), "table", queries.delete_table)
    uploads.notes()
    uploads.add()
    st.stop()

st.title("Data", help=define("Tabular foundation model", "Target leakage"))
say_gone("table", list(tables), "table")
with st.container(horizontal=True, vertical_alignment="bottom"):
    titles = queries.table_titles(tables.values())
    table = pick("Table", list(tables), name="table", default=next(iter(tables)), format_func=titles.__getitem__)
    table_views.delete(tables[table])
uploads.notes()
unreadable.damaged(damaged_datasets(queries.home()), "table", queries.delete_table)
# closes after each
with st.expander("Add other tables", icon=":material/upload_file:", key=f"add_{st.session_state.get('uploads', 0)}"):
    uploads.add()

with unreadable.errors_shown(TableError):
    show(tables[table])
