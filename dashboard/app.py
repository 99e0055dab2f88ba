"""Names the pages, in the order in which a person walks through them."""

from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent

st.set_page_config(page_title="LoRA Lab", page_icon=str(HERE / "icon.svg"), layout="wide")
st.logo(str(HERE / "logo.svg"), size="large")
st.navigation(
    [
        st.Page(HERE / "pages" / "data.py", title="Data", icon=":material/table_chart:", default=True),
        st.Page(HERE / "pages" / "new_run.py", title="New run", icon=":material/tune:"),
        st.Page(HERE / "pages" / "live.py", title="Live", icon=":material/monitoring:"),
        st.Page(HERE / "pages" / "leaderboard.py", title="Leaderboard", icon=":material/leaderboard:"),
        st.Page(HERE / "pages" / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(HERE / "pages" / "adapters.py", title="Adapters", icon=":material/inventory_2:"),
    ],
    position="top",
).run()
