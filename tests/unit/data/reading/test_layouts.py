"""Encodings, separators, comments, quotes and packed files: each becomes the intended table, or an error that says what
to do.
"""

import gzip
import io
import zipfile

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from read_tables import EXPECTED, PLAIN, codes, parquet, said, zipped
from tabtune_core.data.reading.dialect import separates
from tabtune_core.data.reading.misfits import Dialect

from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import read_new_rows
from tabtune_core.data.reading.cells import load_text
from tabtune_core.data.reading.progress import Job, untold
from tabtune_core.data.reading.sql import connect, counts
from tabtune_core.data.table import ReadingChoices, read_table
from tabtune_core.errors import TableError

SAME_TABLE = {
    "plain": (PLAIN.encode(), set()),
    "byte order mark": (PLAIN.encode("utf-8-sig"), {"bom"}),
    "latin-1": (PLAIN.encode("latin-1"), {"latin-1"}),
    "utf-16 little-endian": (b"\xff\xfe" + PLAIN.encode("utf-16-le"), {"utf-16"}),
    "utf-16 big-endian": (b"\xfe\xff" + PLAIN.encode("utf-16-be"), {"utf-16"}),
    "utf-16-le without a mark": (PLAIN.encode("utf-16-le"), {"utf-16"}),
    "utf-16-be without a mark": (PLAIN.encode("utf-16-be"), {"utf-16"}),
    "utf-32": (PLAIN.encode("utf-32"), {"utf-32"}),
    "windows line ends": (PLAIN.replace("\n", "\r\n").encode(), set()),
    "old mac line ends": (PLAIN.replace("\n", "\r").encode(), set()),
    "no last line end": (PLAIN.strip().encode(), set()),
    "semicolons": (PLAIN.replace(",", ";").encode(), {"separator"}),
    "tabs": (PLAIN.replace(",", "\t").encode(), {"separator"}),
    "pipes": (PLAIN.replace(",", "|").encode(), {"separator"}),
    "decimal comma": (PLAIN.replace(",", ";").replace(".", ",").encode(), {"separator", "decimal-comma"}),
    "blanks around cells": (PLAIN.replace(",", " , ").encode(), set()),
    "trailing separators": (PLAIN.replace("\n", ",\n").encode(), {"trailing-separator"}),
    "trailing separators below the header": (
        ("age,city,y\n" + PLAIN[11:].replace("\n", ",\n")).encode(),
        {"trailing-separator"},
    ),
    "title lines": (("Export of 1 May\n\n" + PLAIN).encode(), {"title-lines"}),
    "several separators below the header": (
        ("age,city,y\n" + PLAIN[11:].replace("\n", ",,,,\n")).encode(),
        {"trailing-separator"},
    ),
    "title lines padded with separators": (("Export,,\n,,\n" + PLAIN).encode(), {"title-lines"}),
    "a separator line of Excel": (("sep=;\n" + PLAIN.replace(",", ";")).encode(), {"title-lines", "separator"}),
    "the end-of-file mark of DOS": ((PLAIN + "\x1a").encode(), set()),
    "blank lines": (PLAIN.replace("\n", "\n\n  \n").encode(), set()),
    "blank rows": ((PLAIN + ",,\n").encode(), {"blank-rows"}),
    "gzip": (gzip.compress(PLAIN.encode()), {"compressed"}),
    "zip": (zipped(table__csv=PLAIN), {"compressed"}),
    "zip of a folder": (zipped(**{"./folder/table__csv": PLAIN, "folder/__DS_Store": "x"}), {"compressed"}),
    "parquet": (parquet(pd.DataFrame(EXPECTED, columns=["age", "city", "y"])), set()),
}


@pytest.mark.parametrize(("source", "found"), SAME_TABLE.values(), ids=SAME_TABLE)
def test_the_same_table_in_many_encodings_and_layouts_reads_the_same(source, found):
    table = read_table(source)
    assert table.frame.columns.tolist() == ["age", "city", "y"]
    assert table.frame.to_numpy(dtype=object).tolist() == EXPECTED
    assert [column.kind for column in table.columns] == ["number", "category", "number"]
    assert codes(table) == found


