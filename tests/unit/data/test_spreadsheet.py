"""CSV that a spreadsheet opens without a formula in it."""

import io

import pandas as pd
import pytest

from tabtune_core.data.spreadsheet import safe_csv


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")'])
def test_a_text_that_looks_like_a_formula_is_marked_and_reads_back(text):
    read = pd.read_csv(io.StringIO(safe_csv(pd.DataFrame({"a": [text, "b"], text: ["x", None]})), newline=""))
    assert read["a"].tolist() == ["'" + text.replace("\r", "\n"), "b"]
    assert list(read) == ["a", "'" + text.replace("\r", "\n")]


def test_numbers_stay_as_they_are():
    frame = pd.DataFrame({"a": [-1.5, 2.0], "b": ["-3", "+1e5"], "c": pd.array([-1, None], dtype="Int64"), "d": [True, False]})
    assert safe_csv(frame) == frame.to_csv(index=False)


def test_categories_two_columns_of_one_name_and_nothing_are_written():
    frame = pd.DataFrame([["=a", "b"]], columns=["x", "x"]).astype("category")
    assert safe_csv(frame) == "x,x\n'=a,b\n"
    assert safe_csv(frame.iloc[:0]) == "x,x\n"


@pytest.mark.parametrize(("text", "written"), [("a;=1+1", "a;'=1+1"), ("a\t@x", "a\t'@x"), ("a; +1", "a; '+1")])
def test_no_formula_begins_where_another_country_parts_cells(text, written):
    assert safe_csv(pd.DataFrame({text: [text]})) == f"{written}\n{written}\n"
