"""Simulated test rows on which two models are equally good, with independent, grouped, time-ordered or duplicate rows.

``python tests/null_designs.py 2000`` draws 2,000 of each design and prints how often the interval holds 0. Letters: N
rows of a part, T rows of the table, U units, C configurations, S seeds.
"""

import sys
from functools import cache, partial

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter

from tabtune_core.analysis import row_groups
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.row_groups import RowGroups, TooFew
from tabtune_core.metrics import METRICS
from tabtune_core.store.predictions import Predictions

CLASSES = ("no", "yes")


def sigmoid(logit_N):
    return 1 / (1 + np.exp(-logit_N))


def held_out(y_N, logit_N, rows_N=None, units_N=None, split_by="random"):
    """Predictions of rows; each row is its own unit unless ``units_N`` is given."""
    p_N, rows_N = sigmoid(logit_N), np.arange(len(y_N)) if rows_N is None else rows_N
    units_N = rows_N if units_N is None else units_N
    return Predictions(
        rows_N, y_N.astype(int), np.column_stack([1 - p_N, p_N]), CLASSES, units_N=units_N, split_by=split_by
    )


def two(truth_N, errors_2N, rng, y_N=None, units_N=None, split_by="random"):
    """Two models with equally distributed errors of the true logits, on one set of labels and one seed."""
    y_N = rng.random(len(truth_N)) < sigmoid(truth_N) if y_N is None else y_N
    return [[held_out(y_N, truth_N + error_N, None, units_N, split_by)] for error_N in errors_2N]


def independent(rng, rows=120, positives=None):
    """Independent rows, with ``positives`` of the rarer class."""
    y_N = None if positives is None else np.arange(rows) < positives
    truth_N = rng.normal(scale=1.5, size=rows) if y_N is None else rng.normal(size=rows) + 2 * y_N - 1
    return two(truth_N, 0.8 * rng.normal(size=(2, rows)), rng, y_N)


def grouped(rng, groups=15, unequal=0.7, of_group=0.8):
    """Customers with unequal numbers of rows; each model has its own error per customer."""
    unit_N = np.repeat(np.arange(groups), np.ceil(10 * np.exp(unequal * rng.normal(size=groups))).astype(int))
    truth_N = rng.normal(size=groups)[unit_N] + rng.normal(size=len(unit_N))
    errors_2N = of_group * rng.normal(size=(2, groups))[:, unit_N] + 0.5 * rng.normal(size=(2, len(unit_N)))
    return two(truth_N, errors_2N, rng, None, unit_N, "group")


def in_time(rng, rows=120, memory=0.8):
    """Rows in time with autoregressive truth and errors."""
    truth_N, *errors_2N = lagged(rng, rows, memory)
    return two(1.5 * truth_N, 1.2 * np.array(errors_2N), rng, None, np.arange(rows), "time")


def lasting(rng, rows=120, memory=0.97):
    """Numbers in time, and two models whose errors last."""
    truth_N, *errors_2N = lagged(rng, rows, memory)
    here = np.arange(rows)
    return [[Predictions(here, truth_N, truth_N + error_N, units_N=here, split_by="time")] for error_N in errors_2N]


def panel(rng, days=20, rows=20, memory=0.8):
    """``rows`` rows of each day, with autoregressive truth and errors of the days."""
    day_N, truth, *errors = np.repeat(np.arange(days), rows), *lagged(rng, days, memory)
    each_3N = rng.normal(size=(3, len(day_N)))
    errors_2N = [1.2 * error[day_N] + 0.4 * own_N for error, own_N in zip(errors, each_3N[1:], strict=True)]
    return two(1.5 * truth[day_N] + 0.5 * each_3N[0], np.array(errors_2N), rng, None, day_N, "time")


def lagged(rng, points, memory):
    """Three autoregressive series with a variance of 1."""
    return np.sqrt(1 - memory**2) * lfilter([1], [1, -memory], rng.normal(size=(3, points + 100)), axis=1)[:, 100:]


def copied(rng, times, rows=120):
    """Each row ``times`` times."""
    unit_N = np.arange(rows) // times
    truth_N, own_U = rng.normal(scale=1.5, size=rows)[unit_N], rng.random(rows)
    return two(truth_N, 0.8 * rng.normal(size=(2, rows))[:, unit_N], rng, own_U[unit_N] < sigmoid(truth_N), unit_N)


