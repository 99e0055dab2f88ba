"""Choices, questions and what was found about columns; typed files."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from read_tables import PLAIN, codes, parquet

from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import TableError
from tabtune_core.files.plain_values import restored


@pytest.mark.parametrize("seed", range(5))
def test_dropping_copies_keeps_the_first_of_equal_rows_in_place(seed):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": draw.integers(3, size=60), "b": draw.choice(["x", "y", None], 60), "c": draw.integers(2, size=60) / 2}
    )
    whole = read_table(frame.to_csv(index=False).encode())
    once = read_table(frame.to_csv(index=False).encode(), ReadingChoices(drop_copies=True))
    pd.testing.assert_frame_equal(once.frame, whole.frame.drop_duplicates(ignore_index=True))
    assert {"duplicate-rows"} & codes(whole) and codes(once) & {"duplicate-rows", "left-out"} == {"left-out"}
    assert restored(ReadingChoices, asdict(once.reading)) == once.reading


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        (ReadingChoices(encoding="utf-9"), "Unknown encoding 'utf-9'"),
        (ReadingChoices(encoding="ascii"), "not valid ascii"),
        (ReadingChoices(delimiter=";;"), "one character"),
        (ReadingChoices(delimiter=";"), "one column when split at ';'"),
        (ReadingChoices(kinds=(("agee", "number"),)), "Did you mean 'age'"),
    ],
)
def test_a_choice_that_does_not_fit_the_file_is_refused(choices, said):
    with pytest.raises(TableError, match=said):
        read_table(PLAIN.encode(), choices)


def test_unusual_columns_are_reported():
    rows = 40
    half = [1.5, 2.5, np.nan, np.nan, np.nan] * 8
    odd = {"key": [f"K{row:03}" for row in range(rows)], "number": range(1, rows + 1), "same": 1}
    odd |= {"ticked": ["seen", None] * 20, "counted": [1, None] * 20, "half": half, "copy": half}
    usual = {"measure": np.random.default_rng(0).normal(size=rows), "Year": range(1980, 1980 + rows)}
    frame = pd.DataFrame({**odd, **usual})
    table = read_table(frame.to_csv(index=False).encode())
    expected = {("key", "id-like"), ("number", "id-like"), ("same", "constant"), ("ticked", "one-value")}
    expected |= {("counted", "one-value"), ("half", "many-missing"), ("copy", "many-missing")}
    found = {(finding.column, finding.code) for finding in table.findings}
    assert found == expected | {("copy", "duplicate-columns")}


def test_an_ignored_column_is_kept_and_not_reported_again():
    source = "\n".join(["key,copy,y", *(f"K{row},K{row},{row % 2}" for row in range(40))]).encode()
    assert codes(read_table(source)) == {"id-like", "duplicate-columns"}
    table = read_table(source, ReadingChoices(kinds=(("key", "ignored"), ("copy", "ignored"))))
    assert codes(table) == set()
    assert [column.kind for column in table.columns] == ["ignored", "ignored", "number"]
    assert table.frame["key"].tolist()[:2] == ["K0", "K1"]


def test_names_and_values_never_reach_the_database_as_sql():
    name = 'x"); DROP TABLE cells; --'
    source = pd.DataFrame({name: ["' OR 1=1 --", "b", "c"], "y": [1, 2, 3]}).to_csv(index=False).encode()
    choices = ReadingChoices(missing_marks=("'); DROP TABLE cells; --",), kinds=((name, "category"),))
    table = read_table(source, choices)
    assert table.frame[name].tolist() == ["' OR 1=1 --", "b", "c"]


def test_the_recorded_choices_read_the_same_table_again_without_questions():
    source = PLAIN.replace(",", ";").encode("latin-1")
    first = read_table(source)
    again = read_table(source, first.reading)
    pd.testing.assert_frame_equal(again.frame, first.frame)
    assert (first.reading.encoding, first.reading.delimiter, first.reading.header) == ("cp1252", ";", True)
    assert again.questions == ()


def test_parquet_keeps_its_values():
    frame = pd.DataFrame(
        {
            "x": [0.1, np.nan, np.inf, 1e-300],
            "big": [2**60, 2**60 + 1, 3, 4],
            "flag": [True, False, True, True],
            "when": [pd.Timestamp("2025-01-01"), pd.Timestamp("2025-01-02 03:04:05"), None, pd.Timestamp("2025-01-04")],
            "word": pd.Categorical(["a", "b", "a", None]),
        }
    )
    table = read_table(parquet(frame))
    assert [column.kind for column in table.columns] == ["number", "category", "boolean", "datetime", "category"]
    np.testing.assert_array_equal(table.frame["x"], [0.1, np.nan, np.nan, 1e-300])
    assert table.frame["big"].tolist()[:2] == [str(2**60), str(2**60 + 1)]
    assert table.frame["when"].tolist()[1] == pd.Timestamp("2025-01-02 03:04:05")


@pytest.mark.parametrize(("marks", "missing"), [((), 1), (("NA",), 1), (("na",), 1), (("Na",), 3), (("fe",), 2)])
def test_a_mark_that_is_also_a_name_is_matched_as_it_is_written(marks, missing):
    """Na is sodium, and NA means missing also if a person says so."""
    text = "element,y\n" + "".join(f"{name},{y}\n" for y, name in enumerate(["Na", "K", "NA", "Na", "Mg", "Fe"]))
    assert read_table(text.encode(), ReadingChoices(missing_marks=marks)).frame["element"].isna().sum() == missing
