"""The parts of the Data page that show one table: figures, preview, questions and the target."""

import dataclasses
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import show
from dashboard.components.target_picker import NOT_CHOSEN, group_rare, pick_target, pick_way, rare_grouped
from dashboard.components.unreadable import errors_shown
from dashboard.formatting import megabytes, plain
from dashboard.table_columns import row_columns
from dashboard.url_state import forget
from dashboard.views.data.choices_form import SEVERAL, WORDS, given, reading_form
from dashboard.views.data.reading import read_again
from dashboard.views.data.table_findings import label_findings
from tabtune_core.charts.target import MOST
from tabtune_core.data.datasets import Dataset
from tabtune_core.data.findings import Question, ReadingChoices
from tabtune_core.data.target import Way
from tabtune_core.errors import TabTuneError
from tabtune_core.wording import counted, number


def figures(dataset: Dataset) -> None:
    """Shows the size of the table."""
    cells = max(dataset.rows * len(dataset.columns), 1)
    missing = sum(column.missing for column in dataset.columns)
    size = f"**{dataset.rows:,}** rows · **{len(dataset.columns):,}** columns · {megabytes(dataset.size_bytes)}"
    st.markdown(f"{size} · {missing:,} cells missing ({missing / cells:.1%})" if missing else size)


def first_rows(dataset: Dataset) -> None:
    """Draws the first hundred rows as they were read; dates without a time are shown without one."""
    shown = queries.first_rows(dataset.id)
    st.dataframe(shown, hide_index=True, height=420, placeholder="missing", column_config=row_columns(shown))


def questions(dataset: Dataset) -> None:
    """Asks about what the file does not determine."""
    if not dataset.questions:
        return
    st.header("Please confirm")
    answers = [(question, ask(question, dataset.id, number)) for number, question in enumerate(dataset.questions)]
    choices = answered(dataset.reading, answers)
    again, same = "Read the file again with these answers", choices == dataset.reading
    if st.button(again, disabled=same, icon=":material/refresh:"):
        read_again(dataset, choices)


def reading_choices(dataset: Dataset) -> None:
    """Draws how the file was read, and a form to read it differently."""
    with st.expander("Reading choices", icon=":material/tune:"):
        choices = reading_form(dataset.id[:12], dataset.reading, button="Read the file again")
        if choices == dataset.reading:
            st.info("The file was already read with these choices.")
        elif choices is not None:
            read_again(dataset, choices)


def ask(question: Question, dataset: str, number: int) -> list[str]:
    """Returns the person's answer; the first option is how the file was read, except for marks of a missing value."""
    key = f"answer_{dataset[:12]}_{number}"
    if question.field in SEVERAL:
        answers = {option: SEVERAL[question.field].format(plain(option)) for option in question.options}
        asked, write = plain(question.message), answers.__getitem__
        return st.pills(asked, question.options, selection_mode="multi", key=key, format_func=write)
    words = WORDS.get(question.field)
    if question.field == "skip_last":
        words = {rows: f"Leave out the last {rows} rows" for rows in question.options}
        words |= {"0": "Keep all rows", "1": "Leave out the last row"}
    if words is not None:
        write = words.__getitem__
        return [st.radio(plain(question.message), question.options, key=key, format_func=write, horizontal=True)]
    return [st.selectbox(plain(question.message), question.options, key=key)]


def answered(used: ReadingChoices, answers: list[tuple[Question, list[str]]]) -> ReadingChoices:
    """Returns the reading choices with the answers."""
    made: dict[str, Any] = {}
    for question, options in answers:
        if question.field == "sheet" and options[0] != question.options[0]:
            return ReadingChoices(sheet=options[0])  # the other choices are of another sheet
        if question.field == "missing_marks":
            made["missing_marks"] = tuple(dict.fromkeys([*made.get("missing_marks", used.missing_marks), *options]))
        elif question.field == "decimal_commas":
            made["decimal_commas"] = (*used.decimal_commas, *((name, True) for name in options))
        else:
            held = int(options[0]) if question.field == "skip_last" else options[0]
            made[question.field] = given(options[0]) if question.field in WORDS else held
    return dataclasses.replace(used, **made)


def target(dataset: Dataset) -> tuple[str, Way]:
    """Picks the column to predict, which may be NOT_CHOSEN yet, and how, and shows the findings about it."""
    st.header("What to predict")
    left, right = st.columns([1, 1.4])
    with left:
        column = pick_target(dataset)
        if column == NOT_CHOSEN:
            return column, "classes"
        way = pick_way(dataset.id, column)
        label_findings(dataset, column, way)
        group_rare(dataset.id, column, way)
    with right:
        (numbers if way == "numbers" else classes)(dataset, column, way)
    return column, way


def classes(dataset: Dataset, column: str, way: Way) -> None:
    """Draws the rows of each class of the target."""
    counts = queries.class_counts(dataset.id, column, way, rare_grouped())
    if len(counts) > MOST:
        st.caption(f"The {MOST} largest of {len(counts):,} classes.")
    show("class_counts", counts, key=f"classes_{dataset.id[:12]}", label=f"Rows of each class of {column}")


def numbers(dataset: Dataset, column: str, way: Way) -> None:
    """Draws the distribution of the target, and says the error of always predicting the mean."""
    bars, mean, deviation = queries.histogram(dataset.id, column)
    show("target_values", bars, key=f"values_{dataset.id[:12]}", label=f"Rows by value of {column}")
    if not bars.empty:
        average, error = number(mean, 4), number(deviation, 4)
        st.caption(f"Always predicting the mean, {average}, gives an RMSE of about {error}.")


def delete(dataset: Dataset) -> None:
    """Offers to delete a table from the workspace."""
    # the key closes it for the next table
    with st.popover("Delete", icon=":material/delete:", key=f"ask_delete_{dataset.id[:12]}"):
        using = [run for run in queries.listed(None) if run.settings.dataset == dataset.id]
        busy = [run for run in using if queries.active([run])]
        st.caption(f"Removes the table and its file from this workspace ({megabytes(dataset.size_bytes)}).")
        if using:
            ended = f"{counted(len(using), 'run')} used it"
            st.caption(f"{ended}. Results are kept. To predict with the adapters, you need to add the table again.")
        if busy:
            need = f"{len(busy)} of them still need{'s' * (len(busy) == 1)} it"
            st.caption(f"{need}: wait, or cancel them on the Live page.")
        if st.button("Delete this table", disabled=bool(busy), key=f"delete_{dataset.id[:12]}"):
            with errors_shown(TabTuneError):  # a run or job uses it, or another tab was faster
                queries.delete_table(dataset.id)
                forget("table")
                st.toast(f"Deleted; {megabytes(dataset.size_bytes)} freed")
                st.rerun()
