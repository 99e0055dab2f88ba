"""What is claimed of sweeps in which training changes nothing, and of sweeps in which it really helps; and what would settle the rest."""

import math

import numpy as np
import pytest
from null_sweeps import TABLE, sweep

from tabtune_core.analysis.claims import MOST_SEEDS, claim, seeds_needed
from tabtune_core.analysis.comparison import compare
from tabtune_core.analysis.replicates import Difference, RowGroups, difference
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.metrics import METRICS, metrics_of

SMALLEST_POWER, MOST_FALSE = 0.8, 0.05


def claims(number, metric, **kinds):
    """What the product says of so many made-up sweeps."""
    rng = np.random.default_rng(7)
    sweeps = [sweep(rng, metric=metric, name=str(place), **kinds) for place in range(number)]
    board = leaderboard([run for runs, _ in sweeps for run in runs], metric)
    told = []
    for name, own in board.groupby("sweep"):
        load = sweeps[int(name)][1]
        told.append(claim(compare(own, metric, load), own, metric, load, table_rows=TABLE))
    return told


def share_better(told):
    return np.mean([one.verdict == "better" for one in told])


@pytest.mark.parametrize(("metric", "seeds", "number"), [("log_loss", 1, 400), ("accuracy", 1, 100), ("log_loss", 3, 60)])
def test_where_training_changes_nothing_a_gain_is_hardly_ever_claimed(metric, seeds, number):
    told = claims(number, metric, seeds=seeds)
    assert share_better(told) <= MOST_FALSE
    # the choice flatters the validation rows in nearly every sweep, so that the bar is not met for want of a temptation
    assert np.mean([one.gain > 0 for one in told]) > 0.7


def test_where_training_helps_by_three_standard_errors_it_is_claimed():
    told = claims(100, "log_loss", effect=0.46, noise=1.4)
    values = np.array([one.test.value for one in told])
    assert values.mean() / np.mean([one.test.error for one in told]) == pytest.approx(3, abs=0.25)
    assert share_better(told) >= SMALLEST_POWER


def test_a_harm_beyond_noise_is_said():
    rng = np.random.default_rng(0)
    runs, load = sweep(rng, metric="log_loss", noise=1.4)
    board = leaderboard(runs, "log_loss").assign(test_gain=-9.0)
    assert claim(compare(board, "log_loss", load), board, "log_loss", load).verdict == "worse"


def test_without_test_rows_the_interval_allows_for_every_evaluation():
    rng = np.random.default_rng(3)
    runs, load = sweep(rng, metric="log_loss", effect=0.6, noise=1.4)
    board = leaderboard(runs, "log_loss").assign(test_gain=math.nan)
    found = compare(board, "log_loss", load)
    assert claim(found, board, "log_loss", load).verdict == "not known", "there are test rows, and the score is not defined on them"

    def no_test(run, part):
        return None if part == "test" else load(run, part)

    few, many = (claim(found, board, "log_loss", no_test, evaluations=number) for number in (1, 30))
    assert (few.choices, many.choices) == (1, 30)
    assert few.test.half == pytest.approx(1.959964 * few.test.error)
    assert many.test.half == pytest.approx(3.1440 * few.test.error, rel=1e-3)  # the normal quantile of 1 - 0.025 / 30


def test_seeds_that_are_needed_put_the_difference_beyond_its_interval():
    seen = Difference(0.1, 0.08, 1.96 * 0.08, of_seed=0.08**2)
    assert seeds_needed(seen, 1, 0.0) == 2  # 1.96 * 0.08 / root 3 is below 0.1, over root 2 it is not
    assert seeds_needed(seen, 1, 0.2) == 3  # of four, with a fifth of the noise common to all
    assert seeds_needed(seen, 1, 0.5) is None
    assert seeds_needed(Difference(0.01, 0.08, 1.96 * 0.08, of_seed=0.08**2), 1, 0.0) is None
    assert MOST_SEEDS == 20


def test_seeds_that_are_needed_are_those_of_the_interval_that_was_shown():
    """With one degree of freedom less than there are groups of rows it is wider than the normal one."""
    seen = Difference(0.1, 0.0505, 0.1001, of_seed=0.0505**2)
    assert seeds_needed(seen, 1, 1.0) is None, "the same rows under every seed"


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", metrics_of("classification"))
def test_leaving_groups_out_is_the_metric_of_what_is_left(metric, classes):
    rng = np.random.default_rng(classes)
    y_N = rng.integers(classes, size=90)
    p_NK = rng.dirichlet(np.ones(classes), size=90)
    rows_N = np.sort(rng.permutation(1000)[:90])
    groups = RowGroups([rows_N], METRICS[metric])
    found, group_N, function = groups.leave_out(METRICS[metric], rows_N, y_N, p_NK), groups.of(rows_N), METRICS[metric].function
    assert found.score == pytest.approx(function(y_N, p_NK))
    expected = [function(y_N[group_N != g], p_NK[group_N != g]) for g in range(groups.number)]
    np.testing.assert_allclose(found.without_G, expected, atol=1e-12)


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "f1_weighted", "mcc", "rmse", "r2"])
def test_the_standard_error_is_that_of_a_bootstrap_of_rows(metric):
    rng = np.random.default_rng(5)
    if METRICS[metric].task == "regression":
        y_N = rng.normal(size=400)
        first, second = (y_N + rng.normal(scale=scale, size=400) for scale in (0.5, 0.6))
    else:
        y_N, logits = rng.integers(2, size=400), rng.normal(size=(2, 400))
        first, second = (np.column_stack([1 - p, p]) for p in 1 / (1 + np.exp(-(2 * y_N - 1 + logits))))
    rows_N = np.arange(400)
    groups, function = RowGroups([rows_N], METRICS[metric]), METRICS[metric].function
    found = difference(*([groups.leave_out(METRICS[metric], rows_N, y_N, p)] for p in (first, second)), METRICS[metric])
    draws = [function(y_N[i], first[i]) - function(y_N[i], second[i]) for i in rng.integers(400, size=(300, 400))]
    assert found.error == pytest.approx(np.std(draws), rel=0.15)


def test_a_row_that_two_seeds_held_out_is_one_row():
    rng = np.random.default_rng(6)
    y_N, p_NK = rng.integers(2, size=100), rng.dirichlet(np.ones(2), size=100)
    q_NK, metric, rows_N = rng.dirichlet(np.ones(2), size=100), METRICS["log_loss"], np.arange(100)
    once, apart = RowGroups([rows_N], metric), RowGroups([rows_N, rows_N + 100], metric)
    one, other = (once.leave_out(metric, rows_N, y_N, p) for p in (p_NK, q_NK))
    alone = difference([one], [other], metric)
    assert difference([one, one], [other, other], metric).error == pytest.approx(alone.error)
    first, second = ([apart.leave_out(metric, rows, y_N, p) for rows in (rows_N, rows_N + 100)] for p in (p_NK, q_NK))
    assert difference(first, second, metric).error == pytest.approx(alone.error / math.sqrt(2), rel=0.02)


def test_what_seeds_vary_by_on_the_same_rows_is_all_luck():
    rng = np.random.default_rng(8)
    y_N, metric, rows_N = rng.integers(2, size=100), METRICS["log_loss"], np.arange(100)
    groups = RowGroups([rows_N], metric)
    zero_shot, *tuned = (groups.leave_out(metric, rows_N, y_N, rng.dirichlet(np.ones(2), size=100)) for _ in range(4))
    values = [zero_shot.score - one.score for one in tuned]
    assert difference(tuned, [zero_shot] * 3, metric).between_seeds == pytest.approx(np.var(values, ddof=1))
