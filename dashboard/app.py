"""Lists the pages, in the order of use; Streamlit would serve a folder called ``pages`` without this file."""

from pathlib import Path

import streamlit as st

from dashboard import queries
from dashboard.components.unreadable import ERROR, errors_shown
from dashboard.demo.workspace import about
from dashboard.url_state import go, one_address
from tabtune_core.errors import TabTuneError


def banner(page: st.Page) -> None:
    """Draws the banner of a demo, which opens with the leaderboard of its finished sweep; else draws nothing."""
    facts = about(queries.home())
    if not facts:
        return
    if "demo_opened" not in st.session_state:
        st.session_state["demo_opened"] = True
        if not page.url_path and not st.query_params:
            go("views/leaderboard/page.py", sweep=facts["finished"], board=facts["finished"])
    with st.container(horizontal=True, vertical_alignment="center"):
        where = f"{facts['date']} on {facts['machine']} (commit {facts['commit']})"
        help = f"Deleted when the dashboard ends. The finished sweep was measured on {where}."
        st.caption("**Demo** on a table where LoRA wins", help=help, width="content")
        if st.button("Finished sweep", type="tertiary", icon=":material/leaderboard:", key="demo_finished"):
            go("views/leaderboard/page.py", sweep=facts["finished"], board=facts["finished"])
        if st.button("Sweep in progress", type="tertiary", icon=":material/monitoring:", key="demo_going"):
            go("views/live/page.py", sweep=facts["going"])


# Streamlit leaves much space under its header, and marks the focused link with a shade that few people see. Its CSV of
# a table is not safe to open in a spreadsheet. Its Stop ends the drawing of a page, but a person would think that it
# ends a run. Its primary colour is both the background of white text on buttons and the text colour of selected
# options: in dark mode no colour has enough contrast for both. A formula that scrolls by itself could not be scrolled
# with the keyboard. Words of code have too little contrast.
STYLE = (
    '<style>[data-testid="stMainBlockContainer"] { padding-top: 4.25rem }'
    "a:focus-visible, button:focus-visible { outline: 2px solid currentColor !important; outline-offset: 1px }"
    '[data-testid="stElementToolbarButton"]:has([aria-label="Download as CSV"]), [data-testid="stStatusWidget"] '
    "button { display: none }"
    '.st-key-failed_bar [data-testid="stProgressBarTrack"] > div { background: #D13B3B }'
    '[data-selected="true"] p, [data-testid="stSliderThumbValue"] p { color: light-dark(#0B66A0, #6CBDEB) !important }'
    ".st-key-answer h2 { font-size: 2rem }"
    ".st-key-try_one_row :is(td, th) { overflow-wrap: anywhere; min-width: 6.5rem }"
    "code .token:is(.comment, .punctuation) { color: light-dark(#57626E, #A3AEBA) !important }"
    "code .token:is(.string, .boolean, .number) { color: light-dark(#12702F, #7FD99A) !important }"
    "code .token:is(.operator, .decorator) { color: light-dark(#9A4A00, #FFB870) !important }"
    "code .token:is(.keyword, .function, .class-name, .variable) { color: light-dark(#0B66A0, #6CBDEB) !important }"
    ".katex-display { overflow: visible !important; font-size: min(1em, 3.2vw) }</style>"
)
HERE = Path(__file__).resolve().parent


def _page(folder: str, title: str, icon: str, default: bool = False) -> st.Page:
    return st.Page(HERE / "views" / folder / "page.py", title=title, icon=icon, url_path=folder, default=default)


st.set_page_config(page_title="LoRA Lab", page_icon=str(HERE / "icon.svg"), layout="wide")
st.logo(str(HERE / "logo.svg"), size="large")
st.html(STYLE)
page = st.navigation(
    [
        _page("data", "Data", ":material/table_chart:", default=True),
        _page("new_run", "New run", ":material/tune:"),
        _page("live", "Live", ":material/monitoring:"),
        _page("leaderboard", "Leaderboard", ":material/leaderboard:"),
        _page("compare", "Compare", ":material/compare_arrows:"),
        _page("adapters", "Adapters", ":material/inventory_2:"),
        _page("try_it", "Try it", ":material/play_arrow:"),
        _page("guide", "Guide", ":material/menu_book:"),
    ],
    position="top",
)


with errors_shown(TabTuneError, icon=ERROR):
    queries.store()  # so that every page says if the workspace was moved
    banner(page)
    with one_address():
        page.run()
