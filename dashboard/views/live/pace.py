"""How often the Live page asks for what is new: every second, less often when many people look on, so that training keeps its processor."""

import threading
import time

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

SELDOM = 8
"""Every so many refreshes there is a look at what changes with a run's state alone: its notes, its troubles, the queue."""
TABLE_LATER = 3
"""Every so many refreshes the table of runs is drawn anew; the bar and the charts above it are with each."""
LEAST_SECONDS, MOST_SECONDS = 1.0, 5.0
REFRESHES_A_SECOND = 11
"""Refreshes that the server gives all tabs together in a second; each takes it about 15 ms of one core."""
AWAY_SECONDS = 15.0
"""A tab that has not asked for so long is closed."""


class Lookers:
    """The tabs that look on, by when each last asked; safe from several threads."""

    def __init__(self) -> None:
        self._lock, self._asked = threading.Lock(), dict[str, float]()

    def seconds(self, tab: str, now: float) -> float:
        """How long this tab shall wait, in quarters of a second, at a moment in monotonic seconds."""
        with self._lock:
            self._asked[tab] = now
            self._asked = {name: asked for name, asked in self._asked.items() if now - asked < AWAY_SECONDS}
            tabs = len(self._asked)
        return min(MOST_SECONDS, max(LEAST_SECONDS, round(4 * tabs / REFRESHES_A_SECOND) / 4))


@st.cache_resource
def _lookers() -> Lookers:
    return Lookers()


def is_far_off(every: float) -> bool:
    """Whether this tab, which asks ``every`` so many seconds, shall ask at another pace: small changes are not worth a new page."""
    return not 0.75 <= refresh_seconds() / every <= 1.25


def refresh_seconds() -> float:
    """Seconds until this tab shall ask again."""
    context = get_script_run_ctx()
    return _lookers().seconds(context.session_id if context else "", time.monotonic())
