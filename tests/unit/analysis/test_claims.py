"""Claims about sweeps where training changes nothing and where it really helps, and what would settle the unclear ones."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sweeps import Lab
from null_designs import held_out, of
from null_sweeps import sweep
from scipy.special import stdtrit
from scipy.stats import binom

from tabtune_core.analysis.claims import claim, earlier_sweeps, on_one_page
from tabtune_core.analysis.comparison import compare, half_widths
from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.recommendation import board_and_recommendation
from tabtune_core.analysis.row_groups import RowGroups, TooFew, _blocks
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.metrics import METRICS, Interval, metrics_of, score_all
from tabtune_core.settings import RunSettings
from tabtune_core.store.predictions import Predictions, read_predictions

SMALLEST_POWER, MOST_FALSE = 0.8, 0.05


def claims(number, metric, **kinds):
    """Returns the product's claims about ``number`` simulated sweeps."""
    rng = np.random.default_rng(7)
    sweeps = [sweep(rng, metric=metric, name=str(place), **kinds) for place in range(number)]
    board = leaderboard([run for runs, _ in sweeps for run in runs], metric)
    answers = []
    for name, own in board.groupby("sweep"):
        load = sweeps[int(name)][1]
        answers.append(claim(compare(own, metric, load), own, metric, load))
    return answers


def share_better(answers):
    return np.mean([one.verdict == "better" for one in answers])


@pytest.mark.parametrize(
    ("metric", "seeds", "number"),
    [
        ("log_loss", 1, 60),
        *(pytest.param(*slow, marks=pytest.mark.slow) for slow in (("accuracy", 1, 60), ("log_loss", 3, 40))),
    ],
)
def test_a_gain_is_almost_never_claimed_when_training_changes_nothing(metric, seeds, number):
    answers = claims(number, metric, seeds=seeds)
    assert share_better(answers) <= MOST_FALSE
    # the choice favours the validation rows in nearly every sweep: the bound is not met merely because no gain was seen
    assert np.mean([one.gain > 0 for one in answers]) > 0.7


def test_a_gain_of_three_standard_errors_is_claimed():
    answers = claims(60, "log_loss", effect=0.52, noise=1.4)
    values = np.array([one.difference.value for one in answers])
    assert values.mean() / np.mean([one.difference.error for one in answers]) == pytest.approx(3, abs=0.25)
    assert share_better(answers) >= SMALLEST_POWER


def test_a_loss_beyond_noise_is_reported():
    rng = np.random.default_rng(1)
    runs, load = sweep(rng, metric="log_loss", noise=1.4)
    board = leaderboard(runs, "log_loss").assign(test_gain=-9.0)
    assert claim(compare(board, "log_loss", load), board, "log_loss", load).verdict == "worse"


def test_without_test_rows_the_interval_allows_for_every_evaluation():
    rng = np.random.default_rng(3)
    runs, load = sweep(rng, metric="log_loss", effect=0.6, noise=1.4)
    board = leaderboard(runs, "log_loss").assign(test_gain=math.nan)
    compared = compare(board, "log_loss", load)
    assert claim(compared, board, "log_loss", load).verdict == "not known", (
        "there are test rows, but the score is not defined on them"
    )

    def no_test(run, part):
        return None if part == "test" else load(run, part)

    few, many = (claim(compared, board, "log_loss", no_test, evaluations=number) for number in (1, 30))
    assert not few.tested
    assert (few.difference.choices, many.difference.choices) == (1, 30)
    assert few.difference.quantile == pytest.approx(1.9801, rel=1e-4)  # Student's with 119 degrees of freedom
    assert many.difference.quantile == pytest.approx(3.2174, rel=1e-4)  # the same at 1 - 0.025 / 30
    assert many.difference.high - many.difference.low > few.difference.high - few.difference.low


