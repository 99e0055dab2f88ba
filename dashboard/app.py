"""Names the pages, in the order in which a person walks through them.

They lie in ``views``: Streamlit would serve a folder called ``pages`` by itself, without this file, to whoever opens a page by its address.
"""

from pathlib import Path

import streamlit as st

from dashboard.server.login import log_in_first

FOCUS = "<style>a:focus-visible, button:focus-visible { outline: 2px solid currentColor !important; outline-offset: 1px }</style>"
"""Streamlit marks a link that the keyboard is at with a shade that few see."""
HERE = Path(__file__).resolve().parent

st.set_page_config(page_title="LoRA Lab", page_icon=str(HERE / "icon.svg"), layout="wide")
st.logo(str(HERE / "logo.svg"), size="large")
st.html(FOCUS)
log_in_first()
st.navigation(
    [
        st.Page(HERE / "views" / "data.py", title="Data", icon=":material/table_chart:", default=True),
        st.Page(HERE / "views" / "new_run.py", title="New run", icon=":material/tune:"),
        st.Page(HERE / "views" / "live.py", title="Live", icon=":material/monitoring:"),
        st.Page(HERE / "views" / "leaderboard.py", title="Leaderboard", icon=":material/leaderboard:"),
        st.Page(HERE / "views" / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(HERE / "views" / "adapters.py", title="Adapters", icon=":material/inventory_2:"),
        st.Page(HERE / "views" / "try_it.py", title="Try it", icon=":material/play_arrow:"),
        st.Page(HERE / "views" / "guide.py", title="Guide", icon=":material/menu_book:"),
    ],
    position="top",
).run()