REFUSED = {
    "no bytes": (b"", "empty"),
    "only blanks": (b" \n\n \n", "only blank space"),
    "only a byte order mark": (b"\xef\xbb\xbf", "only blank space"),
    "only a header": (b"a,b,c\n", "no rows"),
    "a header without a line end": (b"a,b", "no rows"),
    "parquet without rows": (parquet(pd.DataFrame({"a": [], "b": []})), "no rows"),
    "parquet without columns": (parquet(pd.DataFrame(index=range(3))), "no column"),
    "a quote that stays open in the names": (b'a,"b\n1,2\n3,4\n', "A quote opens in line 1 and is never closed"),
    "a quote that stays open in the first cell": (b'"a,b\n1,2\n3,4\n', "A quote opens in line 1 and is never closed"),
    "a quote that stays open after a row": (b'a,b\n1,2\n"3,4\n5,6\n', "A quote opens in line 3 and is never closed"),
    "a broken quote in the names": (
        b'a,"b"c,d\n1,2,3\n4,5,6\n',
        "The header line, 1, has too many cells or a broken quote",
    ),
    "one row": (b"a,b\n1,2\n", "one row"),
    "one column": (b"a\n1\n2\n3\n", "one column"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG picture"),
    "pdf": (b"%PDF-1.7\n", "PDF"),
    "pickle": (b"\x80\x04\x95" + bytes(20), "pickle"),
    "json": (b'[{"a": 1}]', "one column"),
    "json in many lines": (b'{\n  "a": [1, 2],\n  "b": [3, 4]\n}\n', "JSON"),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "table of a web page": (b'<table border="1">\n<tr><td>1</td></tr>', "Excel can save as .xlsx or CSV"),
    "ARFF": (b"% made by\n%\n\n@RELATION iris\n\n% of\n@attribute a real\n@data\n1,2\n", "a Weka file (ARFF)"),
    "Stata": (b"r\x02\x01\x00" + bytes(20), "Stata"),
    "R": (gzip.compress(b"RDX3\nX\n" + bytes(20)), "an R file"),
    "SPSS": (b"$FL2@(#) SPSS", "SPSS"),
    "SAS": (bytes(12) + b"\xc2\xea\x81\x60\xb3\x14", "SAS"),
    "other binary": (bytes(range(256)) * 20, "binary"),
    "zip of two": (zipped(a__csv=PLAIN, b__csv=PLAIN), "2 files (a.csv, b.csv)"),
    "zip of a picture": (zipped(a__csv="\x89PNG"), "binary|holds|one column"),
    "zip of a zip": (gzip.compress(zipped(a__csv=PLAIN)), "another archive"),
    "damaged zip": (zipped(a__csv=PLAIN)[:40], "damaged"),
    "damaged gzip": (gzip.compress(PLAIN.encode())[:-12], "damaged"),
    "damaged parquet": (b"PAR1" + bytes(50), "Parquet"),
    "an incomplete utf-16 character": (b"\xff\xfe" + PLAIN.encode("utf-16-le") + b"a", "not valid utf-16"),
}


@pytest.mark.parametrize(("source", "said"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_not_a_table_is_refused_with_the_reason(source, said):
    with pytest.raises(TableError, match=said.replace("(", r"\(").replace(")", r"\)")) as caught:
        read_table(source)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "name",
    [
        "<table>",
        "<table id",
        "<TableSize>",
        "@relation",
        "@relation of",
        "@relationship",
        "RDX2",
        "RDX30",
        "$FL2",
        "$FL3@",
        "%<table>",
    ],
)
def test_the_first_name_of_a_table_may_look_like_another_format(name):
    rows = "".join(f"<table {row}>,{row}\n" for row in range(9))
    assert [*read_table(f"{name},y\n{rows}".encode()).frame] == [name, "y"]


@pytest.mark.parametrize(
    "source",
    [PLAIN.encode() * 9, gzip.compress(PLAIN.encode() * 9), zipped(a__csv=PLAIN * 9)],
    ids=["plain", "gzip", "zip"],
)
def test_a_file_over_the_limit_is_refused_packed_or_not(source):
    with pytest.raises(TableError, match="300"):
        read_table(source, limit_bytes=300)


def test_quoted_line_ends_and_quotes_stay_in_their_cell():
    table = read_table(b'a,b\n"x\ny",1\n"say ""hi"", you",2\n')
    assert table.frame["a"].tolist() == ["x\ny", 'say "hi", you']


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


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        (["1", "#3", "5"], [1, 5]),
        (["#ff0000", "#404040", "red"], ["#ff0000", "#404040", "red"]),
        (["#1", "#2", "#3"], ["#1", "#2", "#3"]),
    ],
)
def test_a_hash_comments_out_a_row_only_if_other_rows_begin_with_numbers(first, kept):
    table = read_table(
        "".join(f"{cell}\n" for cell in ["what,n", *(f"{cell},{place}" for place, cell in enumerate(first))]).encode()
    )
    assert table.frame["what"].tolist() == kept
    assert bool(said(table, "comment-lines")) == (len(kept) < len(first))


