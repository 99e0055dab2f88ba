"""What can be done with chosen runs: another name, a note, the archive, and deleting with the disk space that it frees."""

from collections.abc import Sequence
from typing import NoReturn

import streamlit as st

from dashboard import queries
from dashboard.components.ownership import belongs
from dashboard.formatting import megabytes, plain
from tabtune_core.errors import StoreError
from tabtune_core.store.runs import ENDED, Run

LONGEST = 200
"""Letters of a name or note."""


def bar(runs: Sequence[Run]) -> None:
    """Buttons for the chosen runs, which the store holds; the page is drawn anew after each."""
    several = f"{len(runs)} runs" if len(runs) != 1 else f"**{plain(runs[0].name)}**"
    with st.container(border=True):
        st.markdown(f"Chosen: {several}")
        owners = {queries.store().owner_of(run.id) for run in runs}
        if not all([belongs(owner) for owner in sorted(owners)]):  # each that may not is said
            return
        with st.container(horizontal=True):
            if len(runs) == 1:
                _rename(runs[0])
            _annotate(runs)
            _archive(runs)
            _delete(runs)


def _done(text: str) -> NoReturn:
    st.toast(text)
    st.rerun()


def _rename(run: Run) -> None:
    with st.popover("Rename", icon=":material/edit:"):
        name = st.text_input("Name", run.name, key=f"name_{run.id}", max_chars=LONGEST).strip()
        if st.button("Save the name", disabled=not name or name == run.name):
            queries.store().rename(run.id, name)
            _done("Renamed")


def _annotate(runs: Sequence[Run]) -> None:
    before = runs[0].note if len({run.note for run in runs}) == 1 else ""
    with st.popover("Note", icon=":material/sticky_note_2:"):
        note = st.text_input("Note", before, key=f"note_{_key(runs)}", max_chars=LONGEST).strip()
        if len({run.note for run in runs}) > 1:
            st.caption("These runs have different notes; saving replaces all of them.")
        if st.button("Save the note"):
            for run in runs:
                queries.store().annotate(run.id, note)
            _done("Noted")


def _archive(runs: Sequence[Run]) -> None:
    away = all(run.archived for run in runs)
    help_text = "Archived runs are excluded from the ranking and the recommendation. Nothing is deleted."
    if st.button("Restore from the archive" if away else "Archive", icon=":material/archive:", help=help_text):
        for run in runs:
            queries.store().archive(run.id, not away)
        _done("Restored from the archive" if away else "Archived")


def _delete(runs: Sequence[Run]) -> None:
    ended = [run for run in runs if run.status in ENDED]
    staying = len(runs) - len(ended)
    with st.popover("Delete", icon=":material/delete:"):
        if staying:
            st.caption(
                f"{staying} of them {'is' if staying == 1 else 'are'} queued or running and will stay. Cancel on the Live page first."
            )
        if not ended:
            return
        freed = megabytes(sum(queries.store().size_bytes(run.id) for run in ended))
        what = plain(ended[0].name) if len(ended) == 1 else f"{len(ended)} runs"
        st.markdown(f"Delete **{what}** with curves, predictions and adapters? This frees **{freed}** and cannot be undone.")
        if st.button("Delete permanently", type="primary", key=f"delete_{_key(runs)}"):
            try:
                with st.spinner("Deleting"):
                    freed_bytes = sum(queries.store().delete(run.id) for run in ended)
            except StoreError as error:  # started or deleted from another tab meanwhile
                st.error(plain(str(error)))
            else:
                _done(f"Deleted; {megabytes(freed_bytes)} freed")


def _key(runs: Sequence[Run]) -> str:
    return f"{runs[0].id}_{len(runs)}"
