"""What waits, over all sweeps of the workspace, in the order in which it will be taken."""

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.views.live.actions import ask, to_front
from dashboard.views.live.tweak import tweak
from tabtune_core.store.runs import Run

SHOWN = 8
"""Rows that are drawn at once: the page draws them anew every few seconds."""


def queue() -> None:
    """An expander with a row a run and what can be asked of it."""
    waiting = queries.store().runs(status="queued")
    title = f"Queue: {len(waiting)} {'run' if len(waiting) == 1 else 'runs'} waiting" if waiting else "Queue: empty"
    behind = st.expander(title, key="queue", on_change="rerun", icon=":material/queue:")
    if not behind.open:
        return
    with behind:
        if not waiting:
            st.caption("Queued runs of all sweeps appear here. Queue a run on the New run page.")
            return
        titles = {sweep: found.name or "Sweep" for sweep, found in queries.sweeps().items()}
        pages = -(-len(waiting) // SHOWN)
        page = st.pagination(pages, key="queue_page") if pages > 1 else 1
        first = min(page - 1, pages - 1) * SHOWN
        for place, run in enumerate(waiting[first : first + SHOWN], first + 1):
            row(run, place, titles.get(run.sweep, ""))


def row(run: Run, place: int, sweep: str) -> None:
    """One waiting run."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"queue_row_{run.id}"):
        st.markdown(f"{place}. **{plain(run.name)}** · {plain(sweep)}", width="stretch")
        st.button(
            "To the front",
            on_click=to_front,
            args=(run.id,),
            disabled=place == 1,
            key=f"front_{run.id}",
            icon=":material/vertical_align_top:",
            help="It is the next run.",
        )
        tweak(run, key=f"queue_{run.id}")
        st.button(
            "Remove",
            on_click=ask,
            args=([run.id], "cancel"),
            key=f"remove_{run.id}",
            icon=":material/close:",
            help="Removes it from the queue; you can run it again later.",
        )
