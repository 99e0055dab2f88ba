"""How often the Live page refreshes: every second, less often if many tabs watch, so that training keeps its CPU time."""

import threading
import time

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

SELDOM = 8
"""Refreshes between two updates of what changes only with a run's state: its notes, its problems, the queue."""
TABLE_LATER = 3
"""Refreshes between two updates of the table of runs; the bar and the charts above it are updated with each."""
LEAST_SECONDS, MOST_SECONDS = 1.0, 5.0
REFRESHES_A_SECOND = 11
"""Refreshes per second for all tabs together; each takes the server about 15 ms of one core."""
AWAY_SECONDS = 15.0
"""A tab that has not refreshed for so long counts as closed."""


class Lookers:
    """The watching tabs, with the time of each one's last refresh; thread-safe."""

    def __init__(self) -> None:
        self._lock, self._asked = threading.Lock(), dict[str, float]()

    def seconds(self, tab: str, now: float) -> float:
        """Returns how long this tab should wait, a multiple of 0.25 s; ``now`` is in monotonic seconds."""
        with self._lock:
            self._asked[tab] = now
            self._asked = {name: asked for name, asked in self._asked.items() if now - asked < AWAY_SECONDS}
            tabs = len(self._asked)
        return min(MOST_SECONDS, max(LEAST_SECONDS, round(4 * tabs / REFRESHES_A_SECOND) / 4))


@st.cache_resource
def _lookers() -> Lookers:
    return Lookers()


def is_far_off(every: float) -> bool:
    """Returns True if this tab's interval ``every`` should change; a small change is not worth redrawing the page."""
    return not 0.75 <= refresh_seconds() / every <= 1.25


def refresh_seconds() -> float:
    """Returns the seconds until this tab should refresh again."""
    context = get_script_run_ctx()
    return _lookers().seconds(context.session_id if context else "", time.monotonic())
