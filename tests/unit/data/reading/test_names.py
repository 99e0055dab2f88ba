"""The names of columns: which lines hold them, and that they are unique and can be shown."""

import pytest
from read_tables import PLAIN

from tabtune_core.data.reading.cells import tidy_names
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import TableError


def test_a_missing_header_is_detected_replaced_and_asked_about():
    table = read_table(b"M,0.4,15\nF,0.5,7\nI,0.6,9\n")
    assert table.frame.columns.tolist() == ["column_1", "column_2", "column_3"]
    assert len(table.frame) == 3
    assert [(question.field, question.options) for question in table.questions] == [("header", ("false", "true"))]
    assert table.reading.header is False


@pytest.mark.parametrize(("mark", "place"), [("", 0), ("?", 1), ("-", 2), ("n/a", 0), ("NaN", 2)])
def test_a_missing_number_in_the_first_line_is_no_name(mark, place):
    lines = [[f"{row}", f"{row * row % 7}", f"{row / 8}", "ab"[row % 2]] for row in range(1, 60)]
    lines[0][place] = mark
    rows = "".join(f"{','.join(line)}\n" for line in lines)
    assert [question.field for question in read_table(rows.encode()).questions] == ["header"]
    assert read_table(f"n,m,share,kind\n{rows}".encode()).frame.columns.tolist() == ["n", "m", "share", "kind"]


def test_a_header_in_a_table_of_words_is_asked_about_and_the_answer_is_used():
    source = b"bob,paris\nanna,rome\nzoe,rome\n"
    assert [question.field for question in read_table(source).questions] == ["header"]
    answered = read_table(source, ReadingChoices(header=False))
    assert answered.questions == ()
    assert answered.frame.iloc[0].tolist() == ["bob", "paris"]


def test_a_header_of_years_is_a_header():
    assert [*read_table(b"country,2000,2001,2002\nx,3,4,5\ny,5,6,7\n").frame] == ["country", "2000", "2001", "2002"]
    bank = (
        b'"Source","Indicators",\n\n"Name","Code","Indicator",'
        + b",".join(b'"%d"' % year for year in range(1990, 1996))
        + b",\n"
    )
    table = read_table(
        bank + b"".join(b'"Land, %d","L%d","GDP","3.5","","..","4","5","%d",\n' % (row, row, row) for row in range(30))
    )
    assert table.frame.columns.tolist() == ["Name", "Code", "Indicator", *map(str, range(1990, 1996))]
    assert read_table(b"land,1990,1995,1996,2000,2010\nx,3,4,5,1,2\ny,5,6,7,3,2\n").frame.columns[0] == "land"


def test_a_header_that_begins_with_a_hash_is_no_comment():
    table = read_table(b"#,Name,HP\n1,Bulbasaur,45\n2,Ivysaur,60\n3,Venusaur,80\n")
    assert ([*table.frame], len(table.frame)) == (["#", "Name", "HP"], 3)


def test_names_become_unique_and_not_empty():
    table = read_table(b"a,a,,a_2,a\n1,2,3,4,5\n6,7,8,9,0\n")
    assert table.frame.columns.tolist() == ["a", "a_3", "column_3", "a_2", "a_4"]
    told = {finding.column: finding.code for finding in table.findings}
    assert told == {"a_3": "names", "column_3": "names", "a_4": "names"}


def test_names_that_look_the_same_become_unique_and_lose_control_characters():
    table = read_table("age,age\u200b,\u202eage,a\x9b2Jb,y\n1,2,3,4,5\n6,7,8,9,0\n".encode())
    assert table.frame.columns.tolist() == ["age", "age_2", "age_3", "a 2Jb", "y"]
    assert {finding.column for finding in table.findings if finding.code == "names"} == {"age_2", "age_3"}


def test_an_unknown_encoding_is_refused_in_one_line_even_with_a_long_name():
    with pytest.raises(TableError, match="^Unknown encoding 'x{59}…'. Known ones: utf-8") as refused:
        read_table(PLAIN.encode(), ReadingChoices(encoding="x" * 100_000))
    assert len(str(refused.value)) < 200


def test_a_header_whose_index_has_no_name_is_found():
    body = ["Ann,3.5,", "Bob,2.5,", "Cy,,"]
    table = read_table(
        "\n".join(['"","First","SMITH","LEE"', *(f'"{row}",{cells}' for row, cells in enumerate(body * 4, 1))]).encode()
    )
    assert [*table.frame] == ["column_1", "First", "SMITH", "LEE"] and len(table.frame) == 12


def test_thousands_of_columns_with_one_name_become_unique_quickly():
    names, findings = tidy_names(("a",) * 5000, named=True)
    assert (names[0], names[-1], len(set(names)), len(findings)) == ("a", "a_5000", 5000, 4999)
