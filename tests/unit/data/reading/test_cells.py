"""The cells of a column: numbers, dates, words and missing cells as people write them."""

from dataclasses import asdict

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some
from read_tables import codes, one_column, said

from tabtune_core.data.datasets import SAMPLES, sample_csv
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.files.plain_values import restored


def test_sodium_is_not_a_missing_value():
    table = read_table(("element,n\n" + "Na,1\nK,2\nNA,3\nna,4\n" * 9).encode())
    assert [word for word in table.frame["element"].dropna().unique()] == ["Na", "K"]


@pytest.mark.parametrize(("word", "is_missing"), [("Nan", False), ("Null", False), ("NaN", True), ("NULL", True)])
def test_a_name_that_looks_like_a_mark_is_kept_and_asked_about(word, is_missing):
    table = one_column([word, "Phrae", "Trang"] * 9)
    assert table.columns[0].missing == 9 * is_missing
    assert ((word,) in [question.options for question in table.questions]) == (not is_missing)


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        ([f"{row:05}" for row in range(0, 90_000, 1000)] + ["abroad"], "text", {"kept-as-text", "id-like"}),
        (["yes", "no", "yes"], "boolean", set()),
        (["True", "False", ""], "boolean", set()),
        (["0", "1", "1"], "number", set()),
        ([f"a long story number {place}" for place in range(30)], "text", {"free-text"}),
        ([f"order-{place}" for place in range(30)], "text", {"id-like"}),
        (["2025-01-31", "2025-02-01", ""], "date", {"date"}),
        (["31.01.2025", "01.02.2025", ""], "date", {"date"}),
        (["01/31/2025 10:30", "02/01/2025 11:00", ""], "datetime", {"date"}),
        (["31/01/25", "01/02/25", ""], "date", {"date"}),
        (["5 Jan 2025", "6 Feb 2025", ""], "date", {"date"}),
        (["2024", "2025", "2026"], "number", set()),
        (["", "NA", "?"], "category", {"all-missing"}),
    ],
)
def test_each_kind_is_recognised_and_no_value_is_lost(cells, kind, found):
    table = one_column(cells)
    assert table.columns[0].kind == kind
    assert codes(table) - {"duplicate-rows"} - ({"id-like"} - found) == found
    kept_as_words = kind in ("category", "text", "boolean") and found != {"all-missing"}
    assert not kept_as_words or table.frame["x"].dropna().tolist() == [cell for cell in cells if cell]


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(
    some.sampled_from(["-1", "-9", "-99", "-200", "-999", "9999", "-999.0", "unknown", "None"]),
    some.integers(3, 30),
    some.integers(5, 60),
    some.sampled_from([1, 10, 0.1]),
)
def test_a_code_for_missing_is_asked_about_once_for_all_columns_and_the_answer_is_used(code, coded, others, unit):
    regular = [f"w{i % 3}" if code.isalpha() else f"{(i % 20 + 40) * unit:.10g}" for i in range(others)]
    cells = [*regular, *[code] * coded]
    file = pd.DataFrame({"first": cells, "second": cells[::-1], "y": range(len(cells))}).to_csv(index=False).encode()
    asked = read_table(file)
    assert [(one.field, one.options) for one in asked.questions] == [("missing_marks", (code,))]
    assert [column.missing for column in asked.columns] == [0, 0, 0]
    answered = read_table(file, ReadingChoices(missing_marks=(code,)))
    assert [column.missing for column in answered.columns] == [coded, coded, 0]
    assert not answered.questions
    without = pd.DataFrame({"first": regular, "y": range(others)}).to_csv(index=False).encode()
    assert not read_table(without).questions


@pytest.mark.parametrize(
    ("regular", "coded"),
    [
        ([-10, -9, 3.5, 12], [-999]),
        ([1, 2, 3, 4, 5], [-98, -99]),
        ([0, 4, 8, 10], [77, 88, 99]),
        ([12, 14, 83], [997, 998, 999]),
        ([41_000, 52_500, 48_000], [-666_666_666]),
        ([1, 99, 50.5], [999.9]),
    ],
    ids=str,
)
def test_several_codes_and_those_of_programs_are_asked_about(regular, coded):
    (question,) = one_column([*regular * 9, *coded * 3]).questions
    assert question.field == "missing_marks"
    assert set(map(float, question.options)) == set(coded)


