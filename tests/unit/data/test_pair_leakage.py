"""Two columns that together give the target are named; two that only predict it well are not."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from tabtune_core.data.pair_leakage import pairs_that_give

ROWS = 400
RNG = np.random.default_rng(0)
LEFT, RIGHT = RNG.integers(1, 300, ROWS), RNG.integers(2, 900, ROWS)
OTHERS = {
    "temperature": RNG.normal(size=ROWS),
    "humidity": RNG.integers(0, 100, ROWS),
    "weekday": RNG.integers(0, 7, ROWS),
}


def found(target: object, **columns: object) -> list[str]:
    frame = pd.DataFrame({"left": LEFT, **OTHERS, "right": RIGHT, **columns, "y": target})
    return [
        finding.message.split(" gives ")[0]
        for finding in pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "y")
    ]


@pytest.mark.parametrize(
    ("target", "formula"),
    [
        (LEFT + RIGHT, "'left' + 'right'"),
        (RIGHT - LEFT, "'right' - 'left'"),
        (LEFT * RIGHT, "'left' × 'right'"),
        (LEFT / RIGHT, "'left' / 'right'"),
        (RIGHT / LEFT, "'right' / 'left'"),
        (0.5 * (LEFT + RIGHT), "0.5 × ('left' + 'right')"),
        (-3 * (LEFT - RIGHT), "3 × ('right' - 'left')"),
        (np.round(100 * LEFT / RIGHT, 1), "100 × 'left' / 'right'"),
    ],
)
def test_a_sum_difference_product_or_ratio_is_named(target, formula):
    assert found(target) == [formula]


def test_the_finding_names_both_columns_the_rows_and_what_to_do():
    frame = pd.DataFrame({"casual": LEFT, **OTHERS, "registered": RIGHT, "cnt": LEFT + RIGHT})
    (finding,) = pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "cnt")
    assert (finding.severity, finding.code, finding.column, finding.second) == (
        "warning",
        "pair-leak",
        "casual",
        "registered",
    )
    assert finding.message == (
        "'casual' + 'registered' gives 'cnt' in all 400 rows. Leave both out unless they are known before the "
        "outcome is."
    )


def test_a_total_of_rounded_parts_is_named_and_reported_as_rounded():
    frame = pd.DataFrame(
        {"payments": LEFT, **OTHERS, "discharges": RIGHT, "total": LEFT * RIGHT * (1 + RNG.uniform(-2e-4, 2e-4, ROWS))}
    )
    (finding,) = pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "total")
    assert "gives 'total' in all 400 rows, to within 0.1 % or rounding." in finding.message


def test_rows_that_break_the_rule_and_gaps_are_counted():
    total = (LEFT + RIGHT).astype(float)
    total[:3] *= 2
    left = LEFT.astype(float)
    left[100:150] = np.nan
    frame = pd.DataFrame({"left": left, **OTHERS, "right": RIGHT, "y": total})
    (finding,) = pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "y")
    assert "in 99.1 % of 350 rows" in finding.message
    total[:12] *= 2
    assert pairs_that_give(frame.assign(y=total), dict.fromkeys(frame.columns, "number"), "y") == ()


@pytest.mark.parametrize(
    "target",
    [
        LEFT + RIGHT + RNG.normal(scale=3, size=ROWS),  # an R2 of 0.9999
        LEFT + RIGHT + OTHERS["weekday"],
        RNG.normal(size=ROWS),
        RNG.integers(2000, 2010, ROWS),
        LEFT,
        7 * LEFT,
    ],
    ids=["a good regression", "three parts", "noise", "years", "one column", "one column times a number"],
)
def test_two_columns_that_only_predict_the_target_are_not_a_leak(target):
    assert found(target) == []


def test_a_sum_of_nearly_all_zeros_is_not_an_identity():
    mostly_zero = {f"c{i}": RNG.integers(1, 9, ROWS) * (RNG.random(ROWS) < 0.01) for i in range(60)}
    assert found(RNG.integers(1, 9, ROWS) * (RNG.random(ROWS) < 0.06), **mostly_zero) == []


def test_ignored_and_text_columns_are_not_named():
    frame = pd.DataFrame({"left": LEFT, "right": RIGHT, "y": LEFT + RIGHT})
    assert pairs_that_give(frame, {"left": "ignored", "right": "number", "y": "number"}, "y") == ()
    assert (
        pairs_that_give(frame.astype({"right": str}), {"left": "number", "right": "category", "y": "number"}, "y") == ()
    )


def test_independent_measurements_are_not_suspected():
    frame = load_diabetes(as_frame=True).frame
    assert pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "target") == ()


GOALS = RNG.poisson(1.4, (2, ROWS))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sign", "cuts", "formula"),
    [
        ("-", [0], "'a' - 'b', cut at"),
        ("+", [-1, 1], "'a' + 'b', cut at"),
        ("+", [-1, 0, 1], "'a' + 'b', cut at"),
        ("x", [0], "'a' × 'b', cut"),
    ],
)
def test_two_columns_that_separate_the_classes_are_named(sign, cuts, formula, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, ROWS))
    value = {"-": a - b, "+": a + b, "x": a * b}[sign]
    names = rng.permutation([f"class {i}" for i in range(len(cuts) + 1)])
    target = names[np.searchsorted(cuts, value)].astype(object)
    target[:2] = None
    findings = found(target, a=a, b=b)
    assert [one[: len(formula)] for one in findings] == [formula]


def test_a_result_is_the_difference_of_the_goals_on_both_sides():
    frame = pd.DataFrame(
        {
            "home": GOALS[0],
            "away": GOALS[1],
            **OTHERS,
            "result": np.array(["D", "H", "A"])[np.sign(GOALS[0] - GOALS[1])],
        }
    )
    (finding,) = pairs_that_give(frame, {**dict.fromkeys(frame.columns, "number"), "result": "category"}, "result")
    assert (finding.column, finding.second) == ("home", "away")
    assert finding.message == (
        "'home' - 'away', cut at -0.5 and 0.5, gives 'result' in all 400 rows. Leave both out unless they are known "
        "before the outcome is."
    )


@pytest.mark.parametrize(
    "target",
    [
        LEFT > 100,
        LEFT + RIGHT + 30 * OTHERS["weekday"] > 600,
        (LEFT - RIGHT > 0) ^ (RNG.random(ROWS) < 0.03),
        RNG.integers(0, 3, ROWS),
        RNG.random(ROWS) < 0.02,
    ],
    ids=["one column", "three parts", "slips", "noise", "a rare class"],
)
def test_two_columns_that_only_predict_the_class_are_not_a_leak(target):
    assert found(np.where(target, "yes", "no") if target.dtype == bool else target) == []


@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_measurements_of_classes_are_not_suspected(load):
    frame = load(as_frame=True).frame
    assert pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "target") == ()


@pytest.mark.parametrize("seed", range(3))
def test_a_quotient_by_a_column_that_is_0_except_in_one_class_accuses_nobody(seed):
    rng = np.random.default_rng(seed)
    y = rng.random(2_000) < 0.3
    flag = np.where(y & (rng.random(2_000) < 0.5), rng.integers(1, 5, 2_000), 0) * 1.0
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, 2_000),
            "income": rng.normal(40, 9, 2_000),
            "flag": flag,
            "y": np.where(y, "yes", "no"),
        }
    )
    kinds = dict.fromkeys(frame.columns[:-1], "number") | {"y": "category"}
    assert pairs_that_give(frame, kinds, "y") == ()


@pytest.mark.parametrize("seed", range(3))
def test_one_of_many_pairs_that_separates_few_rows_is_chance(seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(72, 200))).rename(columns=str)
    frame["y"] = rng.choice(["AML", "ALL"], 72)
    frame.iloc[:, :100] += 1.5 * (frame[["y"]] == "AML").to_numpy()
    assert pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "y") == ()


@pytest.mark.parametrize("classes", [False, True])
def test_a_wide_table_takes_seconds(classes):
    frame = pd.DataFrame(RNG.normal(size=(3000, 500)), columns=[f"c{i}" for i in range(500)])
    difference = frame["c3"] - frame["c470"]
    frame["y"] = np.where(difference > 0, "yes", "no") if classes else difference
    started = time.process_time()
    (finding,) = pairs_that_give(frame, dict.fromkeys(frame.columns, "number"), "y")
    assert (finding.column, finding.second) == ("c3", "c470")
    assert time.process_time() - started < 10
