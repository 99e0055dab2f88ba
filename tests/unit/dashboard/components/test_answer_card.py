"""The card of an answer: what is known is written, what is not is left out."""

import math

import pandas as pd

from dashboard.components.answer_card import figures
from tabtune_core.analysis.recommendation import Recommendation
from tabtune_core.analysis.verdict import Verdict

UNKNOWN = math.nan
NUMBERS = {
    "run": "a",
    "lora": "r=2",
    "gain": (-0.04, 0.06),
    "part": "test",
    "comparisons": 1,
    "metric": "rmse",
    "before": 33.195,
    "after": 30.0,
    "second": "r2",
    "second_before": 0.51234,
    "second_after": 0.6,
    "memory_bytes": 132e6,
    "train_seconds": UNKNOWN,
    "adapter_bytes": 145_000.0,
    "classic": "boosting",
    "classic_validation": 28.26,
    "ours_validation": 30.0,
}


def test_the_numbers_of_a_regression_are_r2_the_score_and_what_is_known_of_the_costs():
    shown = {label: value for label, value, _ in figures(Verdict(headline="h", choice=None, **NUMBERS))}
    assert shown == {
        "R²": "0.512 → 0.600",
        "RMSE": "33.2 → 30.0",
        "Memory": "132.0 MB",
        "Adapter": "145.0 kB",
        "Gradient boosting, RMSE": "28.3",
    }


def test_a_gain_that_is_not_shown_is_said_with_its_interval():
    verdict = Verdict(headline="Use the model as it is", choice="inference", **NUMBERS)
    sentences = ("Validation chooses r=2.", "Use the model as it is: it needs no training, and a gain is not shown.")
    said = Recommendation(sentences, "", pd.DataFrame(), verdict=verdict).in_short
    assert said.startswith("It needs no training, and a gain is not shown. ")
    assert "on the test rows: [-0.040, +0.060] in RMSE" in said
