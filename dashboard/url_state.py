"""A person's choices, kept in the address bar, so that a reload, a second tab and the next page show the same thing."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import streamlit as st
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx

from dashboard.formatting import plain
from dashboard.server.upstream import UPSTREAM

MOST_BESIDE = 6
"""Runs or adapters that a page shows side by side."""
LONGEST_SEEN = 32
"""Length of the longest name that a phone shows in full."""
SELECT_PIXELS = 560
"""Width of the box beside a page's title; on a phone the box is below the title."""
TOLD_ONCE = not UPSTREAM.missing()
"""Whether this Streamlit can be told the address once per run; if not, each choice is an entry of the history."""


def _key(name: str) -> str:
    return f"chosen_{name}"


def _next(name: str) -> str:
    """Returns the key under which a choice made by code waits: a drawn widget's value cannot be set."""
    return f"next_{name}"


def chosen(name: str, options: Sequence[str], default: str) -> str:
    """Returns the choice of this tab, else of the address bar, else ``default``; always one of the options."""
    if _next(name) in st.session_state:
        st.session_state[_key(name)] = st.session_state.pop(_next(name))
    wanted = (st.session_state.get(_key(name)), st.query_params.get(name))
    return next((str(value) for value in wanted if value in options), default)


def gone(name: str, options: Sequence[str]) -> bool:
    """Returns True if the choice of this tab or the address bar is no longer an option."""
    held = st.session_state.get(_next(name), st.session_state.get(_key(name), st.query_params.get(name)))
    return held is not None and held not in options


def say_gone(name: str, there: Sequence[str], what: str) -> None:
    """Shows a warning if the chosen ``what`` is gone; call it before the page chooses another one."""
    if gone(name, there):
        another = f" The page shows another {what}." if there else ""
        lost = f"The {what} that was chosen here is no longer in the workspace."
        st.warning(f"{lost}{another}", icon=":material/warning:")


def forget(name: str) -> None:
    """Removes a choice, such as one that this tab itself has deleted."""
    for key in (_key(name), _next(name)):
        st.session_state.pop(key, None)
    st.query_params.pop(name, None)


def choose(name: str, value: str) -> None:
    """Makes a choice from code; it applies from the next run of the page."""
    st.session_state[_next(name)] = value


def handed_over(name: str) -> str | None:
    """Returns what another page chose for this one, and forgets it."""
    value: str | None = st.session_state.pop(_next(name), None)
    return value


def renew(name: str, *, when: str, value: str) -> None:
    """Resets a choice to ``value`` if ``when`` has changed since this tab's last call; a choice made by code stays."""
    if st.session_state.get(f"renewed_{name}") not in (None, when) and _next(name) not in st.session_state:
        choose(name, value)
    seen(name, when)


def seen(name: str, when: str) -> None:
    """Records the value that ``renew`` compares ``when`` with, for a page that has changed it itself."""
    st.session_state[f"renewed_{name}"] = when


def pick(
    label: str,
    options: Sequence[str],
    *,
    name: str,
    default: str,
    format_func: Callable[[str], str] = str,
    widget: Any = st.selectbox,
    **more: Any,
) -> str:
    """Draws a select box, or a similar ``widget``, whose choice the pages share and the address bar shows."""
    st.session_state[_key(name)] = chosen(name, options, default)
    shown = format_func(st.session_state[_key(name)])
    if len(shown) > LONGEST_SEEN:
        more.setdefault("help", plain(shown))
    value: str = widget(label, options, key=_key(name), format_func=format_func, persist_state="session", **more)
    keep(name, value)
    return value


def settle(name: str, value: str) -> None:
    """Keeps a choice that has no widget on the page, and writes it into the address bar."""
    st.session_state[_key(name)] = value
    keep(name, value)


def asked_for(name: str, key: str) -> str:
    """Returns what another page or the address bar chose for the widget ``key``; else an empty text."""
    return handed_over(name) or ("" if key in st.session_state else st.query_params.get(name, ""))


def first_few(ids: Iterable[str], known: Collection[str]) -> list[str]:
    """Returns the first ``MOST_BESIDE`` different ones of ``ids`` that are ``known``."""
    return [one for one in dict.fromkeys(ids) if one in known][:MOST_BESIDE]


def keep(name: str, value: str | None) -> None:
    """Writes a choice into the address bar, or removes it if it is None."""
    if st.query_params.get(name) == value:
        return
    context = get_script_run_ctx()
    if context is not None and TOLD_ONCE and not context.fragment_ids_this_run:
        with context.session_state.query_params() as held:
            held.discard_param_no_forward_msg(name) if value is None else held.set_with_no_forward_msg(name, value)
    elif value is None:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = value


def refuse_odd(name: str) -> None:
    """Removes an infinite or empty value from the address before a number field reads it: Streamlit would fail."""
    with suppress(ValueError):
        if math.isinf(float(st.query_params.get(name, "0") or "inf")):
            keep(name, None)
            if (context := get_script_run_ctx()) is not None and TOLD_ONCE:
                with context.session_state.query_params() as held:
                    held.set_initial_query_params_from_current()


@contextmanager
def one_address() -> Iterator[None]:
    """Tells the browser once per run what the address is, since each change is an entry in its history."""
    before, context = st.query_params.to_dict(), get_script_run_ctx()
    if context is not None and TOLD_ONCE and context.is_history_navigation:
        for name, value in before.items():
            choose(name, value)
    try:
        yield
    finally:
        if context is not None and TOLD_ONCE and st.query_params.to_dict() != before:
            with context.session_state.query_params() as held:
                held._send_query_param_msg()


def stop() -> NoReturn:
    """Ends the page here; after ``st.stop`` nothing more can be told to the browser, such as the address."""
    raise StopException


def go(page: str, **choices: str) -> NoReturn:
    """Switches to another page, relative to app.py, with ``choices`` made there."""
    for name, value in choices.items():
        choose(name, value)
    st.switch_page(page, query_params=choices)


def invite(
    text: str, icon: str, *, button: str = "Start a run", page: str = "views/new_run/page.py", **choices: str
) -> None:
    """Says why there is nothing to see, and shows a button to the page where that changes."""
    st.info(text, icon=f":material/{icon}:")
    if st.button(button, type="primary"):
        go(page, **choices)


def nothing_yet(text: str, icon: str, **more: str) -> NoReturn:
    """Like ``invite``, and stops this page."""
    invite(text, icon, **more)
    stop()