def test_a_file_where_most_lines_do_not_fit_is_refused():
    with pytest.raises(TableError, match="most frequent number of cells"):
        read_table(
            b"a,b\n" + b"".join(b"1,2" + b",3" * width + b"\n" for width in range(1, 30)), ReadingChoices(delimiter=",")
        )


def test_a_quote_that_opens_after_a_hash_takes_no_lines():
    text = '# by "me\na,b,c\n' + "1,2,x\n" * 20 + '#1,"open,x\n' + ("4" * 1500 + ",5,y\n") * 120
    assert len(read_table(text.encode()).frame) == 140


@pytest.mark.parametrize("remark", ['# a "remark', '# an 8" pipe, and more, and more', '#"'])
def test_a_row_that_starts_with_a_hash_may_hold_line_breaks_in_quotes(remark):
    rows = [("#sale", row, "two\nlines" if row % 3 else "one", row / 8) for row in range(1, 40)]
    lines = [f'{tag},{number},"{text}",{share}' for tag, number, text, share in rows]
    table = read_table("\n".join(["tag,n,text,share", *lines[:20], remark, *lines[20:]]).encode())
    assert (len(table.frame), table.frame["share"].tolist()) == (39, [row / 8 for row in range(1, 40)])
    assert "comment-lines" in codes(table)


def test_a_table_of_words_has_its_header_marked_with_a_hash():
    rows = [
        f"{name},{colour},{size}"
        for name in ("foo", "bar", "baz")
        for colour in ("red", "blue")
        for size in ("big", "small")
    ]
    table = read_table("\n".join(["#name,colour,size", *rows]).encode())
    assert (list(table.frame), len(table.frame)) == (["name", "colour", "size"], len(rows))
    table = read_table("\n".join(["#made by a tool,v2,today", "name,colour,size", *rows]).encode())
    assert (list(table.frame), len(table.frame)) == (["name", "colour", "size"], len(rows))


@pytest.mark.parametrize("comment", ['# widths in,"', '#made by,"X', '# note,"unclosed', '#,"', '# a,"b",c,"d'])
def test_a_comment_with_a_quote_takes_no_rows(comment):
    rows = [
        f"{row},{row % 7}" + (',5" pipe' if row == 20 else ',"two\nlines"' if row == 9 else ",x") for row in range(30)
    ]
    table = read_table("\n".join([comment, "a,b,y", *rows]).encode())
    assert ([*table.frame], len(table.frame)) == (["a", "b", "y"], 30)


@pytest.mark.parametrize("broken", ["", "0", "1", "01", "12", "3", "0123"])
@pytest.mark.parametrize("above", ["", "# it's 8\" wide\n"])
def test_names_in_a_header_marked_with_a_hash_may_hold_line_breaks(broken, above):
    names = [f"Question {number},{' or' if str(number) in broken else ''} not?" for number in range(4)]
    header = ",".join(f'"{name}"'.replace(" or", "\nor") for name in names)
    rows = "".join(f"{row},{row % 7}.5,{row * row},{'ab'[row % 2]},x y\n" for row in range(60))
    table = read_table(f"{above}#,{header}\n{rows}".encode())
    assert ([*table.frame][1:], len(table.frame)) == (names, 60)


@pytest.mark.parametrize("title", ["Report:,Sales,,,,,,", "Report,,,,,,,"])
def test_a_title_with_separators_is_not_the_header_of_a_sparse_table(title):
    rows = [",".join(str(row) if place in (row % 8, 3, 7) else "" for place in range(8)) for row in range(40)]
    assert list(read_table("\n".join([title, "id,b,c,d,e,f,g,y", *rows]).encode()).frame) == ["id", *"bcdefgy"]