@cache
def sure_of(spread, timid):
    """The factor above 1 on the true logits that has the same loss as the factor ``timid``."""
    truth_N = np.random.default_rng(1).normal(scale=spread, size=400_000)

    def loss(factor):
        return np.mean(np.logaddexp(0, factor * truth_N) - sigmoid(truth_N) * factor * truth_N)

    return brentq(lambda factor: loss(factor) - loss(timid), 1, 20)


def timid_and_bold(rng, rows=40, spread=2.0, timid=0.5):
    """An underconfident against an overconfident model: common small losses against rare large ones."""
    truth_N = rng.normal(scale=spread, size=rows)
    y_N = rng.random(rows) < sigmoid(truth_N)
    return [[held_out(y_N, factor * truth_N)] for factor in (timid, sure_of(spread, timid))]


def rarely_wrong(rng, rows=120, wrong=0.01, timid=0.05, together=1, split_by="random"):
    """Two models of one loss, one bolder; a share ``wrong`` of labels is turned, ``together`` rows at once."""
    unit_N = np.arange(rows) // together
    side_N = np.where(rng.random(rows) < 0.5, 1, -1)[unit_N]
    y_N = (side_N > 0) ^ (rng.random(rows) < wrong)[unit_N]

    def loss(error):
        return -wrong * np.log(error) - (1 - wrong) * np.log1p(-error)

    bold = brentq(lambda error: loss(error) - loss(timid), 1e-12, wrong)
    units_N = np.arange(rows) if split_by == "time" else unit_N
    return [
        [held_out(y_N, side_N * np.log1p(-error) - side_N * np.log(error), None, units_N, split_by)]
        for error in (bold, timid)
    ]


def surer_of_a_part(rng, rows=300, part=0.1, sure=1e-3, timid=0.1):
    """Two models with the same loss, one of them much surer on a part of the rows; on the others they differ by little."""
    truth_N, side_N = rng.normal(scale=1.5, size=rows), np.where(rng.random(rows) < 0.5, 1, -1)
    right, wrong = np.log1p(-sure) - np.log1p(-timid), np.log(timid / sure)
    part_N, error_N = rng.random(rows) < part, rng.random(rows) < right / (right + wrong)
    y_N = np.where(part_N, (side_N > 0) ^ error_N, rng.random(rows) < sigmoid(truth_N))
    models = []
    for error in (sure, timid):
        bold_N = side_N * (np.log1p(-error) - np.log(error))
        models.append([held_out(y_N, np.where(part_N, bold_N, truth_N + 0.1 * rng.normal(size=rows)))])
    return models


def rarely_wrong_groups(rng, groups=20, rows=10, wrong=0.03):
    """Labels of single rows; one model is wrong in whole groups, the other in single rows, both equally often."""
    unit_N, y_N = np.repeat(np.arange(groups), rows), rng.random(groups * rows) < 0.5
    side_N = np.where(y_N, 2.0, -2.0)
    turned_2N = rng.random(groups)[unit_N] < wrong, rng.random(groups * rows) < wrong
    errors_2N = [np.where(turned_N, -side_N, side_N) for turned_N in turned_2N]
    return two(np.zeros(len(y_N)), errors_2N, rng, y_N, unit_N, "group")


def rare_numbers(rng, rows=120, share=0.02):
    """Most targets are 0, and two constants, one below and one above the mean, have equally large squared errors."""
    y_N = (rng.random(rows) < share) * (1 + 0.2 * rng.normal(size=rows))
    both_2N = share * np.array([[0.1], [1.9]]) + 1e-4 * rng.normal(size=(2, rows))
    return [[Predictions(np.arange(rows), y_N, own_N, units_N=np.arange(rows))] for own_N in both_2N]


def prices(rng, rows=120, tail=1.1):
    """Targets with a heavy tail, and two models with equally distributed errors of their magnitude."""
    logit_N, errors_2N = rng.normal(scale=tail, size=rows), 0.5 * rng.normal(size=(2, rows))
    y_N = np.exp(logit_N + 0.3 * rng.normal(size=rows))
    row_N = np.arange(rows)
    return [[Predictions(row_N, y_N, np.exp(logit_N + error_N), units_N=row_N)] for error_N in errors_2N]