def test_a_claim_that_would_not_survive_all_sweeps_with_its_test_rows_is_said_to_be_perhaps_chance(tmp_path):
    lab = Lab(tmp_path / "lab")
    answers = []
    for _ in range(4):
        lab.add((2, [0.9], range(13)), (4, [0.8], range(12)))
        answer = board_and_recommendation(
            lab.store, lab.store.runs(lab.sweep), "accuracy", partial(read_predictions, lab.store)
        )[1]
        answers.append((answer.claim.difference, answer.claim.verdict, " ".join(answer.sentences)))
    assert len({difference for difference, *_ in answers}) == 1, "the interval is that of the sweep alone"
    assert {verdict for _, verdict, _ in answers} == {"better"}
    chance = [replace(answers[0][0], choices=number).low <= 0 for number in (1, 2, 3, 4)]
    assert chance == ["may be chance" in text for *_, text in answers] == sorted(chance) and len(set(chance)) == 2
    assert "3 earlier sweeps had the same test rows: among 4 sweeps, such a gain may be chance." in answers[-1][2]


def test_sweeps_are_earlier_if_they_ended_before_with_scores_on_the_same_test_rows(tmp_path):
    lab = Lab(tmp_path / "lab")
    first, second = (lab.add((2, [0.9])).sweep for _ in range(2))
    others = [{"split_seed": 1}, {"dataset": "e"}, {"target": "z"}]
    other = [lab.add((RunSettings(**{"dataset": "d", "target": "y"} | one), [0.9])).sweep for one in others]
    waiting, _ = lab.store.add_sweep([RunSettings(dataset="d", target="y")])
    lab.add(("inference", [0.9]))
    again = lab.add((2, [0.9])).sweep
    counts = [earlier_sweeps(lab.store.runs(), one) for one in (first, second, again, waiting, *other)]
    assert counts == [0, 1, 2, 0, 0, 0, 0]
    late = [
        replace(run, ended=run.ended + 9e3) if run.sweep == first and run.ended else run for run in lab.store.runs()
    ]
    assert earlier_sweeps(late, first) == 2, "the time that counts is the end of a run, not its place in the queue"


def test_a_page_claims_something_false_in_at_most_5_per_cent_of_draws_and_a_large_gain_in_most():
    """Four comparisons with one model, which share its errors, as the rivals of a page share LoRA's."""
    rng, rounds = np.random.default_rng(11), 600

    def page(effect=0.0):
        ours, rivals_4N = rng.normal(size=120), rng.normal(size=(4, 120))
        differences = []
        for place, rival_N in enumerate(rivals_4N):
            difference_N = ours - rival_N + effect * (place == 0)
            error = difference_N.std(ddof=1) / math.sqrt(120)
            differences.append(Difference(difference_N.mean(), error, 119))
        return differences, on_one_page(differences)

    null = [page() for _ in range(rounds)]
    alone, together = (np.mean([any(map(beyond_noise, page[k])) for page in null]) for k in (0, 1))
    assert alone > 0.08 and 0.01 <= together <= MOST_FALSE + 1.65 * math.sqrt(MOST_FALSE * 0.95 / rounds)
    assert np.mean([beyond_noise(page(0.6)[1][0]) == 1 for _ in range(100)]) > 0.9


