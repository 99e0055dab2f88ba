"""Any usual layout of lines, quotes, names and packed files becomes the intended table, or an error that says what to do."""

import csv
import gzip
import io

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some
from read_tables import EXPECTED, PLAIN, codes, parquet, said, zipped

from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import TableError

SAME_TABLE = {
    "plain": (PLAIN.encode(), set()),
    "byte order mark": (PLAIN.encode("utf-8-sig"), set()),
    "latin-1": (PLAIN.encode("latin-1"), {"encoding"}),
    "utf-16 little-endian": (b"\xff\xfe" + PLAIN.encode("utf-16-le"), set()),
    "utf-16 big-endian": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), set()),
    "utf-16-le without a mark": (PLAIN.encode("utf-16-le"), set()),
    "utf-16-be without a mark": (PLAIN.encode("utf-16-be"), set()),
    "windows line ends": (PLAIN.replace("\n", "\r\n").encode(), set()),
    "old mac line ends": (PLAIN.replace("\n", "\r").encode(), set()),
    "no last line end": (PLAIN.strip().encode(), set()),
    "semicolons": (PLAIN.replace(",", ";").encode(), {"separator"}),
    "tabs": (PLAIN.replace(",", "\t").encode(), {"separator"}),
    "pipes": (PLAIN.replace(",", "|").encode(), {"separator"}),
    "decimal comma": (PLAIN.replace(",", ";").replace(".", ",").encode(), {"separator", "number-format"}),
    "blanks around cells": (PLAIN.replace(",", " , ").encode(), set()),
    "trailing separators": (PLAIN.replace("\n", ",\n").encode(), set()),
    "trailing separators below the header": (("age,city,y\n" + PLAIN[11:].replace("\n", ",\n")).encode(), set()),
    "title lines": (("Export of 1 May\n\n" + PLAIN).encode(), {"left-out"}),
    "several separators below the header": (("age,city,y\n" + PLAIN[11:].replace("\n", ",,,,\n")).encode(), set()),
    "title lines padded with separators": (("Export,,\n,,\n" + PLAIN).encode(), {"left-out"}),
    "a separator line of Excel": (("sep=;\n" + PLAIN.replace(",", ";")).encode(), {"left-out", "separator"}),
    "the end-of-file mark of DOS": ((PLAIN + "\x1a").encode(), set()),
    "blank lines": (PLAIN.replace("\n", "\n\n  \n").encode(), set()),
    "blank rows": ((PLAIN + ",,\n").encode(), {"left-out"}),
    "gzip": (gzip.compress(PLAIN.encode()), set()),
    "zip": (zipped(table__csv=PLAIN), set()),
    "zip of a folder": (zipped(**{"./folder/table__csv": PLAIN, "folder/__DS_Store": "x"}), set()),
    "parquet": (parquet(pd.DataFrame(EXPECTED, columns=["age", "city", "y"])), set()),
}


@pytest.mark.parametrize(("source", "found"), SAME_TABLE.values(), ids=SAME_TABLE)
def test_the_same_table_in_many_encodings_and_layouts_reads_the_same(source, found):
    table = read_table(source)
    assert table.frame.columns.tolist() == ["age", "city", "y"]
    assert table.frame.to_numpy(dtype=object).tolist() == EXPECTED
    assert [column.kind for column in table.columns] == ["number", "category", "number"]
    assert codes(table) == found


@pytest.mark.parametrize(
    "source",
    [PLAIN.encode() * 9, gzip.compress(PLAIN.encode() * 9), zipped(a__csv=PLAIN * 9)],
    ids=["plain", "gzip", "zip"],
)
def test_a_file_over_the_limit_is_refused_packed_or_not(source):
    with pytest.raises(TableError, match="300"):
        read_table(source, limit_bytes=300)


def test_a_quote_first_seen_late_is_still_a_quote():
    table = read_table(b"a,b\n" + b"1,x\n" * 30_000 + b'2,"y,z"\n')
    assert table.frame["b"].iloc[-1] == "y,z"
    assert codes(table) == {"duplicate-rows"}


def test_lines_that_do_not_fit_are_named_by_their_number():
    table = read_table(b'a,b,c\n1,2,"x\ny"\n4,5\n6,7,8,9\n1,2,3\n1,2,4\n')
    assert "Line 4 had too few cells" in said(table, "short-lines")[0]
    assert "Line 5 had too many cells" in said(table, "ragged-lines")[0]
    assert len(table.frame) == 4
    assert table.frame["c"].isna().sum() == 1


def test_a_file_where_most_lines_do_not_fit_is_refused():
    with pytest.raises(TableError, match="most frequent number of cells"):
        read_table(b"a,b\n" + b"".join(b"1,2" + b",3" * n + b"\n" for n in range(1, 30)), ReadingChoices(delimiter=","))