@settings(max_examples=30, deadline=None)
@given(some.integers(0, 59), some.integers(1, 6), some.integers(1, 9))
def test_a_note_beside_a_table_does_not_hide_its_header(line, beside, place):
    lines = ["age,dose,sold", *(f"{row},{row * 7 % 90},{'ny'[row % 2]}" for row in range(60))]
    wide = [line + "," * (beside + place) for line in lines]
    wide[line] = f"{lines[line]}{',' * beside}checked{',' * place}"
    frame = read_table("\n".join(wide).encode(), ReadingChoices(header=True)).frame
    assert (list(frame)[:3], len(frame)) == (["age", "dose", "sold"], 60)


@pytest.mark.parametrize(("decimals", "whole"), [(1, 1), (2, 1), (4, 1), (2, 2), (3, 0)])
@pytest.mark.parametrize(("mark", "header"), [(";", True), (";", False), ("\t", True), ("|", True), (" ", True)])
def test_decimal_commas_do_not_separate_cells(decimals, whole, mark, header):
    lines = [
        mark.join([f"-{row},{row + place}5" for place in range(decimals)] + [str(row % 2)] * whole) for row in range(40)
    ]
    names = [f"name{place}" for place in range(decimals + whole)]
    table = read_table("\n".join([mark.join(names)] * header + lines).encode())
    assert [column.kind for column in table.columns[:decimals]] == ["number"] * decimals
    assert table.frame.iloc[-1, 0] == -39.395
    assert not header or (list(table.frame), len(table.frame)) == (names, 40)


@settings(max_examples=30, deadline=None)
@given(
    some.randoms(use_true_random=False), some.integers(1, 3), some.booleans(), some.booleans(), some.sampled_from(".,")
)
def test_columns_aligned_with_blanks_are_read_as_with_commas(chance, gap, left, indented, point):
    rows = [
        (chance.choice(["Rom", '"New  York"']), str(row * 7), f"{chance.uniform(-9, 2_000):.2f}")
        for row in range(chance.randint(4, 40))
    ]
    table = [("town", "n", "price"), *((town, number, price.replace(".", point)) for town, number, price in rows)]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    sides = [str.ljust if left else str.rjust] * 3
    lines = [(" " * gap).join(pad(*cell) for pad, *cell in zip(sides, cells, widths, strict=True)) for cells in table]
    read = read_table("\n".join("  " * indented + line for line in lines).encode()).frame
    assert [tuple(row) for row in read.itertuples(index=False)] == [
        (town.strip('"'), float(n), float(price)) for town, n, price in rows
    ]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("rows", [3, 120])
@pytest.mark.parametrize("index", ["{}", "r{}"])
def test_a_printed_frame_has_no_name_for_its_index(left, rows, index):
    frame = pd.DataFrame(
        {"town": ["Rom", "Ulm"] * rows, "n": range(0, 14 * rows, 7), "price": [row / 4 for row in range(2 * rows)]}
    )
    lines = frame.set_axis([index.format(row) for row in range(2 * rows)]).to_string(
        justify="left" if left else "right"
    )
    read = read_table(lines.encode()).frame
    pd.testing.assert_frame_equal(read[["town", "n", "price"]], frame, check_dtype=False)
    assert next(iter(read)) == "row"


@pytest.mark.parametrize(
    "text",
    [
        "Flat 12,350\nFlat 14,420\nFlat 9,380\n",
        "name   x    y   z\na      1    2   3\nb           8   1\nc      4    5   6\n",
    ],
)
def test_blanks_that_may_be_part_of_a_cell_or_stand_for_one_do_not_move_numbers(text):
    table = read_table(text.encode(), fewest=1)
    assert 8 not in table.frame.get("x", pd.Series(dtype=float)).tolist()
    assert not {14_420, 12_350} & set(table.frame.iloc[:, -1].tolist())


RULED = {
    "SAP": ("----------", "|{:<4}|{:>5}|", "----------", ""),
    "psql": ("", " {:<3} | {:>5} ", "----+----", "(20 rows)"),
    "mysql": ("+----+----+", "| {:<3} | {:>5} |", "+----+----+", "20 rows in set (0.00 sec)"),
    "sqlcmd": ("", "{:<5} {:>5}", "----- -----", "(20 rows affected)"),
    "markdown": ("", "| {:<3} | {:>5} |", "|:---|---:|", ""),
}


