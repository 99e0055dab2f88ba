"""What a page shows about owners; nothing without log-in."""

from collections.abc import Mapping

import streamlit as st

from dashboard.formatting import plain
from dashboard.server.people import WHO_MAY, may_change, people_log_in, person, whose

MINE = "mine"
"""Key of the filter."""


def only_mine(owners: Mapping[str, str], what: str) -> list[str]:
    """Returns the ids to list: all, or on request the person's own.

    ``owners`` is by id; ``what`` names the things, as in ``sweeps``.
    """
    told = f"Lists only {what} that you added."
    if not people_log_in() or not st.toggle("Mine only", key=MINE, help=told, persist_state="session"):
        return list(owners)
    own = [identity for identity, owner in owners.items() if owner == person()]
    if not own:
        st.caption(f"You own no {what} here, so all are listed.")
    return own or list(owners)


def belongs(owner: str) -> bool:
    """Returns True if the person may change a thing of ``owner``; else says who owns it."""
    if may_change(owner):
        return True
    st.caption(f":material/lock: {plain(whose(owner))} {WHO_MAY}")
    return False
