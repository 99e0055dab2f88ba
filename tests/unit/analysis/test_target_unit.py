"""Nothing but the written numbers depends on the unit of the target, and no number looks like 0 that is not 0."""

import re
from functools import partial

import pytest
from random_sweeps import regression_sweep

from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.cli.terminal import table
from tabtune_core.metrics import METRICS
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.runs import RunStore

NUMBER = re.compile(r"(?<![\w=.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]\d+)?(?!\w)")


def outcome(home, seed, unit, metric):
    store = RunStore(home)
    own = partial(half_widths, metric=METRICS[metric], load=partial(read_predictions, store))
    board = with_half_widths(leaderboard(store.runs(regression_sweep(store, seed, unit)), metric), own)
    answer = recommend(store, board, metric)
    text = " ".join((*answer.sentences, answer.basis))
    chosen = (
        answer.claim.verdict,
        board["place"].tolist(),
        table(board, metric),
    )
    return text, answer.configurations["tied"].tolist(), *chosen


@pytest.mark.parametrize("seed", range(2))
def test_the_unit_of_the_target_changes_no_verdict_ranking_or_advice(tmp_path, seed):
    metric = ("rmse", "mae")[seed % 2]
    text, *expected, shown = outcome(tmp_path / "1", seed, 1.0, metric)
    for power in (-100, 7):
        other, *own, other_shown = outcome(tmp_path / str(power), seed, 10.0**power, metric)
        assert own == expected
        assert NUMBER.sub("#", other) == NUMBER.sub("#", text)
        for own, of_other in ((text, other), (shown, other_shown)):
            numbers = [[float(one.replace(",", "")) for one in NUMBER.findall(words)] for words in (own, of_other)]
            assert [one == 0 for one in numbers[0]] == [one == 0 for one in numbers[1]]


@pytest.mark.parametrize("power", range(-12, -3))
def test_a_difference_that_is_not_0_is_not_written_as_0(power):
    gain, metric = 1.234 * 10.0**power, METRICS["log_loss"]
    assert metric.text(0.3, gain) != metric.text(0.3 + gain, gain)
    assert float(metric.like(gain, 0.3, gain)) == pytest.approx(gain, rel=0.1)
    assert float(metric.like(gain, 0.3)) == pytest.approx(gain, rel=0.2)


def test_one_run_that_explodes_hides_no_digit_of_the_others(tmp_path):
    store = RunStore(tmp_path)
    board = leaderboard(store.runs(regression_sweep(store, 1)), "rmse").assign(test_gain_half_width=0.05)
    board.loc[board["strategy"] == "linear", ["validation_rmse", "test_rmse"]] = 314_395_696.0
    name, score, gain = board.loc[board["strategy"] == "peft", ["name", "validation_rmse", "test_gain"]].iloc[0]
    line = next(line for line in table(board, "rmse").splitlines() if name in line)
    assert f" {METRICS['rmse'].text(score)} " in line and f" {METRICS['rmse'].like(gain, score, signed=True)} " in line


def test_too_few_validation_rows_are_not_called_missing_predictions(tmp_path):
    store = RunStore(tmp_path)
    board = leaderboard(store.runs(regression_sweep(store, 1, validation_rows=25)), "rmse")
    assert "Too few rows give no interval." in recommend(store, board, "rmse").basis