def chosen(rng, configurations=30, seeds=5, table=400, rows=80, lasting=0.8):
    """The best configuration by validation against zero-shot; ``lasting`` correlates effects on a row over seeds."""
    truth_T, zero_T = rng.normal(scale=1.5, size=table), rng.normal(size=table)
    y_T = rng.random(table) < sigmoid(truth_T)
    lasting_CT = rng.normal(size=(configurations, table))
    validation, test = [], []
    for _ in range(seeds):
        order = np.concatenate([np.arange(rows), rows + rng.permutation(table - rows)])
        test.append(np.sort(order[:rows]))
        validation.append(np.sort(order[rows : 2 * rows]))
    moved_SCT = lasting * lasting_CT + np.sqrt(1 - lasting**2) * rng.normal(size=(seeds, configurations, table))
    logit_SCT = truth_T + 0.8 * (zero_T + moved_SCT) / np.sqrt(2)
    losses_SCT = np.logaddexp(0, np.where(y_T, -logit_SCT, logit_SCT))
    pairs = zip(losses_SCT, validation, strict=True)
    loss_C = np.mean([loss_CT[:, rows_N].mean(axis=1) for loss_CT, rows_N in pairs], axis=0)
    best = logit_SCT[:, loss_C.argmin()]
    return [
        [held_out(y_T[r], logit_T[r], r) for r, logit_T in zip(test, both, strict=True)]
        for both in (best, [truth_T + 0.8 * zero_T] * seeds)
    ]


def repeated(rng, seeds=3, rows=120, luck=0.2):
    """One set of test rows; the gain of a training varies between seeds around 0."""
    truth_N, error_N = rng.normal(scale=1.5, size=rows), rng.normal(size=rows)
    y_N = rng.random(rows) < sigmoid(truth_N)
    better_N = np.where(y_N, luck, -luck)
    after_SN = np.sqrt(0.8) * error_N + np.sqrt(0.2) * rng.normal(size=(seeds, rows))
    first = [held_out(y_N, truth_N + 0.8 * after_N + rng.normal() * better_N) for after_N in after_SN]
    return [first, [held_out(y_N, truth_N + 0.8 * error_N)] * seeds]


def of(first, second, metric="log_loss"):
    """The product's comparison of two models, each with predictions of every seed."""
    groups = RowGroups(first, METRICS[metric])
    return difference(*([groups.leave_out(rows, rows.predicted) for rows in each] for each in (first, second)))


