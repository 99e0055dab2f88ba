"""A column that gives the label away is named; one that only predicts it well is not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from tabtune_core.data.leakage import may_leak

ROWS = 300


def table(task: str) -> tuple[pd.DataFrame, dict[str, str]]:
    rng = np.random.default_rng(0)
    number = rng.normal(size=ROWS)
    label = number if task == "regression" else np.where(number > 0.3, "yes", "no")
    frame = pd.DataFrame(
        {
            "noise": rng.normal(size=ROWS),
            "good": number + rng.normal(scale=0.5, size=ROWS),
            "rescaled": 3 * number + 7,
            "paid on": pd.to_datetime("2024-01-01") + pd.to_timedelta((number * 1000).round(), unit="h"),
            "note": [f"note {value}" for value in number],
            "y": label,
        }
    )
    return frame, {**dict.fromkeys(frame, "number"), "paid on": "date", "note": "text"}


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_leaking_column_is_named_with_the_way_out(task):
    found = may_leak(*table(task), "y", task)
    assert sorted(finding.column for finding in found) == ["paid on", "rescaled"]
    assert all("Leave it out" in finding.message for finding in found)


def test_ignored_columns_and_exact_copies_are_not_named_again():
    frame, kinds = table("classification")
    frame["copy"] = frame["y"].map({"yes": 1, "no": 0})
    found = may_leak(frame, kinds | {"copy": "number", "rescaled": "ignored"}, "y", "classification")
    assert {finding.column for finding in found} == {"paid on"}


def test_independent_measurements_are_not_suspected():
    frame = load_iris(as_frame=True).frame
    assert may_leak(frame, dict.fromkeys(frame.columns, "number"), "target", "classification") == ()


@pytest.mark.parametrize(("slips", "named"), [(0.03, True), (0.15, False)])
@pytest.mark.parametrize("rare", [0.5, 0.2])
def test_a_copy_of_the_label_with_errors_is_named_unless_the_majority_explains_it(slips, named, rare):
    rng = np.random.default_rng(2)
    label = rng.random(2_000) < rare
    again, majority = label ^ (rng.random(2_000) < slips), rng.random(2_000) < 0.01
    frame = pd.DataFrame({"again": again, "majority": majority, "y": np.where(label, "b", "a")})
    found = may_leak(frame, {"again": "boolean", "majority": "boolean", "y": "category"}, "y", "classification")
    assert {finding.column for finding in found} == ({"again"} if named else set())


@pytest.mark.parametrize("common", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("seed", range(2))
def test_gaps_and_zeros_that_do_not_depend_on_a_rare_class_are_not_suspected(common, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=2_000) for name in "abc"}).where(
        rng.random((2_000, 3)) < rng.uniform(0.2, 0.9, 3)
    )
    frame["amount"] = np.where(rng.random(2_000) < 0.5, 0.0, rng.exponential(size=2_000))
    frame["y"] = np.where(rng.random(2_000) < common, "no", "yes")
    assert may_leak(frame, dict.fromkeys((*"abc", "amount"), "number") | {"y": "category"}, "y", "classification") == ()


@pytest.mark.parametrize(("gaps", "named"), [(0.0, True), (0.04, True), (0.3, False)])
def test_a_column_that_one_class_never_has_is_named_even_if_others_lack_it_sometimes(gaps, named):
    rng = np.random.default_rng(0)
    status = rng.choice(["alive", "dead", "released", "escaped", "unknown"], 600, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    since = np.where((status == "alive") | (rng.random(600) < gaps), np.nan, rng.normal(size=600))
    frame = pd.DataFrame({"since": since, "age": rng.normal(size=600), "status": status})
    found = may_leak(frame, {"since": "number", "age": "number"}, "status", "classification")
    assert [finding.column for finding in found] == ["since"] * named
