"""The third tab of Compare: which columns of the table matter to one run and to its base."""

import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain
from dashboard.views.compare.compared import NO_LORA, Compared
from dashboard.views.compare.job_of_one_run import job_of_one_run
from tabtune_core.analysis.important_columns import importance_frame, in_words, seconds_of
from tabtune_core.charts import CHARTS
from tabtune_core.charts.importance import MOST
from tabtune_core.events import RunPlanned
from tabtune_core.store.run_row import Run


def columns_tab(compared: Compared) -> None:
    """Draws the tab."""
    if not compared.lora:
        st.info(NO_LORA, icon=":material/hourglass_top:")
        return
    st.header("Which columns matter", help=CHARTS["importance"].help)
    doing, icon = "Shuffling one column after the other", ":material/shuffle:"
    answer = job_of_one_run(compared, compared.lora, "columns", doing, icon=icon, seconds=_seconds)
    if not answer:
        return
    _, result = answer
    columns = importance_frame(result)
    st.markdown(plain(in_words(columns)))
    show("importance", columns, metric=result["metric"])
    more = f"; the first {MOST} of {len(columns):,} columns" if len(columns) > MOST else ""
    st.caption(f"{result['rows']:,} {result['part']} rows{more}.")


def _seconds(run: Run) -> float:
    return seconds_of(run, queries.store().last_event(run.id, RunPlanned))
