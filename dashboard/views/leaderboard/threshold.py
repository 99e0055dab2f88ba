"""Below the answer of an imbalanced table: a threshold, with precision and recall of the rarer class."""

import math

import streamlit as st

from dashboard import queries
from dashboard.components import figure
from dashboard.formatting import name_in_label
from tabtune_core.analysis.threshold import best_threshold, counts_at, is_imbalanced

MOST_TEXT = 40


def threshold(run: str) -> None:
    """Draws it for one run, if its table has two classes of which one is rare and its predictions are there."""
    validation, test = (queries.predictions(run, part) for part in ("validation", "test"))
    if validation is None or not is_imbalanced(validation):
        return
    best, rows = best_threshold(validation), validation if test is None or not len(test.y_N) else test
    name = name_in_label(validation.classes[validation.rarer or 0][:MOST_TEXT])
    with st.container(horizontal=True, vertical_alignment="center"):
        label, help = f"Predict {name} from a probability of", f"{best:.2f} has the best F1 on the validation rows."
        chosen = st.slider(label, 0.01, 0.99, best, key=f"threshold_{run}", width=260, help=help)
        counts, part = counts_at(rows, chosen), "validation" if rows is validation else "test"
        for label, share, of in (
            ("Precision", counts.precision, f"{counts.right:,} of {counts.flagged:,} rows that are predicted so are."),
            ("Recall", counts.recall, f"{counts.right:,} of {counts.all:,} such {part} rows are found."),
        ):
            figure(label, "N/A" if math.isnan(share) else f"{share:.0%}", of)