@pytest.mark.parametrize(("above", "row", "rule", "below"), RULED.values(), ids=RULED)
@pytest.mark.parametrize("mark", ".,")
def test_lines_that_a_program_draws_are_no_rows(above, row, rule, below, mark):
    rows = [(f"k{number % 3}", number / 2) for number in range(20)]
    lines = [
        above,
        row.format("key", "size"),
        rule,
        *(row.format(key, f"{size}".replace(".", mark)) for key, size in rows),
        above,
        below,
    ]
    table = read_table("\n".join(lines).encode())
    assert list(table.frame) == ["key", "size"]
    assert [*table.frame.itertuples(index=False, name=None)] == rows


@pytest.mark.parametrize(
    "text",
    [
        "-----\na|b|c\n" + "|1|x\n|2|y\n" * 9,
        "a\tb\tc\n---\t---\t---\n" + "Ann\t1\tx\n" * 9,
        'a|b\n"see\n---|---\nmore"|1\n' + '"x"|2\n' * 9,
        "a,b\n" + "1,2\n" * 9 + "-----\n3,4\n",
    ],
)
def test_dashes_and_bars_that_may_be_cells_are_kept(text):
    with_rule, without = read_table(text.encode()), read_table(text.replace("---", "xyz").encode())
    pd.testing.assert_frame_equal(with_rule.frame.replace("---", "xyz", regex=True), without.frame)


@pytest.mark.parametrize("name", RULED)
def test_a_table_with_drawn_lines_reads_the_same_again_with_its_own_choices(name):
    above, row, rule, below = RULED[name]
    text = "\n".join(
        [above, row.format("key", "size"), rule, *(row.format(f"k{n % 3}", f"{n}.5") for n in range(20)), above, below]
    ).encode()
    table = read_table(text)
    pd.testing.assert_frame_equal(read_table(text, table.reading).frame, table.frame)
    assert "Drawn between rows, or counting them, and left out: Line" in said(table, "drawn-lines")[0]


@pytest.mark.parametrize("strict", [False, True])
def test_a_drawn_line_among_rows_to_predict_is_told_or_refused(strict):
    rows, drawn = "a|b\n0.1|1\n", "---|---\n0.5|25\n"
    like = ReadAs(ReadingChoices(delimiter="|", header=True), {"a": "number", "b": "number"}, ["a", "b"], "")
    if strict:
        with pytest.raises(
            TableError,
            match="Each line must be a row. Drawn between rows, or counting them, and left out: Line 3. Remove them.",
        ):
            read_new_rows((rows + drawn).encode(), like, strict=True)
    else:
        read = read_new_rows((rows + drawn).encode(), like)
        assert (len(read.frame), ["Line 3" in note for note in read.notes]) == (2, [True])


def test_blanks_in_words_do_not_separate_cells_of_a_table_without_a_header():
    like = ReadAs(
        ReadingChoices(delimiter="|", header=False),
        {"column_1": "category", "column_2": "category"},
        ["column_1"],
        "column_2",
    )
    with pytest.raises(TableError, match="cannot be read as rows"):
        read_new_rows("a\nÄ c\nÄ c\n".encode(), like)


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
        ('[{"column_2": 16.8, "column_1": 11.7, "more": 3, "most": 4}]', [[11.7, 16.8]]),
    ],
)
def test_rows_of_a_table_without_a_header_are_read_by_place_or_by_its_own_names(rows, expected):
    read = read_new_rows(rows.encode(), without_names("column_3")).frame
    known = [name for name in ("column_1", "column_2", "column_3") if name in read]
    assert read[known].to_numpy()[:, : len(expected[0])].tolist() == expected
    assert len(known) == len(expected[0])


@pytest.mark.parametrize(
    ("rows", "target", "said"),
    [
        ("1.5,2,3,4\n", "column_3", "The rows have 4 columns that do not fit the 3"),
        ("11,7;16,8;7,1;5\n", "column_3", "The rows have 4 columns that do not fit the 3"),
        ("1.5,2\n", "column_2", "The rows have 2 columns .* adapter's table, which has no header"),
        ("1,5;2,5\n", "column_2", "columns that do not fit the 3 .* Write all columns in their order, or their names"),
        (",column_1,column_2\n0,1.5,2\n", "column_3", "columns that do not fit the 3"),
        ("column_2,column_3\n1.5,2\n", "column_3", "The rows have 2 columns that do not fit the 3"),
        ('[{"column_2": 1}]', "column_3", "The rows lack 1 of the 2 columns"),
    ],
)
def test_rows_of_another_width_than_a_table_without_a_header_are_refused(rows, target, said):
    with pytest.raises(TableError, match=said):
        read_new_rows(rows.encode(), without_names(target))