@pytest.mark.parametrize("name", SAMPLES)
def test_clean_tables_raise_no_question(name):
    table = read_table(sample_csv(name))
    assert not table.questions
    assert not codes(table) & {"date", "units", "missing_marks"}


@pytest.mark.parametrize(
    "cells",
    [
        [-1, 0, 1],
        [-1, 1, 2, 3],
        [-10, 0, 10, 20],
        [95, 97, 99],
        [0, 1, 9],
        [-20, -7, 3, 8],
        [-20, -10, 0, 5, 10, 30],
        [*range(-10, 11)],
    ],
    ids=str,
)
def test_numbers_near_the_others_are_not_codes_for_missing(cells):
    assert not one_column(cells * 9).questions


def test_points_are_not_asked_about_beside_sure_decimal_points_and_in_typed_files():
    assert read_table(b"people;share\n607;1\n1.652;2\n").questions
    assert not read_table(b"people;share\n607;0.5\n1.652;2\n").questions
    assert not read_table(b"far;share\n607 km.;1\n16 km.;2\n").questions, "a point of the unit"
    typed = b'{"people": 607, "kind": "a"}\n{"people": 1.652, "kind": "b"}'
    assert not read_table(typed).questions
    answered = read_table(b"people;kind\n607;a\n1.652;b\n", ReadingChoices(decimal_commas=(("people", True),)))
    assert answered.frame["people"].tolist() == [607, 1652]
    assert read_table(typed, answered.reading).frame["people"].tolist() == [607, 1.652], (
        "the table in another file, with typed numbers"
    )


MAY_MEAN_MISSING = "Unknown n.a. n/d (blank) [Null] <none> No_response – — / -- ... #REF! #DIV/0!"  # noqa: RUF001


@pytest.mark.parametrize("mark", MAY_MEAN_MISSING.replace("_", "\xa0").split(" "))
def test_marks_among_words_are_asked_about_and_the_answer_makes_them_missing(mark):
    mark = mark.replace("\xa0", " ")
    cells = [*["red", "green", "blue"] * 9, mark, mark]
    assert [asked.options for asked in one_column(cells).questions if asked.field == "missing_marks"] == [(mark,)]
    assert one_column(cells, ReadingChoices(missing_marks=(mark,))).columns[0].missing == 2


@pytest.mark.parametrize(
    "words",
    [
        "+ ++ - +-",
        "-- - 0 + ++",
        "none some",
        "A+ A B",
        "* ** *** n",
        "Naples Unknownland Nonesuch",
        "/a -b .c",
        "refused paid open",
    ],
)
def test_words_with_a_meaning_are_not_asked_about(words):
    assert "missing_marks" not in codes(one_column(words.split() * 9))


def test_words_that_differ_only_in_capitals_or_blanks_are_reported():
    cells = ["Yes", "yes", "yes", "no", "New  York", "New York", "caf\u00e9", "cafe\u0301", "other"] * 3
    (message,) = said(one_column(cells), "alike")
    assert "'yes' and 'Yes', 'New  York' and 'New York', 'cafe\u0301' and 'caf\u00e9'" in message
    assert not said(one_column(["yes", "no", "maybe", " yes"] * 3), "alike")


def test_a_dash_means_missing_unless_the_column_has_a_plus():
    table = read_table(b"a,rh,b\n" + b"1,+,-\n-,-,2\n3,,4\n" * 20)
    assert table.frame["rh"].iloc[:3].fillna("").tolist() == ["+", "-", ""]
    assert table.frame[["a", "b"]].isna().sum().tolist() == [20, 20]
    alone = read_table(b"a,rh,b\n1,-,-\n2,-,3\n", restored(ReadingChoices, asdict(table.reading))).frame
    assert (alone["rh"].tolist(), alone["b"].isna().tolist()) == (["-", "-"], [True, False])