def test_holm_widens_each_interval_by_those_that_are_not_surer_and_leaves_unknown_ones():
    surest, next_one, unclear = (Difference(value, 1.0, 1e9) for value in (4.0, 2.3, 0.1))
    lacking = TooFew("random", None, 3, 30)
    wide = on_one_page([unclear, lacking, surest, None, next_one])
    assert [getattr(one, "choices", one) for one in wide] == [1, lacking, 3, None, 2]
    assert [beyond_noise(one) for one in wide] == [0, None, 1, None, 1]
    # 2.2 is beyond the interval of one comparison but not of two: nothing below it is decided
    assert [one.choices for one in on_one_page([replace(next_one, value=2.2), unclear])] == [2, 2]


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(metrics_of("classification")), st.integers(2, 4), st.integers(0, 9), st.sampled_from([1, 2, 40]))
def test_leaving_a_group_out_equals_the_metric_of_the_remaining_rows(metric, classes, seed, levels):
    """Also with ties, in balanced tables and for a class without rows.

    Of two classes, the rarer one stays the rarer in every remainder.
    """
    rng = np.random.default_rng(seed)
    y_N = np.append(rng.permutation(np.arange(48) % max(classes - seed % 2, 2)), [0, 1])
    p_NK = np.maximum(np.round(rng.dirichlet(np.ones(classes), size=50) * levels), 0.1)
    p_NK /= p_NK.sum(axis=1, keepdims=True)
    rows = Predictions(
        np.sort(rng.permutation(1000)[:50]), y_N, p_NK, tuple("abcd"[:classes]), rarer=(None, 0, 1)[seed % 3]
    )
    groups = RowGroups([rows], METRICS[metric])
    parts, group_N, function = groups.leave_out(rows, p_NK), groups.of(rows.rows_N), METRICS[metric].function
    known = rows.rarer if classes == 2 else None
    assert parts.score == pytest.approx(score_all(y_N, p_NK, rarer=known)[metric])
    rarer_N = y_N == (int(np.sum(y_N == 0) >= np.sum(y_N == 1)) if known is None else known)
    copies = [(group_N != g) for g in range(groups.number)]
    named = (
        {"average_precision": lambda kept_N: _precision(rarer_N[kept_N], p_NK[kept_N, int(y_N[rarer_N][0])])}
        if classes == 2
        else {}
    )
    expected = [named.get(metric, lambda kept_N: function(y_N[kept_N], p_NK[kept_N]))(kept_N) for kept_N in copies]
    np.testing.assert_allclose(parts.without_G, expected, atol=1e-12)


def _precision(own_N, p_N):
    return np.mean([own_N[p_N >= p].mean() for p in p_N[own_N]])


@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "average_precision", "f1_weighted", "mcc", "rmse", "r2"])
def test_the_standard_error_is_that_of_a_bootstrap_of_rows(metric):
    rng = np.random.default_rng(5)
    if METRICS[metric].task == "regression":
        y_N = rng.normal(size=400)
        first, second = (y_N + rng.normal(scale=scale, size=400) for scale in (0.5, 0.6))
    else:
        y_N, logits = rng.integers(2, size=400), rng.normal(size=(2, 400))
        first, second = (np.column_stack([1 - p, p]) for p in 1 / (1 + np.exp(-(2 * y_N - 1 + logits))))
    function = METRICS[metric].function
    measured = of(*([Predictions(np.arange(400), y_N, predicted, ("a", "b"))] for predicted in (first, second)), metric)
    draws = [function(y_N[i], first[i]) - function(y_N[i], second[i]) for i in rng.integers(400, size=(120, 400))]
    assert measured.error == pytest.approx(np.std(draws), rel=0.15)


def test_a_row_held_out_under_two_seeds_counts_once():
    rng = np.random.default_rng(6)
    y_N, (p_N, q_N) = rng.integers(2, size=100), rng.normal(size=(2, 100))
    here, there = (
        [held_out(y_N, logit_N, rows_N) for logit_N in (p_N, q_N)] for rows_N in (np.arange(100), np.arange(100, 200))
    )
    alone, twice, other = (of(*zip(*seeds, strict=True)) for seeds in ([here], [here, here], [here, there]))
    assert twice.error == pytest.approx(alone.error)
    assert other.error == pytest.approx(alone.error / math.sqrt(2), rel=0.02)


def test_the_interval_of_a_score_is_students_t_over_its_rows():
    runs, load = sweep(np.random.default_rng(3), metric="log_loss", effect=0.52, noise=1.4)
    table = compare(leaderboard(runs, "log_loss"), "log_loss", load).configurations
    for part, name in (("validation", "score_half_width"), ("test", "test_score_half_width")):
        for (run,), half in zip(table["own_runs"], table[name], strict=True):
            rows = load(run, part)
            losses_N = -np.log(rows.predicted[np.arange(len(rows.y_N)), rows.y_N])
            assert half == pytest.approx(stdtrit(119, 0.975) * losses_N.std(ddof=1) / math.sqrt(120))
            assert half == pytest.approx(half_widths(run, METRICS["log_loss"], load)[f"{part}_log_loss"])


