"""The curves of the chosen lines of the board, as they look on Live and Compare."""

from collections.abc import Sequence

import streamlit as st

from dashboard import queries
from dashboard.charts import CHARTS
from dashboard.components.plotly_chart import show
from dashboard.queries.legend import legend_of
from tabtune_core.metrics import METRICS
from tabtune_core.store.run_row import Run

MOST = 30
"""Runs in one chart."""


def show_chosen(runs: Sequence[Run], metric: str) -> None:
    """The validation score of each run while it trained."""
    drawn = list(runs[:MOST])
    sweeps = {run.sweep for run in drawn}
    # a run looks as it does in its own sweep; runs of several sweeps are told apart among themselves
    legend = legend_of(drawn, queries.listed(drawn[0].sweep) if len(sweeps) == 1 else None)
    scores = queries.frame("scores", drawn, legend)
    st.markdown(f"**{METRICS[metric].label} of the chosen runs**", help=CHARTS["score"].help)
    figure = CHARTS["score"].draw(scores, metric=metric)
    show(figure, key="chosen_score", label=f"Validation {METRICS[metric].written} of the chosen runs", numbers=scores)
    if len(runs) > MOST:
        st.caption(f"The first {MOST} of {len(runs)} chosen runs.")
