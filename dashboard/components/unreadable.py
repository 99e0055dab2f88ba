"""Errors of the workspace, shown where they occur, so that everything else works."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain, with_labels
from dashboard.url_state import stop as end_page
from tabtune_core.errors import TabTuneError
from tabtune_core.wording import counted

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")
SECOND_CLICK_SECONDS = 6.0
"""Two clicks on a button within this time are one wish; the second was made before the page answered the first."""
ERROR = ":material/error:"
"""Icon of an error of a whole page or part, for example of a damaged database or a full disk."""


def page_part(every: float | None = None) -> Callable[[Callable[Asked, None]], Callable[Asked, None]]:
    """Decorates a part that is drawn again ``every`` so many seconds or after a click; it shows its own errors."""
    return lambda draw: st.fragment(errors_shown(TabTuneError, icon=ERROR)(draw), run_every=every)


@contextmanager
def errors_shown(*kinds: type[Exception], stop: bool = False, icon: str | None = None) -> Iterator[None]:
    """Shows an error of these kinds in place of the rest of the block; with ``stop``, it ends the page too."""
    try:
        yield
    except kinds as error:
        st.error(plain(with_labels(str(error))), icon=icon)
        if stop:
            end_page()


def attempt(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer | None:
    """Makes a change and returns its answer; shows a refusal, such as after a deletion in another tab, as a toast."""
    try:
        return change(*args, **more)
    except TabTuneError as error:
        st.toast(plain(str(error)))
        return None


def once(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer:
    """Makes a change, or returns the answer of the same change that this tab made a moment ago (a second click)."""
    # filled in place, because a write to the session state may end the script
    made = st.session_state.setdefault("made", {})
    key, now = repr((change.__name__, args, more)), time.monotonic()
    known: tuple[Answer, float] | None = made.get(key)
    answer = known[0] if known and now - known[1] < SECOND_CLICK_SECONDS else change(*args, **more)
    made[key] = answer, time.monotonic()
    return answer


def queue(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer | None:
    """Like ``attempt``, for a change that gives the worker something to do; makes it ``once``."""
    answer = attempt(lambda: once(change, *args, **more))
    queries.keep_worker()
    return answer


def runs() -> None:
    """Lists the runs that this version cannot read."""
    names = {identity: sweep.name or "Sweep" for identity, sweep in queries.sweeps().items()}
    known = [run for run in queries.unreadable() if run.id]
    lines = {run.id: f"{run.name} ({run.status}, of {names.get(run.sweep, run.sweep)}): {run.why}" for run in known}
    way_out = "It is damaged, or another version of LoRA Lab wrote it and may open it. It is kept unchanged."
    damaged(lines, "run", queries.store().delete, way_out)


WAY_OUT = "Its folder in the workspace is damaged, or another version of LoRA Lab wrote it."


def damaged(lines: Mapping[str, str], noun: str, delete: Callable[[str], object], way_out: str = WAY_OUT) -> None:
    """Draws a box with a line for each thing that cannot be read, by id; nothing if there is none."""
    if not lines:
        return
    with st.expander(f"{counted(len(lines), noun)} cannot be read", icon=":material/error:", expanded=True):
        st.caption(way_out)
        for place, (identity, text) in enumerate(lines.items()):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(plain(text), width="stretch")
                key, args = f"delete_damaged_{noun}_{place}_{identity[:12]}", (delete, identity)
                st.button("Delete permanently", key, on_click=attempt, args=args, icon=":material/delete:")