@pytest.mark.parametrize("encoding", [None, "utf-8"])
def test_few_bytes_that_are_not_utf_8_do_not_spoil_the_other_letters(encoding):
    data = b"city,n\n" + "Łódź,1\n".encode() * 40 + "José,2\n".encode("latin-1")
    table = read_table(data, ReadingChoices(encoding=encoding))
    assert (table.reading.encoding, table.frame["city"].iloc[[0, -1]].tolist()) == ("utf-8", ["Łódź", "José"])
    assert "José" in said(table, "latin-1")[0]
    with pytest.raises(TableError, match="not valid utf-8"):
        read_table(data + "José,2\n".encode("latin-1") * 40, ReadingChoices(encoding="utf-8"))


@pytest.mark.parametrize("word", ["[{},]", "Doe, J. {}", "{}, {}, x"])
def test_words_with_commas_do_not_disturb_decimal_commas_and_semicolons(word):
    lines = [f"{word.format(row, row)};{row},5;{row + 1},25" for row in range(20)]
    table = read_table("\n".join(["who;a;b", *lines]).encode())
    assert [(column.name, column.kind) for column in table.columns[1:]] == [("a", "number"), ("b", "number")]
    assert table.frame.iloc[-1].tolist() == [word.format(19, 19), 19.5, 20.25]


@pytest.mark.parametrize(
    ("above", "below"), [("", "Source: us, 2024"), ("Cities, 2024\n\n", ""), ("Cities, of May\n", "Source: us, 2024")]
)
def test_notes_with_commas_do_not_disturb_decimal_commas_and_semicolons(above, below):
    lines = [f"town {row};{row}.000 €;{row},25" for row in range(20)]
    table = read_table("\n".join([f"{above}who;a;b", *lines, below]).encode())
    assert [(column.name, column.kind) for column in table.columns[1:]] == [("a", "number"), ("b", "number")]
    assert table.frame.iloc[19].tolist() == ["town 19", 19000, 19.25]


def with_odd_line(mark: str, names: str, row: str, *, place: int, more: int) -> str:
    """A table of 20 rows, one of which has a cell more, or less, than the others."""
    lines = [row.format(number, number) for number in range(20)]
    lines[place] = f"{lines[place]};x" if more > 0 else lines[place].rpartition(";")[0]
    return "\n".join([*[names] * (names != ""), *lines]).replace(";", mark)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize(
    "row", ["town {};{},25", "a;{};Doe, J. {}", "a;{};-{},5;2,75", "[{}, 1];7;{},5;y", "1,5;{},5;{}"]
)
def test_a_line_with_a_cell_too_many_or_too_few_does_not_hide_the_separator(mark, row):
    width = row.count(";") + 1
    for names in (";".join("abcd"[:width]), ";".join(["who, and where", *"bcd"][:width]), ""):
        for place, more in [(0, 1), (0, -1)] * (names != "") + [(7, 1), (7, -1), (19, 1), (19, -1)]:
            assert separates(with_odd_line(mark, names, row, place=place, more=more), mark, '"'), (names, place, more)


@pytest.mark.parametrize(("mark", "names"), [(";", "who;a;b"), ("\t", "who;a, in m;b"), ("|", "who;a;b")])
@pytest.mark.parametrize("more", [-1, 1])
def test_a_line_with_a_cell_too_many_or_too_few_leaves_the_others_apart(mark, names, more):
    text = with_odd_line(mark, names, "k{};{},25;x", place=7, more=more).encode()
    free, told = read_table(text), read_table(text, ReadingChoices(delimiter=mark))
    assert (free.reading.delimiter, len(free.frame)) == (mark, 20 - (more > 0))
    pd.testing.assert_frame_equal(free.frame, told.frame)


