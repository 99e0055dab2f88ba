"""Which held-out rows count as one unit in an interval."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tabtune_core.data.findings import Column
from tabtune_core.data.task import prepare
from tabtune_core.data.units import copies, units_of
from tabtune_core.settings import RunSettings

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
