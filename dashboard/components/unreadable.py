"""What of the workspace cannot be read, and what a click asks of the store: named with its reason, while everything else works."""

import functools
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from tabtune_core.errors import TabTuneError
from tabtune_core.store.run_row import Run
from tabtune_core.wording import counted

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


def errors_said(draw: Callable[Asked, None]) -> Callable[Asked, None]:
    """Says an error in the place of what is drawn, as of a database that is damaged or a disk that is full."""

    @functools.wraps(draw)
    def drawn(*args: Asked.args, **more: Asked.kwargs) -> None:
        try:
            draw(*args, **more)
        except TabTuneError as error:
            st.error(plain(str(error)), icon=":material/error:")

    return drawn


def page_part(every: float | None = None) -> Callable[[Callable[Asked, None]], Callable[Asked, None]]:
    """For what is drawn again every so many seconds, and after a click in it, when the page that would say an error is not."""
    return lambda draw: st.fragment(errors_said(draw), run_every=every)


def attempt(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer | None:
    """The answer to a change; a refusal, as for what is another person's or was deleted in another tab, is said, and the answer None."""
    try:
        return change(*args, **more)
    except TabTuneError as error:
        st.toast(plain(str(error)))
        return None


def queue(change: Callable[Asked, Answer], *args: Asked.args, **more: Asked.kwargs) -> Answer | None:
    """The same for a change that gives the worker something to do."""
    answer = attempt(change, *args, **more)
    queries.keep_worker()
    return answer


def runs() -> None:
    """Rows of runs that this version cannot read."""
    names = {sweep: found.name or "Sweep" for sweep, found in queries.sweeps().items()}
    lines = {
        run.id: f"{run.name} ({run.status}, of {names.get(run.sweep, run.sweep)}): {run.why}" for run in queries.unreadable() if run.id
    }
    way_out = "It is damaged or of another version of LoRA Lab, and is kept as it is. That version may open it."
    damaged(lines, "run", way_out, queries.store().delete)


def damaged(lines: Mapping[str, str], noun: str, way_out: str, delete: Callable[[str], object]) -> None:
    """A box with a line for each thing that cannot be read, by its id; nothing if all can be read."""
    if not lines:
        return
    title = f"{counted(len(lines), noun)} cannot be read"
    with st.expander(title, icon=":material/error:", expanded=True):
        st.caption(way_out)
        for place, (identity, text) in enumerate(lines.items()):
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(plain(text), width="stretch")
                st.button(
                    "Delete permanently",
                    key=f"delete_damaged_{noun}_{place}_{identity[:12]}",
                    on_click=attempt,
                    args=(delete, identity),
                    icon=":material/delete:",
                )


def unknown_fields(run: Run) -> None:
    """What a result of another version says beside what this one knows."""
    found = run.result.other if run.result else None
    if found:
        written = ", ".join(f"{name} = {value!r:.60}" for name, value in found.items())
        st.caption(plain(f"This result has fields of another version, which are kept and not used: {written}."))
