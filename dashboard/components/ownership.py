"""What a page says about owners; nothing if people do not log in."""

from collections.abc import Mapping

import streamlit as st

from dashboard.formatting import plain
from dashboard.server.people import WHO_MAY, may_change, people_log_in, person, whose

MINE = "mine"
"""Key of the filter."""


def only_mine(owners: Mapping[str, str], what: str) -> list[str]:
    """The ids to list, of owners by id: all of them, or the person's own where they ask for that. ``what`` names them, as in ``sweeps``."""
    if not people_log_in():
        return list(owners)
    if not st.toggle("Mine only", key=MINE, help=f"Lists only {what} that you added.", persist_state="session"):
        return list(owners)
    own = [identity for identity, owner in owners.items() if owner == person()]
    if not own:
        st.caption(f"You own no {what} here, so all are listed.")
    return own or list(owners)


def belongs(owner: str) -> bool:
    """Whether the person may change a thing; says whose it is where not."""
    if may_change(owner):
        return True
    st.caption(f":material/lock: {plain(whose(owner))} {WHO_MAY}")
    return False
