"""The Compare page: what more rank, memory or time gain, and runs side by side."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components import unreadable
from dashboard.components.glossary import define
from dashboard.components.search_tries import search_tries, search_words
from dashboard.formatting import plain, sweep_titles
from dashboard.url_state import SELECT_PIXELS, nothing_yet, pick, say_gone, stop
from dashboard.views.compare.columns_tab import columns_tab
from dashboard.views.compare.compared import Compared
from dashboard.views.compare.rank_tab import rank_tab
from dashboard.views.compare.side_by_side import side_by_side
from dashboard.views.compare.trade_offs import trade_offs
from tabtune_core.analysis.runs_table import costs_note
from tabtune_core.errors import StoreError
from tabtune_core.metrics import METRICS, metrics_of

TABS: dict[str, Callable[[Compared], None]] = {
    "Rank": rank_tab,
    "Search": lambda compared: search_tries(compared.sweep),
    "Trade-offs": trade_offs,
    "Columns": columns_tab,
    "Runs side by side": side_by_side,
}

head = st.container(horizontal=True, vertical_alignment="center")
head.title("Compare", help=define("Pareto front", "Mean over seeds", "Truncation"), width="content")
sweeps = queries.sweeps()
if not sweeps:
    nothing_yet("Nothing to compare yet. Start a sweep over some ranks; its runs then appear here.", "compare_arrows")

say_gone("sweep", list(sweeps), "sweep")
hidden: dict[str, Any] = {"label_visibility": "collapsed"}
with head:
    titles, newest = sweep_titles(sweeps).__getitem__, next(iter(sweeps))
    sweep = pick("Sweep", list(sweeps), name="sweep", default=newest, format_func=titles, width=SELECT_PIXELS, **hidden)
if not queries.listed(sweep):
    unreadable.runs()
    stop()
with head:
    usual = queries.selection_metric(sweep)
    metrics = metrics_of(METRICS[usual].task)
    labels = {name: METRICS[name].label for name in metrics}
    metric = pick("Score", metrics, name="metric", default=usual, format_func=labels.__getitem__, width=200, **hidden)
with unreadable.errors_shown(StoreError, stop=True):
    compared = Compared.of(sweep, metric)
if not compared.done:
    text = "No run of this sweep has a result yet. Watch it on the Live page."
    nothing_yet(text, "hourglass_top", button="Go to Live", page="views/live/page.py", sweep=sweep)

if note := costs_note(compared.board):
    st.caption(plain(note))
search_words(sweep)
names = [name for name in TABS if name != "Search" or queries.search_summary(sweep)]
for name, tab in zip(names, st.tabs(names, key="view", on_change="rerun", bind="query-params"), strict=True):
    if tab.open:
        with tab:
            TABS[name](compared)
