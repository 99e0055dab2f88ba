"""Lines above a table: titles, other tables and further lines of names."""

import pandas as pd
import pytest
from read_tables import said

from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import TableError

ROWS = [f"k{row % 3},{row}.5,{row * 7 % 10}" for row in range(24)]
NAMES = ["who", "size", "days"]


def lines(*above: str, mark: str = ",", end: str = "\n", names: str = "who,size,days") -> bytes:
    return end.join([*above, *[names] * (names != ""), *ROWS]).replace(",", mark).encode()


@pytest.mark.parametrize(
    "above", ['"Report{}July 2017",,', ',,{}"Report{}by us{}July",,', '{}{}"Report, {}July 2017"', '5" pipes, 2017{}']
)
@pytest.mark.parametrize(("mark", "end"), [(",", "\n"), (";", "\r\n"), ("\t", "\n")])
def test_a_title_in_quotes_may_hold_line_breaks(above, mark, end):
    table = read_table(lines(above.replace("{}", end), mark=mark, end=end))
    assert ([*table.frame], len(table.frame), table.frame["size"].sum()) == (NAMES, 24, sum(range(24)) + 12)
    assert said(table, "title-lines")


@pytest.mark.parametrize("header", [False, None])
def test_a_title_in_quotes_may_stand_above_rows_without_names(header):
    above = '"Report\nJuly 2017",,' if header is None else '"Report\nJuly 2017"'
    table = read_table(lines(above, names=""), ReadingChoices(header=header))
    assert len(table.frame) == 24


SMALL = {
    "one row": ["latitude,longitude,elevation,zone,place", "52.52,13.41,38.0,GMT,Rome", ""],
    "as many columns": ["latitude,longitude,zone", "52.52,13.41,GMT", ""],
    "a line of separators": ["Security,SPX,", "Period,D,", ",,"],
    "two tables": ["a,b,c,d", "1,2,3,4", "", "e,f,g,h,i", "1,2,3,4,5", "6,7,8,9,1", ""],
    "a long line": [",".join(["EXTF", "700", "21", *"abcdefghijklmn"]), ""],
    "below a title": ["Station 7", "", "latitude,longitude", "52.52,13.41", "", "Hours"],
}


