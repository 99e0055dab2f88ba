"""Splits by time and by group: nothing leaks between parts, and a table that cannot be split is refused with the
reason.
"""

import re
from datetime import time

import numpy as np
import pandas as pd
import pytest

from tabtune_core.data.findings import Column
from tabtune_core.data.ordered_splits import split_by_column
from tabtune_core.data.splits import SplitRule
from tabtune_core.data.task import kinds_of, plan_split, prepare
from tabtune_core.errors import LabelError, SettingError
from tabtune_core.settings import RunSettings

SIZES = {"test_seed": 0, "validation_share": 0.2, "test_share": 0.2}
SIZES |= {"context_rows": 5000, "validation_rows": 5000, "test_rows": 5000}


def table(rows=600, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(200, size=rows), "D"),
            "week": rng.integers(40, size=rows).astype(float),
            "customer": [f"c{i}" for i in (rng.pareto(1.0, size=rows) * 10).astype(int) % 90],
            "x": rng.normal(size=rows),
            "label": np.where(rng.random(rows) < 0.2, "yes", "no"),
        }
    )


def split(frame, column, by, *, seed=0, labels=None, **more):
    labels = frame["label"].to_numpy(dtype=object) if labels is None else labels
    return split_by_column(frame, column, labels, SplitRule(seed=seed, **{**SIZES, **more}), by=by)


def parts(found):
    return found.train, found.validation, found.test


@pytest.mark.parametrize("column", ["day", "week"])
def test_parts_of_a_split_by_time_are_in_order_and_share_no_day(column):
    frame = table()
    train, validation, test = (frame[column].iloc[rows] for rows in parts(split(frame, column, "time")))
    assert train.max() < validation.min() <= validation.max() < test.min()
    assert [len(part) / 600 for part in (train, validation, test)] == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
    assert len(train) + len(validation) + len(test) == 600