LABELS_WRONG = {"rows": 200, "wrong": 0.03, "timid": 0.1, "together": 10}
SURE = {"spread": 4.0, "timid": 0.3}
DESIGNS = {
    "independent, log-loss": (independent, "log_loss"),
    "independent, accuracy": (independent, "accuracy"),
    "independent, ROC AUC": (independent, "roc_auc"),
    "independent, average precision": (independent, "average_precision"),
    "1 positive, ROC AUC": (partial(independent, positives=1), "roc_auc"),
    "1 positive, average precision": (partial(independent, positives=1), "average_precision"),
    "5 positives, ROC AUC": (partial(independent, positives=5), "roc_auc"),
    "5 positives, average precision": (partial(independent, positives=5), "average_precision"),
    "15 unequal groups, log-loss": (grouped, "log_loss"),
    "40 unequal groups, log-loss": (partial(grouped, groups=40), "log_loss"),
    "15 unequal groups, ROC AUC": (grouped, "roc_auc"),
    "in time, 40 rows": (partial(in_time, rows=40), "log_loss"),
    "in time, 120 rows": (in_time, "log_loss"),
    "in time, errors that last (0.97), mean absolute error": (lasting, "mae"),
    "in time, errors that last (0.97), RMSE": (lasting, "rmse"),
    "in time, errors that last (0.9), mean absolute error": (partial(lasting, memory=0.9), "mae"),
    "in time, 20 rows of each of 20 days": (panel, "log_loss"),
    "in time, 20 rows of each of 10 days": (partial(panel, days=10), "log_loss"),
    "each row twice": (partial(copied, times=2), "log_loss"),
    "each row four times": (partial(copied, times=4), "log_loss"),
    "timid and bold, 40 rows": (timid_and_bold, "log_loss"),
    "timid and bold, 120 rows": (partial(timid_and_bold, rows=120), "log_loss"),
    "nearly certain, 120 rows": (partial(timid_and_bold, rows=120, **SURE), "log_loss"),
    "surer of 30 of 300 rows": (surer_of_a_part, "log_loss"),
    "surer of 30 of 100 rows": (partial(surer_of_a_part, rows=100, part=0.3, sure=0.01), "log_loss"),
    "surer of 100 of 1,000 rows": (partial(surer_of_a_part, rows=1000), "log_loss"),
    "one label in 100 wrong, 120 rows": (rarely_wrong, "log_loss"),
    "one label in 50 wrong, 120 rows": (partial(rarely_wrong, wrong=0.02, timid=0.08), "log_loss"),
    "one label in 200 wrong, 400 rows": (partial(rarely_wrong, rows=400, wrong=0.005, timid=0.03), "log_loss"),
    "one group of 5 in 100 wrong, 120 groups": (
        partial(rarely_wrong, rows=600, together=5, split_by="group"),
        "log_loss",
    ),
    "one group of 10 in 33 wrong, 20 groups, Brier score": (
        partial(rarely_wrong, **LABELS_WRONG, split_by="group"),
        "brier",
    ),
    "wrong in whole groups or single rows, accuracy": (rarely_wrong_groups, "accuracy"),
    "prices, RMSE": (prices, "rmse"),
    "prices, R²": (prices, "r2"),
    "prices, mean absolute error": (prices, "mae"),
    "3 seeds of varying luck": (repeated, "log_loss"),
    "best of 30, 5 seeds": (chosen, "log_loss"),
}
"""By name: the function that draws it, and the metric."""
BEYOND = {
    "prices, RMSE, 20 rows": (partial(prices, rows=20), "rmse"),
    "timid and bold, 20 rows": (partial(timid_and_bold, rows=20), "log_loss"),
    "timid and bold, 30 rows": (partial(timid_and_bold, rows=30), "log_loss"),
    "nearly certain, 20 rows": (partial(timid_and_bold, rows=20, **SURE), "log_loss"),
    "nearly certain, 30 rows": (partial(timid_and_bold, rows=30, **SURE), "log_loss"),
    "one label in 100 wrong, 60 rows": (partial(rarely_wrong, rows=60), "log_loss"),
    "one target in 50 not 0, RMSE": (rare_numbers, "rmse"),
    "one target in 16 not 0, RMSE": (partial(rare_numbers, share=1 / 16), "rmse"),
    "nearly certain, 40 rows": (partial(timid_and_bold, **SURE), "log_loss"),
    "wrong in whole groups or single rows, log-loss": (rarely_wrong_groups, "log_loss"),
    "one group in 10 wrong or one row in 10, 15 groups, accuracy": (
        partial(rarely_wrong_groups, groups=15, wrong=0.1),
        "accuracy",
    ),
    "one period of 10 in 33 wrong, in time": (partial(rarely_wrong, **LABELS_WRONG, split_by="time"), "log_loss"),
    "2 seeds of varying luck": (partial(repeated, seeds=2), "log_loss"),
    "in time, errors that last (0.99), mean absolute error": (partial(lasting, memory=0.99), "mae"),
    "in time, errors that last (0.99), RMSE": (partial(lasting, memory=0.99), "rmse"),
    "in time, 120 rows, long memory": (partial(in_time, memory=0.95), "log_loss"),
    "in time, 500 rows, long memory": (partial(in_time, rows=500, memory=0.95), "log_loss"),
}
"""Designs in which intervals are less reliable, or that show the reason for a limit."""


def shares(name, number, seed=1):
    """Shares of the draws: with the answer "too few"; of the others, with an interval that holds 0, and with one on the
    side of 0 where more are; and that would not hold 0 if the truth were three standard deviations of the difference
    higher. The last three are None without other draws.
    """
    make, metric = {**DESIGNS, **BEYOND}[name]
    rng = np.random.default_rng(seed)
    answers = [of(*make(rng), metric) for _ in range(number)]
    known = [one for one in answers if isinstance(one, Difference)]
    low, high = (np.array([getattr(one, end) for one in known]) for end in ("low", "high"))
    effect = 3 * np.std([one.value for one in known]) if known else 0
    claimed = max(np.mean(low > 0), np.mean(high < 0)) if known else None
    held = [np.mean((low <= 0) & (high >= 0)), claimed, np.mean(low + effect > 0)] if known else [None] * 3
    return np.mean([isinstance(one, TooFew) for one in answers]), *held


if __name__ == "__main__":
    print("| design | too few | interval holds 0 | gain claimed | power |\n| --- | ---: | ---: | ---: | ---: |")
    for name in (*DESIGNS, *BEYOND):
        row_groups.FEWEST_ROWS = 30 if name in DESIGNS else 0
        cells = ("" if share is None else f"{100 * share:.1f} %" for share in shares(name, int(sys.argv[1])))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