@pytest.mark.parametrize("above", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_small_table_above_does_not_name_the_columns(above, mark):
    table = read_table(lines(*above, mark=mark))
    assert ([*table.frame], len(table.frame)) == (NAMES, 24)
    assert [finding.severity for finding in table.findings if finding.code == "title-lines"] == ["info"]
    again = read_table(lines(*above, mark=mark), table.reading)  # as rows to predict are
    assert again.frame.equals(table.frame)


@pytest.mark.parametrize("width", [2, 4, 6])
def test_a_table_above_of_another_width_is_told(width):
    above = [
        "Body",
        ",".join("abcdef"[:width]),
        *(",".join([f"2024-01-{row + 10}", *"70123"[: width - 1]]) for row in range(12)),
    ]
    read = read_table(lines(*above, "", "Steps"))
    assert ([*read.frame], len(read.frame)) == (NAMES, 24)
    assert (
        "They hold another table, of 12 rows: to read that one, save it as a file of its own."
        in said(read, "table-above")[0]
    )
    with pytest.raises(TableError, match="no row may be missing"):
        read_new_rows(lines(*above, "", "Steps"), ReadAs(read.reading, {"size": "number"}, ["size"], "days"))


@pytest.mark.parametrize("rows", [3, 10])
def test_a_repeated_header_below_a_blank_line_hides_no_row(rows):
    above = [",".join(NAMES), *(f"k,{row},2" for row in range(rows)), ""]
    assert len(read_table(lines(*above)).frame) >= 24 + rows


@pytest.mark.parametrize("gap", [1, 5, 12])
@pytest.mark.parametrize("names", ["who,size,days", "size,days", ""])
@pytest.mark.parametrize("row", ["k{},{}.5,n/a", "k{},?,n/a", "{},{}.5,2"])
def test_blank_lines_between_rows_take_none_of_them(gap, names, row):
    rows = [row.format(number % 3, number) for number in range(24)]
    text = "\n".join(
        [names] * (names != "") + [""] * (gap == 1 and names != "") + rows[:gap] + [""] + rows[gap:] + [""]
    )
    read = read_table(text.encode(), ReadingChoices(header=names != ""))
    assert len(read.frame) == 24
    assert not said(read, "title-lines")


def test_the_title_of_a_table_of_two_columns_is_not_its_header():
    rows = [f"R{row},{row * 7 % 90}" for row in range(20)]
    assert [*read_table("\n".join(["Report 2024,", "Region,Sales", *rows]).encode()).frame] == ["Region", "Sales"]
    assert [*read_table("\n".join(["Region,", *rows]).encode(), ReadingChoices(header=True)).frame] == [
        "Region",
        "column_2",
    ]


@pytest.mark.parametrize("gaps", [0, 1, 2])
@pytest.mark.parametrize("gap", ["", ",,", " , ,"])
def test_rows_without_any_value_do_not_count_as_lines_of_names(gap, gaps):
    further = [*[gap] * gaps, "code,mph,sec", *[gap] * gaps, ",max,min"]
    table = read_table(lines(names="\n".join(["who,size,days", *further])), ReadingChoices(header_lines=3))
    assert ([*table.frame], len(table.frame)) == (["who code", "size mph max", "days sec min"], 24)
    if gaps < 2:
        asked = read_table(lines(names="\n".join(["who,size,days", *[gap] * gaps, "code,mph,sec"])))
        assert [question.options for question in asked.questions if question.code in ("header-lines", "units-row")] == [
            ("mph", "sec")
        ]


SECOND = {
    "parts of questions": (["id,day,Which apply?,,,Age", ",,Phone,Tablet,Other,Open"], "{0},2024-05-{1},x,,z,{0}"),
    "names below years": (
        [",,2022,2023,2024,2025", "Region,Kind,Sales,Sales,Sales,Sales"],
        "r{2},k{2},{0},{0}.5,7,{1}",
    ),
    "in a currency": ([",,2022,2023,2024,2025", "Region,Kind,Sales,Sales,Sales,Sales"], "r{2},k{2},${0},${1},$7.5,"),
}


@pytest.mark.parametrize(("names", "row"), SECOND.values(), ids=SECOND)
@pytest.mark.parametrize("rows", [15, 120])
def test_a_second_line_with_the_names_that_the_first_lacks_is_asked_about(names, row, rows):
    body = [row.format(number + 1, number % 20 + 10, number % 3) for number in range(rows)]
    asked = read_table("\n".join([*names, *body]).encode())
    assert [
        question.options for question in asked.questions if question.field in ("header_lines", "missing_marks")
    ] == [("1", "2")]
    answered = read_table("\n".join([*names, *body]).encode(), ReadingChoices(header_lines=2))
    joined = [" ".join(filter(None, pair)) for pair in zip(*(line.split(",") for line in names), strict=True)]
    assert ([*answered.frame], len(answered.frame)) == (joined, rows)


@pytest.mark.parametrize("names", ["a,b,,", "a,,c,"])
@pytest.mark.parametrize("first", ["1,2,x,y", ",2,x,y", "1,2,x,"])
def test_a_first_row_below_empty_names_is_not_taken_for_names(names, first):
    table = read_table("\n".join([names, first, *(f"{row},{row % 7},{'pq'[row % 2]},r" for row in range(30))]).encode())
    assert not said(table, "header-lines")


@pytest.mark.parametrize("above", ["# USGS\n# 2020\n", ""])
@pytest.mark.parametrize("fields", ["5s\t14n\t10d", "15s\t3n\t6n"])
def test_the_widths_that_the_usgs_tells_below_the_names_are_left_out(above, fields):
    rows = "".join(f"k{row % 3}\t{row}.5\t{row}\n" for row in range(20))
    told, plain = (read_table(f"{above}site\tflow\tday\n{line}{rows}".encode()) for line in (f"{fields}\n", ""))
    pd.testing.assert_frame_equal(told.frame, plain.frame)
    line = above.count("\n") + 2
    assert said(told, "drawn-lines") == [
        f"Telling the width of each column ({fields[: fields.index(chr(9))]!r}, ...), and left out: Line {line}."
    ]
    again = read_table(f"{above}site\tflow\tday\n{fields}\n{rows}".encode(), told.reading)
    pd.testing.assert_frame_equal(again.frame, told.frame)


def test_durations_in_a_table_are_not_widths():
    rows = "".join(f"{row % 9}s\t{row * 7 % 60}s\n" for row in range(20))
    assert len(read_table(f"lap\tpause\n{rows}".encode()).frame) == 20
