"""What the chosen runs predicted for held-out rows, counted: confusion, calibration, and errors of numbers."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain
from dashboard.views.compare.compared import Compared
from tabtune_core.analysis.prediction_diagnostics import confusion, errors, reliability
from tabtune_core.charts import CHARTS
from tabtune_core.data.splits import SplitName
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_row import Run


def which_rows() -> SplitName:
    """Which held-out rows to show."""
    part: SplitName = st.segmented_control(
        "Rows",
        ["validation", "test"],
        default="validation",
        required=True,
        key="compare_rows",
        persist_state="session",
        format_func={"validation": "Validation rows", "test": "Test rows"}.__getitem__,
        label_visibility="collapsed",
        help="Validation rows chose the best checkpoint of each run; test rows chose nothing.",
    )
    return part


def predictions_of(compared: Compared, runs: list[Run], part: SplitName) -> dict[str, Predictions]:
    """By run id; names the runs that have no predictions."""
    by_run = {run.id: queries.predictions(run.id, part) for run in runs}
    absent = [compared.named[run_id] for run_id, predictions in by_run.items() if predictions is None]
    if absent:
        st.caption(f"There are no predictions on disk of {plain(', '.join(absent))}.")
    return {run_id: predictions for run_id, predictions in by_run.items() if predictions is not None}


def confusions(compared: Compared, runs: list[Run]) -> None:
    """One matrix a run."""
    st.caption(CHARTS["confusion_matrix"].help + " The stronger the colour, the larger the share of the rows with that label.")
    by_run = predictions_of(compared, runs, which_rows())
    if not by_run:
        return
    with st.grid(min(len(by_run), 3), min_column_width=320):
        for run_id, predictions in by_run.items():
            with st.container():
                st.markdown(f"**{plain(compared.named[run_id])}**")
                pairs = confusion(predictions)
                label = f"Confusion matrix of {compared.named[run_id]}"
                show(CHARTS["confusion_matrix"].draw(pairs), key=f"confusion_{run_id}", label=label, numbers=pairs)


def calibration(compared: Compared, runs: list[Run]) -> None:
    """How sure the runs are against how often they are right."""
    st.caption(CHARTS["reliability_diagram"].help + " The larger a marker, the more rows.")
    bins = _together(compared, predictions_of(compared, runs, which_rows()), reliability)
    if bins is None:
        return
    left, right = st.columns([3, 2])
    with left:
        show(CHARTS["reliability_diagram"].draw(bins), key="reliability", label=CHARTS["reliability_diagram"].help, numbers=bins)
    with right:
        st.markdown("**Rows in each bin**", help=CHARTS["confidence_rows"].help)
        show(CHARTS["confidence_rows"].draw(bins), key="confidence_rows", label=CHARTS["confidence_rows"].help)


def number_errors(compared: Compared, runs: list[Run]) -> None:
    """Predicted against true numbers, and how the errors are spread."""
    off = _together(compared, predictions_of(compared, runs, which_rows()), errors)
    if off is None:
        return
    left, right = st.columns(2)
    for place, name in ((left, "predicted_true"), (right, "residuals")):
        with place:
            st.caption(CHARTS[name].help)
            show(CHARTS[name].draw(off), key=name, label=CHARTS[name].help, numbers=off)


def _together(compared: Compared, by_run: dict[str, Predictions], count: Callable[[Predictions], pd.DataFrame]) -> pd.DataFrame | None:
    """The counts of each run in one frame, with the runs named; None without predictions."""
    if not by_run:
        return None
    return compared.as_run(pd.concat([count(predictions).assign(run=run_id) for run_id, predictions in by_run.items()], ignore_index=True))