@pytest.mark.parametrize(
    ("decimals", "whole", "mark", "header"),
    [
        *((decimals, whole, ";", False) for decimals, whole in ((1, 1), (2, 1), (3, 0))),
        *((4, 1, mark, True) for mark in "\t| "),
        *((2, 2, ";", True), (1, 1, " ", True), (3, 0, "|", True), (2, 1, "\t", True)),
    ],
)
def test_decimal_commas_do_not_separate_cells(decimals, whole, mark, header):
    lines = [mark.join([f"-{r},{r + place}5" for place in range(decimals)] + [str(r % 2)] * whole) for r in range(40)]
    names = [f"name{place}" for place in range(decimals + whole)]
    table = read_table("\n".join([mark.join(names)] * header + lines).encode())
    assert [column.kind for column in table.columns[:decimals]] == ["number"] * decimals
    assert table.frame.iloc[-1, 0] == -39.395
    assert not header or (list(table.frame), len(table.frame)) == (names, 40)


def without_names(target: str) -> ReadAs:
    """A table of three columns of numbers without a header, such as "11.7,16.8,7.1", and what an adapter predicts in
    it.
    """
    table = read_table("".join(f"{row}.7,{row * 3}.8,{row % 7}.1\n" for row in range(30)).encode())
    kinds = {column.name: column.kind for column in table.columns}
    assert list(kinds.items()) == [("column_1", "number"), ("column_2", "number"), ("column_3", "number")]
    return ReadAs(table.reading, kinds, [name for name in kinds if name != target], target)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("11.7,16.8,7.1\n", [[11.7, 16.8, 7.1]]),
        ("11.7,16.8\n1,2\n", [[11.7, 16.8], [1, 2]]),
        ("11.7,16.8,7.1,,\n", [[11.7, 16.8, 7.1]]),
        ("11,7;16,8;7,1\n", [[11.7, 16.8, 7.1]]),
        ("11,7;16,8\n1,5;2,5\n", [[11.7, 16.8], [1.5, 2.5]]),
        ("11\t16,5\t7\n", [[11, 16.5, 7]]),
        ("column_1,column_2,column_3\n11.7,16.8,7.1\n", [[11.7, 16.8, 7.1]]),
        ("column_2;column_1;more\n16,8;11,7;5\n", [[11.7, 16.8]]),
        ('{"column_2": 16.8, "column_1": 11.7, "more": 3, "most": 4}', [[11.7, 16.8]]),
    ],
)
def test_rows_of_a_table_without_a_header_are_read_by_place_or_by_its_own_names(rows, expected):
    read = read_new_rows(rows.encode(), without_names("column_3")).frame
    known = [name for name in ("column_1", "column_2", "column_3") if name in read]
    assert read[known].to_numpy()[:, : len(expected[0])].tolist() == expected
    assert len(known) == len(expected[0])


@pytest.mark.parametrize(
    ("letters", "message"),
    [(500_000, "The file has one column: 'xxx"), (18_000_000, "longer than 16 million letters")],
    ids=["long", "endless"],
)
def test_an_endless_line_is_refused_at_once(letters, message):
    with pytest.raises(TableError, match=message):
        read_table(b"x" * letters + b",b\n1,2\n3,4\n")


REFUSED = {
    "no bytes": (b"", "empty"),
    "only blanks": (b" \n\n \n", "only blank space"),
    "only a header": (b"a,b,c\n", "no rows"),
    "one row": (b"a,b\n1,2\n", "one row"),
    "one column": (b"a\n1\n2\n3\n", "one column"),
    "a quote that stays open": (b'a,b\n1,2\n"3,4\n5,6\n', "never closed"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture, not a table of text. Save it as CSV"),
    "web page": (b"\n<!DOCTYPE html><html>", "a web page"),
    "SQLite": (b"SQLite format 3\x00" + bytes(99), "binary"),
    "other binary": (bytes(range(256)) * 20, "binary"),
    "zip of two": (zipped(a__csv=PLAIN, b__csv=PLAIN), "2 files .a.csv, b.csv."),
    "damaged gzip": (gzip.compress(PLAIN.encode())[:-12], "damaged"),
    "damaged parquet": (b"PAR1" + bytes(50), "Parquet"),
}


@pytest.mark.parametrize(("source", "message"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_not_a_table_is_refused_with_the_reason(source, message):
    with pytest.raises(TableError, match=message) as caught:
        read_table(source)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


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


HEADER = ["first name", "second name", "third name"]
SEPARATORS = [",", ";", "\t", "|"]
LETTERS = some.text(some.sampled_from([*'abcÄéß ".', "\n"]), max_size=8)


def line_of(cells, separator, quoting):
    out = io.StringIO()
    csv.writer(out, delimiter=separator, quoting=quoting, lineterminator="\n").writerow(cells)
    return out.getvalue()[:-1]


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    rows=some.lists(
        some.tuples(LETTERS.map("k{}k".format), some.integers(-1_000_000, 1_000_000), LETTERS.map("k{}k".format)),
        min_size=4,
        max_size=25,
    ),
    separator=some.sampled_from(SEPARATORS),
    quoting=some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=some.sampled_from(["\n", "\r\n", "\r"]),
    encoding=some.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    above=some.sampled_from(["", "\n", "Export of May\n\n"]),
)
def test_the_layout_is_detected(rows, separator, quoting, line_end, encoding, above):
    text = above + "\n".join(line_of(cells, separator, quoting) for cells in [HEADER, *rows])
    frame = read_table(text.replace("\n", line_end).encode(encoding)).frame
    assert frame.columns.tolist() == HEADER
    assert frame.to_numpy(dtype=object).tolist() == [list(cells) for cells in rows]
