"""What a demo is, above every page: what was measured where, what runs now, and that all of it goes with the dashboard."""

import streamlit as st

from dashboard import queries
from dashboard.demo.workspace import about
from dashboard.url_state import go


def banner() -> None:
    """Draws it in the workspace of a demo; nothing elsewhere."""
    facts = about(queries.home())
    if not facts:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"**Demo**, deleted when the dashboard ends. The finished sweep was measured on {facts['date']} on {facts['machine']}"
            f" (commit {facts['commit']}), on a table that was chosen because LoRA wins on it."
        )
        if st.button("Finished sweep", type="tertiary", icon=":material/leaderboard:", key="demo_finished"):
            go("views/leaderboard/page.py", sweep=facts["finished"], board=facts["finished"])
        if st.button("Sweep that trains", type="tertiary", icon=":material/monitoring:", key="demo_going"):
            go("views/live/page.py", sweep=facts["going"])
