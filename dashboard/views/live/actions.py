"""The actions of the Live page: stop, cancel and repeat runs, and the queue of all sweeps."""

import streamlit as st

from dashboard import queries
from dashboard.components.unreadable import attempt, queue
from dashboard.formatting import plain
from dashboard.url_state import choose, go
from tabtune_core.events import StopRequest
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.store.run_row import Run, Sweep
from tabtune_core.wording import counted


def ask(run_ids: list[str], wish: StopRequest) -> None:
    """Asks runs to stop or cancel; a waiting run is removed from the queue."""
    for run_id in run_ids:
        attempt(queries.store().ask, run_id, wish)


WISH_ICONS: dict[StopRequest, str] = {"stop": ":material/stop_circle:", "cancel": ":material/cancel:"}


def wish_button(label: str, run_ids: list[str], wish: StopRequest, *, key: str, help: str) -> None:
    """Draws a button that asks runs to stop or cancel; the wish is part of its key."""
    icon, key = WISH_ICONS[wish], f"{wish}_{key}"
    st.button(label, on_click=ask, args=(run_ids, wish), key=key, icon=icon, help=help)


def again(run: Run, settings: RunSettings | None = None, added: str = "") -> None:
    """Queues a run again, with its settings or with others; ``added`` is appended to its name."""
    new = queue(queries.store().retry, run.id, settings)
    if new and added:
        attempt(queries.store().rename, new, f"{run.name}, {added}")


def again_all(runs: list[Run]) -> None:
    """Queues runs again, each with its settings."""
    for run in runs:
        again(run)


def go_on(runs: list[Run]) -> None:
    """Lets a paused search go on, and starts what was cancelled again."""
    queue(queries.store().resume_search, runs[0].sweep)
    again_all([run for run in runs if run.status == "cancelled" and run.retried_as is None])


def to_the_form(runs: list[Run]) -> None:
    """Opens New run with the settings of ``runs`` in the form."""
    if sweep := attempt(SweepSettings.of, [run.settings for run in runs]):
        choose("settings", sweep.to_toml())
        go("views/new_run/page.py")


SHOWN = 8
"""Rows per page of the queue, which is redrawn every few seconds."""


def waiting_runs(shown: str) -> None:
    """Draws the queue with a row per run, and above it how many wait, also in other sweeps than the ``shown`` one."""
    waiting = queries.store().runs(status="queued")
    if not waiting:
        return
    others = sum(run.sweep != shown for run in waiting)
    of_others = f"{f', {others} of them' * (others < len(waiting))} in other sweeps" if others else ""
    st.caption(f"Queue: {counted(len(waiting), 'run')} waiting{of_others}")
    # another label would close it
    behind = st.expander("Queue", key="queue", on_change="rerun", icon=":material/queue:")
    if not behind.open:
        return
    with behind:
        sweeps = queries.sweeps()
        pages = -(-len(waiting) // SHOWN)
        page = st.pagination(pages, key="queue_page") if pages > 1 else 1
        first = min(page - 1, pages - 1) * SHOWN
        for place, run in enumerate(waiting[first : first + SHOWN], first + 1):
            if run.sweep in sweeps:  # else deleted in another tab
                row(run, place, sweeps[run.sweep])


def row(run: Run, place: int, sweep: Sweep) -> None:
    """Draws one waiting run."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"queue_row_{run.id}"):
        st.markdown(f"{place}. **{plain(run.name)}** · {plain(sweep.name or 'Sweep')}", width="stretch")
        move, key, icon = queries.store().move_to_front, f"front_{run.id}", ":material/vertical_align_top:"
        st.button(
            "To the front", key, "Makes it the next run.", attempt, (move, run.id), icon=icon, disabled=place == 1
        )
        help, icon = "Removes it from the queue; you can run it again later.", ":material/close:"
        st.button("Remove", on_click=ask, args=([run.id], "cancel"), key=f"remove_{run.id}", icon=icon, help=help)