@pytest.mark.parametrize(
    ("names", "row"),
    [
        ("coord (lat;lon),t", "{0}.5;10.25,{0}"),
        ("id,lat;lon", "{0},48;2"),
        ("seg a|b,n", "1|{0},1"),
        ("a,b;c,d", "{0},1;2,3"),
    ],
)
def test_pairs_in_a_column_with_such_a_name_do_not_separate(names, row):
    table = read_table("\n".join([names, *map(row.format, range(12))]).encode())
    assert [*table.frame] == names.split(",")


@pytest.mark.parametrize("more", ["", "q;r,4,5\n"])
def test_a_table_of_lists_is_split_at_its_commas(more):
    table = read_table(f"a,b\nx;y,1\nz;w,2\nx;w,3\n{more}".encode())
    assert [column.name for column in table.columns] == ["a", "b"]


@pytest.mark.parametrize(("comma", "quote"), [(", ", ""), (", ", '"'), ("; ", '"')])
@pytest.mark.parametrize("number", ["{}.5", '"1,{}00"'])
def test_blanks_after_a_separator_are_not_part_of_a_cell(comma, quote, number):
    lines = [
        comma.join([f"{quote}k{row}{quote}", f'"Chair, {"red" if row % 2 else "blue"}"', number.format(row)])
        for row in range(20)
    ]
    table = read_table(
        "\n".join([comma.join(f"{quote}{name}{quote}" for name in ("id", "what", "price")), *lines]).encode()
    )
    assert ([*table.frame], len(table.frame)) == (["id", "what", "price"], 20)
    assert table.frame.iloc[[1, 2], 1].tolist() == ["Chair, red", "Chair, blue"]
    assert table.columns[2].kind == "number"
    assert not {"short-lines", "ragged-lines"} & codes(table)


def packed(kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("a.csv", b"a,b\n" + b"1,2\n" * 50)
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_broken_stream_in_a_zip_is_refused_for_every_compression(kind):
    data = packed(kind)
    data[47:57] = b"\xff" * 10
    with pytest.raises(TableError, match="damaged or unsupported archive"):
        read_table(bytes(data))


def test_a_quote_that_is_never_closed_is_reported_as_hiding_the_rest():
    lines = [f"{i},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(40)]
    lines[10] = '"' + lines[10]
    table = read_table("\n".join(["a,b,y", *lines]).encode())
    assert len(table.frame) == 10
    assert "A quote opens in line 12" in said(table, "open-quote")[0]
    lines[10] = '5"' + lines[10][1:]  # an inch sign within a cell is not an open quote
    table = read_table("\n".join(["a,b,y", *lines]).encode())
    assert len(table.frame) == 40
    assert "open-quote" not in codes(table)


def test_hundreds_of_columns_fit_into_the_memory_limit_of_reading(tmp_path):
    lines = [",".join(f"c{place}" for place in range(600)), *[",".join(["1", "na"] * 300)] * 20]
    (tmp_path / "wide.csv").write_text("\n".join(lines))
    with connect(tmp_path) as connection:
        dialect = Dialect(",", '"', '"', 0, 600, True, False)
        more = {"choices": ReadingChoices(), "limit_bytes": 10**9, "fewest": 2, "tell": untold}
        job = Job(connection=connection, folder=tmp_path, **more)
        cells = load_text(tmp_path / "wide.csv", dialect, job, sample=tmp_path / "sample.csv")
        assert (len(cells.names), cells.rows) == (600, 20)
        assert counts(connection, "count(c598)", "count(c599)") == (20, 0)


@pytest.mark.parametrize(
    ("letters", "message"),
    [(500_000, "The file has one column: 'xxx"), (18_000_000, "longer than 16 million letters")],
    ids=["long", "endless"],
)
def test_an_endless_line_is_refused_at_once(letters, message):
    with pytest.raises(TableError, match=message):
        read_table(b"x" * letters + b",b\n1,2\n3,4\n")


def test_lines_that_begin_with_a_tab_are_not_split_there():
    lines = "".join(f"\t143,Daegu,2015-01-{row % 28 + 1:02},{row / 2}\n" for row in range(60))
    table = read_table(f"\tstn,name,day,rain,\n{lines}".encode())
    assert [column.name for column in table.columns] == ["stn", "name", "day", "rain"]
    assert (table.frame["stn"].eq(143).all(), table.frame["rain"].sum()) == (True, sum(range(60)) / 2)