def test_seeds_change_the_split_by_group_but_not_the_split_by_time():
    frame = table()
    assert all(
        np.array_equal(*pair)
        for pair in zip(*(parts(split(frame, "day", "time", seed=s)) for s in (0, 1)), strict=True)
    )
    first, again, other = (split(frame, "customer", "group", seed=s).validation for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_in_one_part_and_parts_have_their_shares_of_rows_and_classes(seed):
    frame = table()
    found = parts(split(frame, "customer", "group", seed=seed))
    groups = [set(frame["customer"].iloc[rows]) for rows in found]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert sum(map(len, found)) == 600
    assert [len(rows) / 600 for rows in found] == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
    is_yes = frame["label"] == "yes"
    assert [is_yes.iloc[rows].mean() for rows in found] == pytest.approx([is_yes.mean()] * 3, abs=0.03)


def test_rows_without_a_split_value_only_train_and_unlabelled_rows_are_unused():
    frame = table()
    frame.loc[frame.index[:50], ["day", "customer"]] = None
    labels = frame["label"].to_numpy(dtype=object)
    labels[60:70] = None
    for column, by in (("day", "time"), ("customer", "group")):
        found = split(frame, column, by, labels=labels)
        assert set(range(50)) <= set(found.train)
        assert not set(range(60, 70)) & set(np.concatenate(parts(found)))
        assert "Only trained on: 50 rows without a value in it." in found.findings[0].message


def test_the_split_is_described_with_its_days_and_numbers_of_groups():
    frame = table()
    found = split(frame, "day", "time")
    first, last = (f"{frame['day'].iloc[found.test].agg(how):%Y-%m-%d}" for how in ("min", "max"))
    assert f"tests on {len(found.test)} rows from {first} to {last}" in found.findings[0].message
    found = split(frame.assign(clock=[time(row % 24, 5) for row in range(600)]), "clock", "time")
    assert "up to 13:05:00, " in found.findings[0].message and "to 23:05:00." in found.findings[0].message
    far = split(
        frame.assign(day=pd.Series(np.arange("7500", "8100", dtype="datetime64[Y]").astype("datetime64[us]"))),
        "day",
        "time",
    )
    assert "from 7980-01-01 to 8099-01-01." in far.findings[0].message, "dates that nanoseconds cannot hold"
    found = split(frame, "customer", "group", seed=3)
    groups = frame["customer"].iloc[found.validation].nunique()
    assert f"validates on {len(found.validation)} rows of {groups} groups" in found.findings[0].message
    assert "(seed 3; for every seed, the test groups are those of split seed 0)" in found.findings[0].message


def test_a_table_with_a_separate_test_table_has_two_parts():
    frame = pd.DataFrame({"year": [1.0, 2.0] * 30, "label": ["a", "a", "b", "b"] * 15})
    for by in ("time", "group"):
        found = split(frame, "year", by, test_share=0.0)
        assert (len(found.train), len(found.validation), len(found.test)) == (30, 30, 0)
    chosen = {
        tuple(split(table(), "customer", "group", seed=seed, test_share=0.0, test_seed=0).validation)
        for seed in range(3)
    }
    assert len(chosen) == 3


def test_large_parts_are_sampled_within_themselves():
    frame = table(2000)
    whole, some = (
        split(frame, "customer", "group", **most)
        for most in ({}, {"validation_rows": 50, "test_rows": 60, "context_rows": 70})
    )
    assert [len(rows) for rows in (some.validation, some.test, some.context)] == [50, 60, 70]
    assert set(some.validation) <= set(whole.validation)
    assert set(some.test) <= set(whole.test)
    assert set(some.context) <= set(some.train) == set(whole.train)


@pytest.mark.parametrize(
    ("column", "by", "changed", "message"),
    [
        ("dat", "time", {}, "split_column is 'dat'. The table has no column 'dat'"),
        ("x", "group", {"x": 1.0}, "split_column is 'x', which is constant; a split by group needs at least 3"),
        (
            "day",
            "time",
            {"day": [*pd.date_range("2024-01-01", periods=2)] * 300},
            "'day', which has 2 different values",
        ),
        (
            "customer",
            "group",
            {"customer": ["a", "b"] * 300},
            "has 2 different values; a split by group needs at least 3",
        ),
        ("customer", "group", {"customer": [*"abc", *[None] * 4] * 85 + ["a"] * 5}, "is missing in 57% of the rows"),
        ("day", "time", {"day": [None] * 400 + [pd.Timestamp("2024-01-01")] * 200}, "is missing in 67% of the rows"),
        ("customer", "time", {}, "'customer', which holds words such as 'c"),
    ],
)
def test_a_column_that_cannot_split_is_refused_with_the_reason(column, by, changed, message):
    with pytest.raises(SettingError, match=re.escape(message)):
        split(table().assign(**changed), column, by)


@pytest.mark.parametrize(
    ("late", "message"),
    [
        (["no"] * 120, "gives test rows of the class 'no' alone, on which scores cannot tell models apart"),
        (["new", "no"] * 60, "leaves the class 'new' without a training row, and 60 test rows have it"),
    ],
)
def test_a_split_that_leaves_a_part_without_needed_classes_is_refused(late, message):
    frame = pd.DataFrame({"time": np.arange(600.0), "label": ["yes", "no"] * 240 + late})
    with pytest.raises(LabelError, match=re.escape(message)):
        split(frame, "time", "time")


def settings(**values):
    return RunSettings(dataset="-", target="label", **values)


def test_the_target_cannot_split_and_a_class_missing_in_a_part_is_reported():
    with pytest.raises(SettingError, match="split_column is 'label', which is the column to predict"):
        plan_split(table(), settings(split_by="group", split_column="label"))
    frame = pd.DataFrame({"time": np.arange(600.0), "label": ["a", "b", "c"] * 120 + ["a", "b"] * 120})
    by_time = {"split_by": "time", "split_column": "time"}
    assert [it.code for it in plan_split(frame, settings(**by_time))[1]] == ["split", "split-validation", "split-test"]
    assert plan_split(frame, settings())[1] == ()


def test_models_see_the_time_column_but_not_the_group_column():
    frame = table()
    columns = [
        Column(name, kind, 0, 10, ())
        for name, kind in zip(frame, ("date", "number", "category", "number", "category"), strict=True)
    ]
    by_group = settings(split_by="group", split_column="customer")
    assert kinds_of(columns, by_group)["customer"] == "ignored"
    prepared = prepare(frame, columns, by_group, max_classes=None)
    assert (prepared.context.encoder.categories, prepared.context.encoder.left_out) == ({}, ("customer",))
    by_time = prepare(frame, columns, settings(split_by="time", split_column="day"), max_classes=None)
    assert by_time.context.encoder.dates == ("day",)
    assert set(by_time.split.context) <= set(by_time.split.train)
