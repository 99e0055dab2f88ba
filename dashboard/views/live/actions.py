"""What a click on the Live page asks of the store. A run that went on in the meantime is said, not raised."""

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.url_state import choose, go
from tabtune_core.errors import SettingError, StoreError
from tabtune_core.events import StopRequest
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.store.run_row import Run


def ask(run_ids: list[str], wish: StopRequest) -> None:
    """Asks runs to stop or cancel; one that waits is taken out of the queue."""
    try:
        for run_id in run_ids:
            queries.store().ask(run_id, wish)
    except StoreError as error:  # another person's, or deleted from another tab
        st.toast(plain(str(error)))


def to_front(run_id: str) -> None:
    """Makes a queued run the next one."""
    try:
        queries.store().move_to_front(run_id)
    except StoreError as error:
        st.toast(plain(str(error)))


def again(run: Run, settings: RunSettings | None = None, added: str = "") -> None:
    """Queues a run once more, with its settings or with others, whose difference is ``added`` to its name."""
    try:
        new = queries.store().retry(run.id, settings)
        if added:
            queries.store().rename(new, f"{run.name}, {added}")
    except StoreError as error:
        st.toast(plain(str(error)))
        return
    queries.keep_worker()


def again_all(runs: list[Run]) -> None:
    """Queues runs once more, each with its settings."""
    for run in runs:
        again(run)


def to_the_form(runs: list[Run]) -> None:
    """Goes to New run with the settings of some runs in the form."""
    try:
        sweep = SweepSettings.of([run.settings for run in runs])
    except SettingError as error:
        st.toast(plain(str(error)))
        return
    choose("settings", sweep.to_toml())
    go("views/new_run/page.py")


def resume(run_id: str) -> None:
    """Queues an interrupted run, which goes on from its last state."""
    try:
        queries.store().resume(run_id)
    except StoreError as error:
        st.toast(plain(str(error)))
        return
    queries.keep_worker()


def duplicate(run_id: str, settings: RunSettings, name: str) -> None:
    """Queues other settings in the sweep of a run."""
    try:
        queries.store().duplicate(run_id, settings, name)
    except StoreError as error:
        st.toast(plain(str(error)))
        return
    st.toast(f"Queued: {plain(name)}", icon=":material/playlist_add:")
    queries.keep_worker()
