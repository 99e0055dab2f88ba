"""Lines above a table: titles, other tables and further lines of names."""

import pytest
from read_tables import said

from tabtune_core.data.table import read_table

ROWS = [f"k{row % 3},{row}.5,{row * 7 % 10}" for row in range(24)]
NAMES = ["who", "size", "days"]


def lines(*above: str, mark: str = ",", end: str = "\n", names: str = "who,size,days") -> bytes:
    return end.join([*above, *[names] * (names != ""), *ROWS]).replace(",", mark).encode()


@pytest.mark.parametrize(
    ("above", "mark", "end"),
    [
        ('"Report{}July 2017",,', ",", "\n"),
        (',,{}"Report{}by us{}July",,', ";", "\r\n"),
        ('{}{}"Report, {}July 2017"', "\t", "\n"),
        ('5" pipes, 2017{}', ",", "\r\n"),
    ],
)
def test_a_title_in_quotes_may_hold_line_breaks(above, mark, end):
    table = read_table(lines(above.replace("{}", end), mark=mark, end=end))
    assert ([*table.frame], len(table.frame), table.frame["size"].sum()) == (NAMES, 24, sum(range(24)) + 12)
    assert said(table, "left-out")


@pytest.mark.parametrize("rows", [3, 10])
def test_a_repeated_header_below_a_blank_line_hides_no_row(rows):
    above = [",".join(NAMES), *(f"k,{row},2" for row in range(rows)), ""]
    assert len(read_table(lines(*above)).frame) >= 24 + rows


@pytest.mark.parametrize(
    ("names", "first"), [("a,b,,", "1,2,x,y"), ("a,,c,", ",2,x,y"), ("a,b,,", "1,2,x,"), ("a,,c,", "1,2,x,")]
)
def test_a_first_row_below_empty_names_is_not_taken_for_names(names, first):
    table = read_table("\n".join([names, first, *(f"{row},{row % 7},{'pq'[row % 2]},r" for row in range(30))]).encode())
    assert not said(table, "header-lines")
