"""The leaderboard's columns have digits for every line."""

import pandas as pd
import pytest

from dashboard.views.leaderboard.board_table import GAIN, SPREAD, _places


@pytest.mark.parametrize(("tables", "places"), [("aaa", 5), ("aab", None)])
def test_a_run_that_explodes_takes_no_digits_from_a_score_and_several_targets_have_their_own(tables, places):
    scores = {"Validation": [0.56, 3e8, None], SPREAD: [3e-7, None, None]}
    frame = pd.DataFrame({"Table": list(tables), "Target": "y", **scores})
    assert _places(frame, "rmse", "Validation") == places
    assert _places(frame, "rmse", SPREAD) == _places(frame, "rmse", GAIN) == (places and 8)
