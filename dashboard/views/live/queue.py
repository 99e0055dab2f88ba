"""What waits, over all sweeps of the workspace, in the order in which it will be taken."""

import streamlit as st

from dashboard import queries
from dashboard.components.attempt import attempt
from dashboard.formatting import plain
from dashboard.server.people import by, may_change
from dashboard.views.live.actions import ask, tweak
from tabtune_core.store.run_row import Run, Sweep
from tabtune_core.wording import counted

SHOWN = 8
"""Rows that are drawn at once: the page draws them anew every few seconds."""


def queue(shown: str) -> None:
    """An expander with a row a run and what can be asked of it; it says how many are not of the sweep that is ``shown``."""
    waiting = queries.store().runs(status="queued")
    others = sum(run.sweep != shown for run in waiting)
    of_others = "" if not others else " in other sweeps" if others == len(waiting) else f", {others} of them in other sweeps"
    title = f"Queue: {counted(len(waiting), 'run')} waiting{of_others}" if waiting else "Queue: empty"
    behind = st.expander(title, key="queue", on_change="rerun", icon=":material/queue:")
    if not behind.open:
        return
    with behind:
        if not waiting:
            st.caption("Queued runs of all sweeps appear here. Queue a run on the New run page.")
            return
        sweeps = queries.sweeps()
        pages = -(-len(waiting) // SHOWN)
        page = st.pagination(pages, key="queue_page") if pages > 1 else 1
        first = min(page - 1, pages - 1) * SHOWN
        for place, run in enumerate(waiting[first : first + SHOWN], first + 1):
            if run.sweep in sweeps:  # else deleted from another tab meanwhile
                row(run, place, sweeps[run.sweep])


def row(run: Run, place: int, sweep: Sweep) -> None:
    """One waiting run."""
    allowed, title = may_change(sweep.owner), f"{sweep.name or 'Sweep'}{by(sweep.owner)}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"queue_row_{run.id}"):
        st.markdown(f"{place}. **{plain(run.name)}** · {plain(title)}", width="stretch")
        st.button(
            "To the front",
            on_click=attempt,
            args=(queries.store().move_to_front, run.id),
            disabled=place == 1 or not allowed,
            key=f"front_{run.id}",
            icon=":material/vertical_align_top:",
            help="It is the next run.",
        )
        if allowed:
            tweak(run, key=f"queue_{run.id}")
        st.button(
            "Remove",
            on_click=ask,
            args=([run.id], "cancel"),
            disabled=not allowed,
            key=f"remove_{run.id}",
            icon=":material/close:",
            help="Removes it from the queue; you can run it again later.",
        )