def test_a_run_without_rows_has_no_interval():
    none = Predictions(np.arange(0), np.arange(0), np.zeros((0, 2)), ("a", "b"))
    halves = half_widths("run", METRICS["log_loss"], lambda run, part: none if part == "test" else None)
    assert [*halves] == ["gain", "validation_log_loss", "test_gain", "test_log_loss"] and np.isnan(
        [*halves.values()]
    ).all()


def test_a_seed_whose_predictions_are_missing_leaves_no_difference():
    metric, rng = METRICS["log_loss"], np.random.default_rng(6)
    rows = held_out(rng.integers(2, size=100), rng.normal(size=100))
    run = RowGroups([rows], metric).leave_out(rows, rows.predicted)
    assert isinstance(difference([run, run], [run, run]), Difference)
    assert difference([run, None], [run, run]) is difference([], []) is None


def test_variation_between_seeds_beyond_row_noise_widens_the_interval():
    rng, rows_N = np.random.default_rng(8), np.arange(100)
    before, after, luck = rng.normal(size=100), np.abs(rng.normal(size=100)), (0.0, 0.3, -0.4)
    errors = (before, *(1 + after + lucky for lucky in luck))
    zero_shot, *tuned = (Predictions(rows_N, rows_N * 1.0, rows_N + error_N) for error_N in errors)
    compared = of(tuned, [zero_shot] * 3, "mae")
    assert compared.between_seeds == pytest.approx(np.var(luck, ddof=1))
    share = np.var(luck, ddof=1) / 3 / compared.error**2
    assert compared.quantile == pytest.approx(math.sqrt((1 - share) * 1.98422**2 + share * 4.30265**2), rel=1e-4), (
        "99 and 2 degrees of freedom"
    )


def test_row_noise_of_seeds_with_rows_of_their_own_is_not_taken_for_variation_between_seeds():
    error_N, luck, rows_N = np.abs(np.random.default_rng(8).normal(size=100)), 0.3, np.arange(200)
    parts = [(rows_N[:100], 1 + error_N), (rows_N[100:], 1 + error_N + luck)]
    tuned, right = ([Predictions(own, own * 1.0, own + size * error) for own, error in parts] for size in (1.0, 0.0))
    of_rows = error_N.var(ddof=1) / 100
    assert of(right, tuned, "mae").between_seeds == pytest.approx(luck**2 / 2 - of_rows, rel=0.01)


@settings(deadline=None)
@given(st.floats(-1.5, 1.5), st.floats(1, 500))
def test_the_correction_for_skew_undoes_the_transformation_that_it_names_and_at_most_doubles_the_width(skew, freedom):
    """g1 of Hall 1992, page 223, with the skew of the mean. Neither end is closer than Student's."""
    interval = Difference(1.0, 0.5, freedom, skew)
    for quantile in (-interval.quantile, interval.quantile):
        t = interval._corrected(quantile)
        if abs(t) < 2 * interval.quantile:
            assert t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6 == pytest.approx(quantile, abs=1e-4)
    below, above = 1 - interval.low, interval.high - 1
    assert 0.5 * interval.quantile <= min(below, above) + 1e-9
    assert max(below, above) <= interval.quantile + 1e-9


def test_time_blocks_have_equal_numbers_of_rows_and_never_split_a_moment():
    assert np.bincount(_blocks(np.arange(400))).tolist() == [40] * 10
    assert np.unique(_blocks(np.repeat([0, 1, 2], [70, 70, 20])), return_counts=True)[1].tolist() == [70, 70, 20]
    blocks = [_blocks(np.repeat(np.arange(days), 30)).max() + 1 for days in (9, 10, 15, 20, 30, 90)]
    assert blocks == [4, 5, 5, 6, 10, 10]


@pytest.mark.parametrize(
    "rows_U", [np.arange(1, 31), np.array([300, *[5] * 29]), np.array([*[5] * 29, 300]), np.arange(30) % 9 + 1]
)
def test_a_block_of_time_has_three_moments_or_two(rows_U):
    block_M = _blocks(np.repeat(np.arange(30), rows_U))
    moments = np.bincount(block_M[np.cumsum(rows_U) - 1])
    assert len(moments) < 5 or moments.min() >= 2
    assert (np.diff(block_M) >= 0).all()


