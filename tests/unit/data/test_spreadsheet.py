"""CSV files in which a spreadsheet finds no formula."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabtune_core.data.spreadsheet import safe_csv

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


def test_numbers_stay_as_they_are():
    frame = pd.DataFrame({"a": [-1.5, 2.0], "b": ["-3", "+1e5"], "c": pd.array([-1, None], dtype="Int64"), "d": [True, False]})
    assert safe_csv(frame) == frame.to_csv(index=False)


def test_categories_duplicate_names_and_missing_values_are_written():
    frame = pd.DataFrame([["=a", "b"]], columns=["x", "x"]).astype("category")
    assert safe_csv(frame) == "x,x\n'=a,b\n"
    assert safe_csv(frame.iloc[:0]) == "x,x\n"
