"""The leaderboard's columns have digits for every line."""

import pandas as pd

from dashboard.views.leaderboard.board_table import SPREAD, _digits


def test_neither_a_run_that_explodes_nor_another_target_takes_digits_from_a_score():
    frame = pd.DataFrame(
        {"Table": list("aaab"), "Target": "y", "Validation": [0.56, 3e8, None, 5e-15], SPREAD: [3e-7, None, None, None]}
    )
    assert _digits(frame, "rmse").tolist() == [5, 5, 5, 19]
    assert (
        _digits(frame, "rmse", SPREAD).tolist()
        == _digits(frame, "rmse", "Gain over zero-shot").tolist()
        == [8, 8, 8, 19]
    )
