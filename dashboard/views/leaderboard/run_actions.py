"""Actions for chosen runs: rename, note, archive, more seeds, delete."""

from collections.abc import Sequence
from typing import NoReturn

import streamlit as st

from dashboard import queries
from dashboard.components.unreadable import errors_shown
from dashboard.formatting import megabytes, plain
from dashboard.url_state import MOST_BESIDE, forget, go
from tabtune_core.errors import StoreError
from tabtune_core.store.run_row import ENDED, RANKED, Run

SIDE_BY_SIDE = "Runs side by side"
"""The tab of Compare."""
LONGEST = 200
"""Most characters of a name or note."""


def bar(runs: Sequence[Run]) -> None:
    """Draws buttons that open the chosen runs on other pages, and buttons that change them and redraw the page."""
    several = f"{len(runs)} runs" if len(runs) != 1 else f"**{plain(runs[0].name)}**"
    with st.container(border=True):
        st.markdown(f"Chosen: {several}")
        _go_on(runs)
        with st.container(horizontal=True):
            if len(runs) == 1:
                _rename(runs[0])
            _annotate(runs)
            _archive(runs)
            _delete(runs)


def _go_on(runs: Sequence[Run]) -> None:
    """Draws buttons to the pages that show or use runs; if a page cannot take these runs, its tooltip says why."""
    ids, sweeps = [run.id for run in runs], {run.sweep for run in runs}
    ended = [run.id for run in runs if run.status in RANKED]
    adapters = [run.id for run in runs if run.result and run.result.adapter_verified]
    one_sweep = "" if len(sweeps) == 1 else " Choose runs of one sweep for it."
    no_adapter = "" if adapters else " The chosen runs have no verified adapter."
    several = "" if len(ended) > 1 else " Choose two runs with a result for it."

    def first(of: list[str]) -> str:
        return f", of the first {MOST_BESIDE}." if len(of) > MOST_BESIDE else "."

    compared = f"Settings, errors and predictions side by side{first(ended)}"
    with st.container(horizontal=True):
        if _button("Compare", "compare_arrows", compared, one_sweep or several):
            go("views/compare/page.py", sweep=runs[0].sweep, runs=",".join(ended), view=SIDE_BY_SIDE)
        if _button("Live", "monitoring", "Their curves, notes and log.", one_sweep):
            go("views/live/page.py", sweep=runs[0].sweep, run=ids[0], only=",".join(ids))
        if _button("Adapters", "inventory_2", "Download and export the adapter.", no_adapter):
            go("views/adapters/page.py", run=adapters[0])
        if _button("Try it", "play_arrow", f"Predict rows with the adapters{first(adapters)}", no_adapter):
            go("views/try_it/page.py", adapter=adapters[0], adapters=",".join(adapters))


def _button(label: str, icon: str, what: str, why_not: str) -> bool:
    return st.button(label, key=f"go_{icon}", icon=f":material/{icon}:", help=what + why_not, disabled=bool(why_not))


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
    popover = st.popover("Delete", icon=":material/delete:", key="delete_chosen", on_change="rerun")
    if not popover.open:  # the size of each run's folder is read below
        return
    with popover:
        if staying:
            stay = f"{staying} of them {'is' if staying == 1 else 'are'} queued or running and will stay"
            st.caption(f"{stay}. Cancel on the Live page first.")
        if not ended:
            return
        freed = megabytes(sum(queries.store().size_bytes(run.id) for run in ended))
        what = plain(ended[0].name) if len(ended) == 1 else f"{len(ended)} runs"
        means = f"This frees **{freed}** and cannot be undone."
        st.markdown(f"Delete **{what}** with curves, predictions and adapters? {means}")
        if st.button("Delete permanently", type="primary", key=f"delete_{_key(runs)}"):
            with errors_shown(StoreError):  # started or deleted in another tab
                with st.spinner("Deleting"):
                    for run in ended:
                        queries.store().delete(run.id)
                if ended[0].sweep not in queries.sweeps():
                    forget("sweep")
                    forget("board")
                _done(f"Deleted; {freed} freed")


def _key(runs: Sequence[Run]) -> str:
    return f"{runs[0].id}_{len(runs)}"
