"""The actions of the Live page: stop, cancel, repeat and change runs, and the queue of all sweeps."""

from contextlib import suppress

import streamlit as st

from dashboard import queries
from dashboard.components.unreadable import attempt, errors_shown, queue
from dashboard.formatting import plain
from dashboard.url_state import choose, go
from tabtune_core.errors import SettingError
from tabtune_core.events import StopRequest
from tabtune_core.settings import SETTINGS, RunSettings, SweepSettings
from tabtune_core.store.run_row import Run, Sweep
from tabtune_core.wording import counted


def ask(run_ids: list[str], wish: StopRequest) -> None:
    """Asks runs to stop or cancel; a waiting run is removed from the queue."""
    for run_id in run_ids:
        attempt(queries.store().ask, run_id, wish)


WISH_ICONS: dict[StopRequest, str] = {"stop": ":material/stop_circle:", "cancel": ":material/cancel:"}


def wish_button(label: str, run_ids: list[str], wish: StopRequest, *, key: str, help: str, disabled: bool) -> None:
    """Draws a button that asks runs to stop or cancel; the wish is part of its key."""
    st.button(
        label,
        on_click=ask,
        args=(run_ids, wish),
        disabled=disabled,
        key=f"{wish}_{key}",
        icon=WISH_ICONS[wish],
        help=help,
    )


def again(run: Run, settings: RunSettings | None = None, added: str = "") -> None:
    """Queues a run again, with its settings or with others; ``added`` is appended to its name."""
    new = queue(queries.store().retry, run.id, settings)
    if new and added:
        attempt(queries.store().rename, new, f"{run.name}, {added}")


def again_all(runs: list[Run]) -> None:
    """Queues runs again, each with its settings."""
    for run in runs:
        again(run)


def to_the_form(runs: list[Run]) -> None:
    """Opens New run with the settings of ``runs`` in the form."""
    if sweep := attempt(SweepSettings.of, [run.settings for run in runs]):
        choose("settings", sweep.to_toml())
        go("views/new_run/page.py")


def duplicate(run_id: str, settings: RunSettings, name: str) -> None:
    """Queues other settings in the sweep of a run."""
    if queue(queries.store().duplicate, run_id, settings, name):
        st.toast(f"Queued: {plain(name)}", icon=":material/playlist_add:")


NAMES = ("rank", "alpha", "dropout", "learning_rate", "context_rows", "predict_context_rows", "steps", "seed")
"""Settings that can be changed here."""


def fields_of(settings: RunSettings) -> list[str]:
    """Returns the names in ``NAMES`` that apply to the run's strategy."""
    return [name for name in NAMES if settings.strategy in SETTINGS[name].strategies]


def value_of(settings: RunSettings, name: str) -> str:
    """Returns the value in use of a setting, as text."""
    value = settings.used(name)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else f"{value}"


def tweaked(settings: RunSettings, name: str, text: str) -> RunSettings:
    """Returns the settings with one changed; raises SettingError if the value is refused."""
    return settings.changed(**{name: _number(text, SETTINGS[name].label)})


def _number(text: str, label: str) -> float:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    raise SettingError(f"{label} is {text!r}; write a number.")


def name_of(run: Run, settings: RunSettings, name: str) -> str:
    """Names the changed run by rank and seed if the old name has that form, else by the old name and the change."""
    if name == "seed":
        return f"{settings.label} seed {settings.seed}"
    usual = run.settings.label
    if name == "rank" and run.name in (usual, f"{usual} seed {run.settings.seed}"):
        return settings.label + run.name.removeprefix(usual)
    return f"{run.name}, {SETTINGS[name].label.lower()} {value_of(settings, name)}"


def tweak(run: Run, *, key: str) -> None:
    """Draws the popover: a setting, its new value, and a button that queues the changed run behind all others."""
    popover = st.popover(
        "Change and queue",
        icon=":material/tune:",
        key=f"tweak_{key}",
        on_change="rerun",
        help="The same run with one setting changed.",
    )
    if not popover.open:
        return
    with popover:
        known = fields_of(run.settings)
        name = st.selectbox("Setting", known, format_func=lambda field: SETTINGS[field].label, key=f"tweak_field_{key}")
        now = value_of(run.settings, name)
        title = f"New value (now {now or 'not set'})"
        text = st.text_input(title, key=f"tweak_value_{name}_{key}", placeholder=now, help=SETTINGS[name].help).strip()
        settings = None
        with errors_shown(SettingError):
            settings = tweaked(run.settings, name, text) if text else None
        st.button(
            "Add to queue",
            on_click=duplicate,
            args=(run.id, settings, name_of(run, settings, name) if settings else ""),
            disabled=settings is None or settings == run.settings,
            key=f"tweak_queue_{key}",
            type="primary",
        )


SHOWN = 8
"""Rows per page of the queue, which is redrawn every few seconds."""


def waiting_runs(shown: str) -> None:
    """Draws the queue with a row per run, and above it how many wait, also in other sweeps than the ``shown`` one."""
    waiting = queries.store().runs(status="queued")
    others = sum(run.sweep != shown for run in waiting)
    of_others = (
        "" if not others else " in other sweeps" if others == len(waiting) else f", {others} of them in other sweeps"
    )
    st.caption(f"Queue: {counted(len(waiting), 'run')} waiting{of_others}" if waiting else "Queue: empty")
    behind = st.expander(
        "Queue", key="queue", on_change="rerun", icon=":material/queue:"
    )  # another label would close it
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
            if run.sweep in sweeps:  # else deleted in another tab
                row(run, place, sweeps[run.sweep])


def row(run: Run, place: int, sweep: Sweep) -> None:
    """Draws one waiting run."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"queue_row_{run.id}"):
        st.markdown(f"{place}. **{plain(run.name)}** · {plain(sweep.name or 'Sweep')}", width="stretch")
        st.button(
            "To the front",
            on_click=attempt,
            args=(queries.store().move_to_front, run.id),
            disabled=place == 1,
            key=f"front_{run.id}",
            icon=":material/vertical_align_top:",
            help="Makes it the next run.",
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
