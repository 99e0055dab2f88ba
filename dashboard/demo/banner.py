"""What a demo is, above every page: what was measured where, what runs now, and that all of it goes with the dashboard."""

import streamlit as st

from dashboard import queries
from dashboard.demo.workspace import about
from dashboard.url_state import go


def banner(page: st.Page) -> None:
    """Draws it in the workspace of a demo, whose first page is the leaderboard of the finished sweep; nothing elsewhere."""
    facts = about(queries.home())
    if not facts:
        return
    if "demo_opened" not in st.session_state:
        st.session_state["demo_opened"] = True
        if not page.url_path and not st.query_params:
            go("views/leaderboard/page.py", sweep=facts["finished"], board=facts["finished"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "**Demo**, deleted when the dashboard ends, on a table that was chosen because LoRA wins on it.",
            help=f"The finished sweep was measured on {facts['date']} on {facts['machine']} (commit {facts['commit']}).",
            width="content",
        )
        if st.button("Finished sweep", type="tertiary", icon=":material/leaderboard:", key="demo_finished"):
            go("views/leaderboard/page.py", sweep=facts["finished"], board=facts["finished"])
        if st.button("Sweep that trains", type="tertiary", icon=":material/monitoring:", key="demo_going"):
            go("views/live/page.py", sweep=facts["going"])
