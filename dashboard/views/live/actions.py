"""What a click on the Live page asks of the store."""

import streamlit as st

from dashboard import queries
from dashboard.components.attempt import attempt, queue
from dashboard.formatting import plain
from dashboard.url_state import choose, go
from tabtune_core.events import StopRequest
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.store.run_row import Run


def ask(run_ids: list[str], wish: StopRequest) -> None:
    """Asks runs to stop or cancel; one that waits is taken out of the queue."""
    for run_id in run_ids:
        attempt(queries.store().ask, run_id, wish)


def again(run: Run, settings: RunSettings | None = None, added: str = "") -> None:
    """Queues a run once more, with its settings or with others, whose difference is ``added`` to its name."""
    new = queue(queries.store().retry, run.id, settings)
    if new and added:
        attempt(queries.store().rename, new, f"{run.name}, {added}")


def again_all(runs: list[Run]) -> None:
    """Queues runs once more, each with its settings."""
    for run in runs:
        again(run)


def to_the_form(runs: list[Run]) -> None:
    """Goes to New run with the settings of some runs in the form."""
    sweep = attempt(SweepSettings.of, [run.settings for run in runs])
    if sweep:
        choose("settings", sweep.to_toml())
        go("views/new_run/page.py")


def duplicate(run_id: str, settings: RunSettings, name: str) -> None:
    """Queues other settings in the sweep of a run."""
    if queue(queries.store().duplicate, run_id, settings, name):
        st.toast(f"Queued: {plain(name)}", icon=":material/playlist_add:")
