"""The random split is seeded, stratified, disjoint, and keeps small classes; which held-out rows count as one unit."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tabtune_core.data.findings import Column
from tabtune_core.data.splits import SplitRule, sample_rows, split_rows
from tabtune_core.data.task import prepare, split_table
from tabtune_core.data.units import copies, units_of
from tabtune_core.errors import LabelError
from tabtune_core.settings import RunSettings

SHARES = {"test_seed": 0, "validation_share": 0.2, "test_share": 0.2}
SHARES |= {"context_rows": 2000, "validation_rows": 2000, "test_rows": 2000}


def labels(**counts):
    return np.random.default_rng(0).permutation(np.repeat(np.array(list(counts), dtype=object), list(counts.values())))


def test_the_parts_are_disjoint_and_together_all_labelled_rows():
    values = labels(a=60, b=40)
    values[[3, 50]] = None
    split = split_rows(values, SplitRule(seed=1, **SHARES))
    together = np.concatenate([split.train, split.validation, split.test])
    assert sorted(together) == [i for i in range(100) if i not in (3, 50)]
    assert (len(split.validation), len(split.test)) == (20, 20)


def test_each_part_has_every_class_in_its_share():
    values = labels(a=300, b=100)
    split = split_rows(values, SplitRule(seed=0, **SHARES))
    for rows in (split.train, split.validation, split.test):
        assert np.mean(values[rows] == "b") == pytest.approx(0.25, abs=0.02)


def test_a_class_of_two_rows_stays_with_the_training_rows():
    values = labels(a=30, b=30, c=2)
    split = split_rows(values, SplitRule(seed=0, **SHARES))
    assert set(np.flatnonzero(values == "c")) <= set(split.train)


def test_a_class_of_three_rows_is_in_every_part():
    values = labels(a=30, b=30, c=3)
    split = split_rows(values, SplitRule(seed=0, **SHARES))
    assert [list(values[rows]).count("c") for rows in (split.train, split.validation, split.test)] == [1, 1, 1]


def test_a_share_of_0_holds_out_no_row():
    split = split_rows(labels(a=30, b=30), SplitRule(seed=0, **SHARES | {"test_share": 0}))
    assert [len(rows) for rows in (split.train, split.validation, split.test)] == [48, 12, 0]


def test_a_large_table_is_sampled_with_every_class():
    values = labels(a=5000, b=40)
    split = split_rows(
        values, SplitRule(seed=0, **SHARES | {"context_rows": 100, "validation_rows": 50, "test_rows": 60})
    )
    assert (len(split.context), len(split.validation), len(split.test)) == (100, 50, 60)
    assert set(split.context) <= set(split.train)
    assert all({"a", "b"} == set(values[rows]) for rows in (split.context, split.validation, split.test))


@pytest.mark.parametrize("values", [labels(a=30), labels(a=30, b=2), labels(a=2, b=2), labels(a=1, b=1)])
def test_a_table_too_small_to_split_is_refused(values):
    with pytest.raises(LabelError):
        split_rows(values, SplitRule(seed=0, **SHARES))


def test_a_sample_keeps_a_class_that_a_simple_draw_would_lose():
    values = np.array(["a"] * 999 + ["b"])
    assert 999 in sample_rows(values, 10, np.random.default_rng(0))


def test_the_context_size_moves_no_held_out_row_and_a_smaller_context_is_a_subset():
    values = labels(a=700, b=300)
    few, more, every = (
        split_rows(values, SplitRule(seed=0, **SHARES | {"context_rows": rows, "validation_rows": 50, "test_rows": 60}))
        for rows in (100, 300, None)
    )
    for other in (more, every):
        assert np.array_equal(few.validation, other.validation)
        assert np.array_equal(few.test, other.test)
    assert set(few.context) < set(more.context) < set(every.context) == set(every.train)


@pytest.mark.parametrize("by", ["random", "time"])
def test_shares_that_leave_nothing_to_train_on_are_named(by):
    frame = pd.DataFrame({"when": range(40), "y": ["a", "b"] * 20})
    how = {"split_by": by, "split_column": None if by == "random" else "when"}
    shares = RunSettings(dataset="d", target="y", validation_share=0.5, test_share=0.5, **how)
    with pytest.raises(LabelError, match="validation_share is 0.5 and test_share is 0.5: .* Make one smaller"):
        split_table(frame, frame["y"].to_numpy(dtype=object), shares)


@pytest.mark.parametrize(
    ("test_seed", "validation", "test", "context"),
    [(7, [0, 6, 10, 19, 30, 43], [2, 4, 12, 29, 35, 37], [15, 22, 31, 44, 45, 48])],
)
def test_one_rule_gives_the_same_rows_in_every_version(test_seed, validation, test, context):
    few = {"test_seed": test_seed, "context_rows": 6, "validation_rows": 6, "test_rows": 6}
    split = split_rows(labels(a=30, b=20), SplitRule(seed=3, **SHARES | few))
    assert [rows.tolist() for rows in (split.validation, split.test, split.context)] == [validation, test, context]


KINDS = {"amount": "number", "kind": "category", "customer": "category", "day": "number", "target": "category"}


def table(rows=300):
    rng = np.random.default_rng(0)
    columns = {
        "amount": rng.normal(size=rows),
        "kind": rng.choice(["x", "y"], rows),
        "customer": rng.choice(list("abcdefghijklmno"), rows),
    }
    return pd.DataFrame({**columns, "day": rng.permutation(rows) // 4, "target": rng.choice(["no", "yes"], rows)})


def units(frame, kinds=(), **how):
    """Returns the units of the test rows, and these rows."""
    columns = [Column(name, kind, 0, 10, ()) for name, kind in {**KINDS, **dict(kinds)}.items()]
    asked = RunSettings(dataset="-", target="target", **how)
    prepared = prepare(frame, columns, asked, max_classes=None)
    return units_of(prepared, asked)[prepared.split.test], prepared.split.test


@pytest.mark.parametrize(("by", "column"), [("group", "customer"), ("time", "day")])
def test_rows_with_one_split_value_form_a_unit_and_times_are_in_order(by, column):
    frame = table()
    frame.loc[frame.index[frame[column] == frame[column].iloc[0]][:1], column] = None
    units_N, rows = units(frame, split_by=by, split_column=column)
    values = frame[column].iloc[rows]
    pairs = set(zip(units_N, values, strict=True))
    assert len(pairs) == values.nunique() == len(set(units_N)) < len(rows)
    ordered = {"group": list, "time": sorted}[by]
    assert [value for _, value in sorted(pairs)] == ordered(value for _, value in sorted(pairs))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 5), min_size=40, max_size=80), st.integers(0, 9))
def test_only_copies_form_a_unit_under_every_seed(times, seed):
    frame = table(len(times)).drop(columns=["customer", "day"])
    rows = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(times)), times))
    copied = frame.iloc[rows].reset_index(drop=True)
    units_N = copies(copied, np.arange(len(rows)))
    assert len(set(zip(units_N, rows, strict=True))) == len(set(units_N)) == len(times)
    half = copies(copied.iloc[::2], np.arange(len(rows))[::2])
    np.testing.assert_array_equal(half, units_N[::2])


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.integers(2, 5), st.integers(60, 300), st.integers(0, 99))
def test_rows_equal_by_chance_in_a_table_of_few_values_are_separate_units(columns, values, rows, seed):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(values), size=columns)
    frame = pd.DataFrame({f"x{f}": rng.choice(values, size=rows, p=share) for f, share in enumerate(shares)})
    assume(frame.duplicated().sum() > 10)
    np.testing.assert_array_equal(copies(frame, np.arange(rows)), np.arange(rows))


def test_a_column_that_no_model_sees_does_not_distinguish_copies():
    frame = pd.concat([table(100)] * 3, ignore_index=True).assign(customer=[str(row) for row in range(300)])
    of_seen, rows = units(frame)
    assert len(set(of_seen)) == len(rows)
    of_rest, rows = units(frame, kinds={"customer": "ignored"})
    assert len(set(of_rest)) == len(set(rows % 100)) < len(rows)
