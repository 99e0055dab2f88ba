"""A cell of a row to predict means the same whatever rows are beside it: read alone, in any batch, from a file or from
Python.
"""

from functools import cache

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabtune_core.data.encoding import FeatureEncoder
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.table import read_table
from tabtune_core.data.values import moments

NUMBERS = ("70,000", "tbd", "1.234", "12", "3 p", "<5", "(5)", "5 h", "inf", "1e3", "5 K", "12 km", "8%", "", "1:30")
DATES = (
    *("03/04/2021", "13/04/2021", "04/25/2021", "May 2021", "2021-05-03", "20210405", "13042021", "x", "3.4.21", ""),
    *("5 april 2020 3:04 PM", "0001-01-01T00:00:00+01:00", "9999-12-31 23:00:00 -05:00"),
)
READINGS = (
    (),
    (("decimal_commas", (("cell", False),)),),
    (("decimal_commas", (("cell", True),)),),
    (("units", (("cell", "km"),)),),
)


@cache
def alone(cell, kind, known):
    return read_cells([cell], kind, **dict(known))[0][0]


def read_cells(cells, kind, **known):
    """What a file of these cells holds as rows to predict, and what is said about it."""
    text = "cell;other\n" + "".join(f"{cell};1\n" for cell in cells)
    choices = ReadingChoices(delimiter=";", encoding="utf-8", header=True, kinds=(("cell", kind),), **known)
    table = read_table(text.encode(), choices, fewest=1)
    told = {finding.code: finding.message for finding in table.findings}
    return [None if pd.isna(value) else value for value in table.frame["cell"]], told


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(NUMBERS), min_size=2, max_size=9), st.sampled_from(READINGS))
def test_a_number_reads_the_same_alone_and_in_a_batch(cells, known):
    assert read_cells(cells, "number", **dict(known))[0] == [alone(cell, "number", known) for cell in cells]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(DATES), min_size=2, max_size=9), st.sampled_from([True, False]))
def test_a_date_reads_the_same_alone_in_a_batch_and_from_python(cells, day_first):
    together = read_cells(cells, "datetime", day_first=day_first)[0]
    assert together == [alone(cell, "datetime", (("day_first", day_first),)) for cell in cells]
    from_python = moments(pd.Series(cells, dtype=object), order=day_first)
    assert together == [None if pd.isna(value) else pd.Timestamp(value) for value in from_python]


@pytest.mark.parametrize(
    ("day_first", "expected"),
    [(True, ["2021-04-03", "2021-04-13", None]), (False, ["2021-03-04", None, "2021-04-25"]), (None, [None] * 3)],
)
def test_dates_of_digits_are_read_in_the_order_of_the_column_or_not_at_all(day_first, expected):
    values, found = read_cells(DATES[:3], "date", **({} if day_first is None else {"day_first": day_first}))
    assert values == [day and pd.Timestamp(day) for day in expected]
    assert "bad-cells" in found
    orders = {} if day_first is None else {"cell": day_first}
    (sentence,) = FeatureEncoder({}, (), ("cell",), (), orders=orders).unread(pd.DataFrame({"cell": DATES[:3]}))
    assert sentence.startswith(f"{expected.count(None)} cell") and "read as missing" in sentence


def test_a_cell_that_is_not_a_number_is_reported_and_leaves_the_others():
    values, codes = read_cells(["70,000", "tbd", "3"], "number", decimal_commas=(("cell", False),))
    assert values == [70_000, None, 3]
    assert "bad-cells" in codes


@pytest.mark.parametrize("beside", ["a", "9,5"])
@pytest.mark.parametrize(
    "write",
    [pd.DataFrame.to_parquet, lambda frame: frame.to_json(orient="records", lines=True).encode()],
    ids=["Parquet", "JSON"],
)
def test_a_point_in_a_typed_file_is_decimal_whatever_other_cells_hold(write, beside):
    content = write(pd.DataFrame({"cell": [1.234, 2.5], "other": [beside, "b"]}))
    known = ReadingChoices(delimiter=";", header=True, kinds=(("cell", "number"),), decimal_commas=(("cell", True),))
    assert read_table(content, known, fewest=1).frame["cell"].tolist() == [1.234, 2.5]


def test_a_number_too_large_for_a_float_is_missing_in_every_notation():
    assert read_cells(["1e400", "-1e400", "$1e400", "1e120"], "number")[0] == [None, None, None, 1e120]