def sure(class_N):
    """Probabilities that predict these classes."""
    return np.eye(2)[class_N] * 0.6 + 0.2


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(["accuracy", "balanced_accuracy"]), st.integers(5, 25), st.integers(1, 6), st.floats(0.5, 8))
def test_an_interval_holds_the_truth_where_few_or_no_rows_of_a_class_are_wrong(metric, rare, times, wrong):
    """Zero-shot always predicts the frequent class; after training, each row of the rarer class is wrong with the same
    probability.
    """
    y_N = np.arange(rare * (1 + times) + 20) < rare
    rows = np.arange(len(y_N))
    missed = min(wrong / rare, 0.5)
    weight = 0.5 if metric == "balanced_accuracy" else rare / len(y_N)
    held = 0.0
    for k in range(rare + 1):
        after = held_out(y_N, np.where(y_N & (rows >= k), 1.0, -1.0))
        measured = of([after], [held_out(y_N, np.full(len(y_N), -1.0))], metric)
        held += binom.pmf(k, rare, missed) * (measured.low <= weight * (1 - missed) <= measured.high)
    assert held >= 0.93


@pytest.mark.parametrize("rows", [30, 100, 1000])
def test_a_score_without_a_wrong_row_has_the_interval_of_the_rule_of_three(rows):
    y_N = np.arange(rows) % 2
    metric, one = METRICS["accuracy"], Predictions(np.arange(rows), y_N, sure(y_N), ("a", "b"))
    perfect = RowGroups([one], metric).leave_out(one, one.predicted)
    assert difference([perfect], [perfect.of_nothing()]).half == pytest.approx(3 / rows, rel=0.03)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(metrics_of("classification")),
    st.integers(15, 60),
    st.sampled_from(["random", "group", "time"]),
    st.integers(0, 99),
)
def test_only_equal_predictions_have_a_difference_without_an_interval(metric, rare, split_by, seed):
    y_N = np.random.default_rng(seed).permutation(np.arange(120) < rare).astype(int)
    unit_N = np.arange(120) // (6 if split_by == "group" else 1)
    always, right = (
        [held_out(y_N, logit_N, None, unit_N, split_by)] for logit_N in (np.full(120, -1.0), 2.0 * y_N - 1)
    )
    changed = of(right, always, metric)
    assert isinstance(changed, TooFew) or changed.half > 0 or METRICS[metric].interval == Interval.PLAIN
    same = of(right, right, metric)
    assert isinstance(same, TooFew) or (same.value, same.half) == (0, 0)


def test_copies_of_rows_do_not_narrow_the_interval_of_a_perfect_score():
    y_N, metric = np.arange(60) % 2, METRICS["accuracy"]
    halves = []
    for times in (1, 4):
        label_N, unit_N = np.repeat(y_N, times), np.repeat(np.arange(60), times)
        right = [held_out(label_N, 2.0 * label_N - 1, None, unit_N)]
        halves.append(of(right, [held_out(label_N, 1.0 - 2 * label_N, None, unit_N)], metric.name).half)
    assert halves[1] == pytest.approx(halves[0])


def test_five_seeds_with_rows_of_their_own_are_as_sure_as_one_seed_with_all_of_them():
    y_N, metric = np.arange(500) % 2, METRICS["accuracy"]
    wrong_N = np.where(np.arange(500) % 50 == 0, 1 - y_N, y_N)

    def error(parts):
        rows = [Predictions(part, y_N[part], sure(y_N[part]), ("a", "b"), sure(wrong_N[part])) for part in parts]
        groups = RowGroups(rows, metric)
        after, before = (
            [groups.leave_out(one, p) for one, p in zip(rows, each, strict=True)]
            for each in ([one.predicted for one in rows], [one.zero_shot for one in rows])
        )
        return difference(after, before).error

    assert error(np.split(np.arange(500), 5)) == pytest.approx(error([np.arange(500)]), rel=0.2)
