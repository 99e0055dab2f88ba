"""Lines above a table: titles, other tables and further lines of names."""

import pytest
from read_tables import said

from tabtune_core.data.table import ReadingChoices, read_table

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
    assert said(table, "left-out")


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


@pytest.mark.parametrize("rows", [3, 10])
def test_a_repeated_header_below_a_blank_line_hides_no_row(rows):
    above = [",".join(NAMES), *(f"k,{row},2" for row in range(rows)), ""]
    assert len(read_table(lines(*above)).frame) >= 24 + rows


SECOND = {
    "parts of questions": (["id,day,Which apply?,,,Age", ",,Phone,Tablet,Other,Open"], "{0},2024-05-{1},x,,z,{0}"),
    "names below years": (
        [",,2022,2023,2024,2025", "Region,Kind,Sales,Sales,Sales,Sales"],
        "r{2},k{2},{0},{0}.5,7,{1}",
    ),
    "in a currency": ([",,2022,2023,2024,2025", "Region,Kind,Sales,Sales,Sales,Sales"], "r{2},k{2},${0},${1},$7.5,"),
}


@pytest.mark.parametrize("names", ["a,b,,", "a,,c,"])
@pytest.mark.parametrize("first", ["1,2,x,y", ",2,x,y", "1,2,x,"])
def test_a_first_row_below_empty_names_is_not_taken_for_names(names, first):
    table = read_table("\n".join([names, first, *(f"{row},{row % 7},{'pq'[row % 2]},r" for row in range(30))]).encode())
    assert not said(table, "header-lines")


def test_durations_in_a_table_are_not_widths():
    rows = "".join(f"{row % 9}s\t{row * 7 % 60}s\n" for row in range(20))
    assert len(read_table(f"lap\tpause\n{rows}".encode()).frame) == 20
