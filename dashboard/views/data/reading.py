"""Reading files one after the other, each in a process of its own, with progress and a way to cancel.

The waiting files are kept in the tab's session, so that a visit to another page does not end the reading.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.url_state import choose
from tabtune_core.data.datasets import Dataset, source_of
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading.names import shown_name
from tabtune_core.data.reading_process import ReadingProcess
from tabtune_core.errors import LayoutError, ShortageError, TableError, TabTuneError

NOTES, FAILED, WAITING = "upload_notes", "failed_uploads", "waiting_files"
"""Session keys: messages, files that other choices may make readable, and the files that are being read."""
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Item:
    """A file to read."""

    name: str
    source: Path | bytes | str
    """A str is an address."""

    choices: ReadingChoices
    replaces: str | None = None
    """Id of the table that is read again, if it is."""


@dataclass(slots=True)
class Waiting:
    """The files that a person gave at once."""

    items: list[Item]
    whole: int
    known: dict[str, Dataset] = field(default_factory=dict)
    """The tables of the workspace by id, before the current item."""
    added: list[Dataset] = field(default_factory=list)
    process: ReadingProcess | None = None
    """Reads the first of the items."""


def tell(severity: str, text: str) -> None:
    """Keeps a message for the next run of the page."""
    st.session_state.setdefault(NOTES, []).append((severity, text))


def failed() -> list[tuple[str, bytes, str]]:
    """Returns name, bytes and reason of the files that wait for other choices."""
    return list(st.session_state.get(FAILED, []))


def begin(items: Sequence[Item]) -> NoReturn:
    """Draws the page anew, which reads these files."""
    st.session_state.pop(NOTES, None)  # of earlier uploads
    st.session_state[WAITING] = Waiting(list(items), len(items))
    st.rerun()


def read_again(dataset: Dataset, choices: ReadingChoices) -> NoReturn:
    """Reads the file of a table again with other choices, and shows the result or the error."""
    begin([Item(dataset.name, source_of(queries.home(), dataset.id), choices, replaces=dataset.id)])


def cancel() -> None:
    """Cancels the reading of the current and the waiting files."""
    waiting: Waiting | None = st.session_state.pop(WAITING, None)
    if waiting is None:
        return
    if waiting.process is not None:
        waiting.process.cancel()
    tell("info", "Reading was cancelled.")
    show_added(waiting)


def follow() -> None:
    """Shows the progress until all files are read, then the first table; does nothing if no file waits."""
    waiting: Waiting | None = st.session_state.get(WAITING)
    if waiting is None:
        return
    with st.container(border=True):
        line = st.empty()
        st.button("Cancel reading", on_click=cancel, icon=":material/close:")
    while waiting.items:
        item = waiting.items[0]
        if waiting.process is None:
            waiting.known = queries.tables()
            try:
                waiting.process = queries.start_reading(item.source, item.name, item.choices)
            except ShortageError as error:
                not_added(waiting.items.pop(0), error)
                continue
        process = waiting.process
        place = f" ({waiting.whole - len(waiting.items) + 1} of {waiting.whole})" if waiting.whole > 1 else ""
        while not process.ended():
            doing = f":material/hourglass_top: **Reading {plain(shown_name(item.name))}**{place}"
            line.markdown(f"{doing}  \n{process.progress()}")
            time.sleep(LOOK_SECONDS)
        del waiting.items[0]
        waiting.process = None
        finish(item, process, waiting)
    st.session_state.pop(WAITING, None)
    show_added(waiting)
    st.rerun()


def finish(item: Item, process: ReadingProcess, waiting: Waiting) -> None:
    """Takes the result of one file, or keeps its error message."""
    name = shown_name(item.name)
    try:
        new = process.result()
    except (TableError, ShortageError) as error:
        if isinstance(error, LayoutError) and isinstance(item.source, bytes):
            st.session_state[FAILED] = [*failed(), (item.name, item.source, str(error))]
        else:
            not_added(item, error)
        return
    if item.replaces is not None:
        queries.forget_reading(item.replaces, new)
        for asked in ("target", "way", "split"):  # another reading of the file does not change the question
            if asked in st.query_params:
                choose(asked, st.query_params[asked])
    elif new in waiting.known:
        tell("info", f"{name} is already in this workspace, as {waiting.known[new].name}.")
    waiting.added.append(queries.tables()[new])


def not_added(item: Item, error: TabTuneError) -> None:
    """Says why a file was not added, in the next run of the page."""
    tell("error", str(error) if item.replaces else f"{shown_name(item.name)} was not added. {error}")


def show_added(waiting: Waiting) -> None:
    """Chooses the first table that could be read."""
    if waiting.added:
        choose("table", waiting.added[0].id)
