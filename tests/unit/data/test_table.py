"""Choices, questions and what was found about columns; typed files."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from read_tables import PLAIN, codes, one_column, parquet

from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import TableError


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
    assert ReadingChoices.from_json(once.reading.to_json()) == once.reading


def test_a_table_of_one_repeated_row_is_refused():
    with pytest.raises(TableError, match="copies of one"):
        read_table(b"a,b\n" + b"1,x\n" * 9, ReadingChoices(drop_copies=True))


def in_parquet(values) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2], "b": values, "c": [3, 4]}), file)
    return file.getvalue()


NOT_AS_TEXT = {
    "years of six digits": pa.array([10**16, 2 * 10**16], pa.timestamp("ms")),
    "invalid UTF-8": pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")
    ),
}


@pytest.mark.parametrize("values", NOT_AS_TEXT.values(), ids=NOT_AS_TEXT)
def test_parquet_with_values_that_have_no_text_is_refused(values):
    with pytest.raises(
        TableError, match="The Parquet file is damaged, or holds values that have no text. .*save it as CSV.$"
    ):
        read_table(in_parquet(values))


def test_half_precision_in_parquet_is_read():
    assert read_table(in_parquet(np.array([1.5, -2], np.float16))).frame["b"].tolist() == [1.5, -2]


@pytest.mark.parametrize(("choice", "month"), [(None, 4), (True, 4), (False, 3)])
def test_an_ambiguous_day_and_month_are_asked_about_and_the_answer_is_used(choice, month):
    table = one_column(["03/04/2025", "05/06/2025"], ReadingChoices(day_first=choice))
    assert table.frame["x"].dt.month.iloc[0] == month
    assert table.frame["x"].dt.year.iloc[0] == 2025
    assert ([question.field for question in table.questions] == ["day_first"]) == (choice is None)


@pytest.mark.parametrize(
    ("kind", "values"), [("number", [7.0, 8.0, np.nan]), ("category", ["007", "8", "x"]), ("text", ["007", "8", "x"])]
)
def test_a_chosen_kind_is_used(kind, values):
    table = one_column(["007", "8", "x"], ReadingChoices(kinds=(("x", kind),)))
    assert table.columns[0].kind == kind
    pd.testing.assert_series_equal(table.frame["x"], pd.Series(values, name="x"), check_dtype=False)


def test_a_chosen_encoding_is_used():
    source = "name,y\nŁódź,1\nŻary,2\n".encode("cp1250")
    assert read_table(source, ReadingChoices(encoding="cp1250")).frame["name"].tolist() == ["Łódź", "Żary"]
    (question,) = [question for question in read_table(source).questions if question.field == "encoding"]
    assert {"cp1250", "euc_jp", "cp1255"} <= set(question.options)


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
    frame = pd.DataFrame(
        {
            "key": [f"K{row:03}" for row in range(rows)],
            "number": range(1, rows + 1),
            "same": 1,
            "ticked": ["seen", None] * 20,
            "counted": [1, None] * 20,
            "half": [1.5, 2.5, np.nan, np.nan, np.nan] * 8,
            "copy": [1.5, 2.5, np.nan, np.nan, np.nan] * 8,
            "measure": np.random.default_rng(0).normal(size=rows),
            "Year": range(1980, 1980 + rows),
        }
    )
    table = read_table(frame.to_csv(index=False).encode())
    assert {(finding.column, finding.code) for finding in table.findings} == {
        ("key", "id-like"),
        ("number", "id-like"),
        ("same", "constant"),
        ("ticked", "one-value"),
        ("counted", "one-value"),
        ("half", "many-missing"),
        ("copy", "many-missing"),
        ("copy", "duplicate-columns"),
    }


def test_an_ignored_column_is_kept_and_not_reported_again():
    source = "\n".join(["key,copy,y", *(f"K{row},K{row},{row % 2}" for row in range(40))]).encode()
    assert codes(read_table(source)) == {"id-like", "duplicate-columns"}
    table = read_table(source, ReadingChoices(kinds=(("key", "ignored"), ("copy", "ignored"))))
    assert codes(table) == set()
    assert [column.kind for column in table.columns] == ["ignored", "ignored", "number"]
    assert table.frame["key"].tolist()[:2] == ["K0", "K1"]


def test_the_same_values_in_another_order_are_not_a_copy():
    assert codes(read_table(b"a,b\nx,y\ny,x\nx,x\ny,y\n")) == set()


def test_names_and_values_never_reach_the_database_as_sql():
    name = 'x"); DROP TABLE cells; --'
    source = pd.DataFrame({name: ["' OR 1=1 --", "b", "c"], "y": [1, 2, 3]}).to_csv(index=False).encode()
    choices = ReadingChoices(missing_marks=("'); DROP TABLE cells; --",), kinds=((name, "category"),))
    table = read_table(source, choices)
    assert table.frame[name].tolist() == ["' OR 1=1 --", "b", "c"]


def test_reading_leaves_the_source_and_its_folder_as_they_were(tmp_path):
    source = tmp_path / "t.csv"
    source.write_bytes(PLAIN.encode("latin-1"))
    read_table(source)
    assert source.read_bytes() == PLAIN.encode("latin-1")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


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


@pytest.mark.parametrize(
    "choices",
    [ReadingChoices(), ReadingChoices(encoding="cp1252", header=False, missing_marks=("x",), kinds=(("a", "text"),))],
)
def test_choices_survive_json(choices):
    assert ReadingChoices.from_json(choices.to_json()) == choices


@pytest.mark.parametrize(("marks", "missing"), [((), 1), (("NA",), 1), (("na",), 1), (("Na",), 3), (("fe",), 2)])
def test_a_mark_that_is_also_a_name_is_matched_as_it_is_written(marks, missing):
    """Na is sodium, and NA means missing also if a person says so."""
    text = "element,y\n" + "".join(f"{name},{y}\n" for y, name in enumerate(["Na", "K", "NA", "Na", "Mg", "Fe"]))
    assert read_table(text.encode(), ReadingChoices(missing_marks=marks)).frame["element"].isna().sum() == missing
