"""CSV files in which a spreadsheet finds no formula."""

import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabtune_core.data.spreadsheet import exact_json, safe_csv

BLANK = ' \t\n\r"\u00a0\u2028\ufeff'
SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
PIECES = st.text(st.sampled_from([*SIGNS, *'=;;\t\n\r"" ,|\'a1\u00a0\u2028\ufeff']), max_size=8)


@settings(deadline=None, max_examples=500)
@given(PIECES, PIECES, PIECES, st.sampled_from(",;\t"))
def test_no_cell_begins_a_formula_with_any_regional_separator(name, first, second, parted_at):
    written = safe_csv(pd.DataFrame({f"a{name}": [f"{first}x"], name: [second]}))
    cells = [cell for line in csv.reader(io.StringIO(written, newline=""), delimiter=parted_at) for cell in line]
    assert not any(cell.strip(BLANK).startswith(tuple(SIGNS)) for cell in cells if not cell.lstrip("+-").isdecimal())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("-x", "'-x"),
        (";=1+1", ";'=1+1"),
        ("a; +1", "a; '+1"),
        ("\r=1", "\n'=1"),
        ("\t@x", "\t'@x"),
        (' "\uff1d1', " \"'\uff1d1"),
    ],
)
def test_a_text_that_looks_like_a_formula_is_marked_and_reads_back(text, written):
    read = pd.read_csv(io.StringIO(safe_csv(pd.DataFrame({"a": [text, "b"], text: ["x", None]})), newline=""))
    assert (read["a"].tolist(), list(read)) == ([written, "b"], ["a", written])


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1), st.sampled_from(["float64", "Float64", "object"]))
def test_json_holds_the_exact_numbers_and_null_for_others(values, kind):
    frame = pd.DataFrame(
        {"score": pd.Series(values, dtype=kind), "name": "é/", "runs": [("a", "b")] * len(values), "kept": True}
    )
    frame["rank"] = pd.array([None, *range(1, len(values))], dtype="Int64")
    read = json.loads(exact_json(frame), parse_constant=lambda name: pytest.fail(name))
    assert [row["score"] for row in read] == [value if abs(value) < float("inf") else None for value in values]
    assert [row["rank"] for row in read] == [None, *range(1, len(values))]
    assert all((row["name"], row["runs"], row["kept"]) == ("é/", ["a", "b"], True) for row in read)
