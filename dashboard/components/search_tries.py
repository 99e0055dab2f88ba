"""What a search has tried, and how much each setting mattered."""

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.table_columns import digits_behind
from tabtune_core.metrics import METRICS
from tabtune_core.search.space import RATE, WORDS


def search_words(sweep: str) -> None:
    """Says what a search has found and why the next; nothing for an ordinary sweep."""
    if found := queries.search_summary(sweep):
        st.caption(f":material/manage_search: {plain(found.text)}")


def search_tries(sweep: str) -> None:
    """Draws the table of tries and a bar per setting; nothing for an ordinary sweep."""
    found, metric = queries.search_summary(sweep), METRICS[queries.selection_metric(sweep)]
    if found is None or not found.tries:
        return
    st.header("What was tried")
    rows = pd.DataFrame(found.tries)
    tries, weights = st.columns([7, 2]) if found.importances else (st.container(), None)
    number, titles = st.column_config.NumberColumn, {name: word.capitalize() for name, word in WORDS.items()}
    with tries:
        st.dataframe(
            rows,
            hide_index=True,
            height="content" if len(rows) < 13 else 480,
            placeholder="",
            column_config={
                **titles,
                "run": st.column_config.TextColumn("Run", pinned=True),
                RATE: number(titles[RATE], format="%.2g"),
                "score": number(
                    "Validation",
                    **digits_behind(rows["score"].rename("Validation"), metric.decimals(rows["score"])),
                    help=f"{metric.label}; of a run that stopped at a rung, the best up to there.",
                ),
                "seconds": number("Seconds", format="%.1f", help="Of training."),
                "ended": "Ended",
            },
        )
    if weights is not None:
        shares = pd.DataFrame({"Setting": titles, "Mattered": 100 * pd.Series(found.importances)}).dropna()
        help = "Share of what sets the better tries apart (PED-ANOVA)."
        bar = st.column_config.ProgressColumn(format="%.0f%%", min_value=0, max_value=100, help=help)
        shares = shares.sort_values("Mattered", ascending=False)
        weights.dataframe(shares, hide_index=True, column_config={"Mattered": bar})
