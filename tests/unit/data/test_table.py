"""Real-world files become the intended table, or an error that says what to do."""

import gzip
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as some

from tabtune_core.data.datasets import SAMPLES, sample_csv
from tabtune_core.data.findings import not_asked
from tabtune_core.data.reading.cells import load_text, tidy_names
from tabtune_core.data.reading.misfits import Dialect
from tabtune_core.data.reading.sql import connect, counts
from tabtune_core.data.table import ReadingChoices, Table, read_table
from tabtune_core.errors import LayoutError, TableError

PLAIN = "age,city,y\n31,Köln,1.5\n42,Rom,2.5\n53,Rom,-3\n"
EXPECTED = [[31.0, "Köln", 1.5], [42.0, "Rom", 2.5], [53.0, "Rom", -3.0]]


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "."), text)
    return buffer.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def codes(table) -> set[str]:
    return {finding.code for finding in table.findings}


def said(table: Table, code: str) -> list[str]:
    return [finding.message for finding in table.findings if finding.code == code]


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
    "trailing separators below the header": (("age,city,y\n" + PLAIN[11:].replace("\n", ",\n")).encode(), {"trailing-separator"}),
    "title lines": (("Export of 1 May\n\n" + PLAIN).encode(), {"title-lines"}),
    "several separators below the header": (("age,city,y\n" + PLAIN[11:].replace("\n", ",,,,\n")).encode(), {"trailing-separator"}),
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
    "a broken quote in the names": (b'a,"b"c,d\n1,2,3\n4,5,6\n', "The header line, 1, has too many cells or a broken quote"),
    "one row": (b"a,b\n1,2\n", "one row"),
    "one column": (b"a\n1\n2\n3\n", "one column"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG picture"),
    "pdf": (b"%PDF-1.7\n", "PDF"),
    "pickle": (b"\x80\x04\x95" + bytes(20), "pickle"),
    "json": (b'[{"a": 1}]', "one column"),
    "json in many lines": (b'{\n  "a": [1, 2],\n  "b": [3, 4]\n}\n', "JSON"),
    "web page": (b"\n<!DOCTYPE html><html>", "web page"),
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
    "source", [PLAIN.encode() * 9, gzip.compress(PLAIN.encode() * 9), zipped(a__csv=PLAIN * 9)], ids=["plain", "gzip", "zip"]
)
def test_a_file_over_the_limit_is_refused_packed_or_not(source):
    with pytest.raises(TableError, match="300"):
        read_table(source, limit_bytes=300)


@pytest.mark.parametrize("seed", range(5))
def test_dropping_copies_keeps_the_first_of_equal_rows_in_place(seed):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": draw.integers(3, size=60), "b": draw.choice(["x", "y", None], 60), "c": draw.integers(2, size=60) / 2})
    whole = read_table(frame.to_csv(index=False).encode())
    once = read_table(frame.to_csv(index=False).encode(), ReadingChoices(drop_copies=True))
    pd.testing.assert_frame_equal(once.frame, whole.frame.drop_duplicates(ignore_index=True))
    assert {"duplicate-rows"} & codes(whole) and codes(once) & {"duplicate-rows", "dropped-copies"} == {"dropped-copies"}
    assert ReadingChoices.from_json(once.reading.to_json()) == once.reading


def test_a_table_of_one_repeated_row_is_refused():
    with pytest.raises(TableError, match="copies of one"):
        read_table(b"a,b\n" + b"1,x\n" * 9, ReadingChoices(drop_copies=True))


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
    [(["1", "#3", "5"], [1, 5]), (["#ff0000", "#404040", "red"], ["#ff0000", "#404040", "red"]), (["#1", "#2", "#3"], ["#1", "#2", "#3"])],
)
def test_a_hash_comments_out_a_row_only_if_other_rows_begin_with_numbers(first, kept):
    table = read_table("".join(f"{cell}\n" for cell in ["what,n", *(f"{cell},{place}" for place, cell in enumerate(first))]).encode())
    assert table.frame["what"].tolist() == kept
    assert bool(said(table, "comment-lines")) == (len(kept) < len(first))


def test_a_file_where_most_lines_do_not_fit_is_refused():
    with pytest.raises(TableError, match="most frequent number of cells"):
        read_table(b"a,b\n" + b"".join(b"1,2" + b",3" * width + b"\n" for width in range(1, 30)), ReadingChoices(delimiter=","))


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
    rows = [f"{name},{colour},{size}" for name in ("foo", "bar", "baz") for colour in ("red", "blue") for size in ("big", "small")]
    table = read_table("\n".join(["#name,colour,size", *rows]).encode())
    assert (list(table.frame), len(table.frame)) == (["name", "colour", "size"], len(rows))
    table = read_table("\n".join(["#made by a tool,v2,today", "name,colour,size", *rows]).encode())
    assert (list(table.frame), len(table.frame)) == (["name", "colour", "size"], len(rows))


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


def test_sodium_is_not_a_missing_value():
    table = read_table(("element,n\n" + "Na,1\nK,2\nNA,3\nna,4\n" * 9).encode())
    assert [word for word in table.frame["element"].dropna().unique()] == ["Na", "K"]


@pytest.mark.parametrize(
    "codes, rows", [("EU AS NA", None), ("EU AS AF NA", None), ("EU AS AF NA", 30), ("EU AS Other NA", None), ("EU AS AF ?", None)]
)
def test_na_among_codes_of_two_letters_is_reported_as_missing(codes, rows):
    words = codes.split() * 15
    table = read_table("\n".join(["region;y", *(f" {word} ;{row}" for row, word in enumerate(words))]).encode(), ReadingChoices(rows=rows))
    told = [finding.message for finding in table.findings if finding.code == "missing-codes"]
    assert ["(AF, AS, EU, ...) and" in message and f"{table.columns[0].missing} cells NA" in message for message in told] == [True] * (
        codes == "EU AS AF NA"
    )


def test_na_that_means_missing_elsewhere_is_not_reported_among_codes():
    rows = [f"{code},{row if row % 7 else 'NA'}" for row, code in enumerate(["EU", "AS", "AF", "NA"] * 15)]
    for source, marks in (("\n".join(["region,y", *rows]), ()), ("\n".join(["region,y", *rows]).replace(",NA", ",1"), ("NA",))):
        assert not said(read_table(source.encode(), ReadingChoices(missing_marks=marks)), "missing-codes")


def test_a_missing_header_is_detected_replaced_and_asked_about():
    table = read_table(b"M,0.4,15\nF,0.5,7\nI,0.6,9\n")
    assert table.frame.columns.tolist() == ["column_1", "column_2", "column_3"]
    assert len(table.frame) == 3
    assert [(question.field, question.options) for question in table.questions] == [("header", ("false", "true"))]
    assert table.reading.header is False


@pytest.mark.parametrize("mark", ["", "?", "-", "n/a", "NaN"])
@pytest.mark.parametrize("place", range(3))
def test_a_missing_number_in_the_first_line_is_no_name(mark, place):
    lines = [[f"{row}", f"{row * row % 7}", f"{row / 8}", "ab"[row % 2]] for row in range(1, 60)]
    lines[0][place] = mark
    rows = "".join(f"{','.join(line)}\n" for line in lines)
    assert [question.code for question in read_table(rows.encode()).questions] == ["header"]
    assert read_table(f"n,m,share,kind\n{rows}".encode()).frame.columns.tolist() == ["n", "m", "share", "kind"]


def test_a_header_in_a_table_of_words_is_asked_about_and_the_answer_is_used():
    source = b"bob,paris\nanna,rome\nzoe,rome\n"
    assert [question.field for question in read_table(source).questions] == ["header"]
    answered = read_table(source, ReadingChoices(header=False))
    assert answered.questions == ()
    assert answered.frame.iloc[0].tolist() == ["bob", "paris"]


def test_a_header_of_years_is_a_header():
    assert read_table(b"country,2000,2001,2002\nx,3,4,5\ny,5,6,7\n").frame.columns.tolist() == ["country", "2000", "2001", "2002"]
    bank = b'"Source","Indicators",\n\n"Name","Code","Indicator",' + b",".join(b'"%d"' % year for year in range(1990, 1996)) + b",\n"
    table = read_table(bank + b"".join(b'"Land, %d","L%d","GDP","3.5","","..","4","5","%d",\n' % (row, row, row) for row in range(30)))
    assert table.frame.columns.tolist() == ["Name", "Code", "Indicator", *map(str, range(1990, 1996))]
    assert read_table(b"land,1990,1995,1996,2000,2010\nx,3,4,5,1,2\ny,5,6,7,3,2\n").frame.columns[0] == "land"


@pytest.mark.parametrize("last", [[5, 6], ["a", "b"]])
@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("start", [0, 1])
def test_consecutive_column_numbers_are_a_header(last, index, start):
    frame = pd.DataFrame([[7, 8, 9, last[0]], [4, 5, 1, last[1]]], columns=range(start, start + 4))
    table = read_table(frame.to_csv(index=index).encode())
    assert table.frame.columns.tolist()[-4:] == [str(name) for name in frame]
    assert len(table.frame) == 2


def test_row_names_get_a_column_name_if_the_header_is_one_short():
    table = read_table(b"a,b\nr1,1,2\nr2,3,4\n")
    assert table.frame.to_dict("list") == {"row": ["r1", "r2"], "a": [1.0, 3.0], "b": [2.0, 4.0]}
    assert "row-names" in codes(table)


def test_a_short_header_names_the_first_columns_if_the_rows_end_in_empty_cells():
    table = read_table(b"a,b,y\n" + b"7,0.675,z,,,\n" * 6_000 + b"3,0.968,x,,5,\n" * 2)
    assert table.frame.columns.tolist() == ["a", "b", "y", "column_4", "column_5"]
    assert read_table(b"Sales,in,May\nshop,size,cost,,\na,7,4,,\nb,8,5,,\n").frame.columns[0] == "shop"
    years = read_table(b"Sales,by,shop,2021\nshop,2019,2020,2021,,\n" + b"a,7,4,1,,\nb,8,5,0,,\n" * 8)
    assert years.frame.columns.tolist()[:4] == ["shop", "2019", "2020", "2021"] and "title-lines" in codes(years)
    numbers = b"2020;age;x;wd\n" + b"5.80;9.53;10;4.82;;;\n8.94;8.47;44;7.30;;;\n" * 15
    assert read_table(numbers).frame.columns.tolist() == ["2020", "age", "x", "wd"]


def test_names_become_unique_and_not_empty():
    table = read_table(b"a,a,,a_2,a\n1,2,3,4,5\n6,7,8,9,0\n")
    assert table.frame.columns.tolist() == ["a", "a_3", "column_3", "a_2", "a_4"]
    told = {finding.column: finding.code for finding in table.findings}
    assert told == {"a_3": "duplicate-names", "column_3": "empty-names", "a_4": "duplicate-names"}


def test_names_that_look_the_same_become_unique_and_lose_control_characters():
    table = read_table("age,age\u200b,\u202eage,a\x9b2Jb,y\n1,2,3,4,5\n6,7,8,9,0\n".encode())
    assert table.frame.columns.tolist() == ["age", "age_2", "age_3", "a 2Jb", "y"]
    assert {finding.column for finding in table.findings if finding.code == "duplicate-names"} == {"age_2", "age_3"}


def test_a_very_long_name_is_cut_and_reported():
    table = read_table(f"{'n' * 20_000},{'n' * 19_999}m,y\n1,2,3\n4,5,6\n".encode())
    assert [len(name) for name in table.frame] == [500, 502, 1]
    assert len(said(table, "long-name")) == 2


def test_words_that_differ_only_in_invisible_characters_are_reported():
    words = "1,yes\n2,yes\u200b\n3,\ufeffno\n4,no\n"
    (message,) = said(read_table(f"a,y\n{words * 10}".encode()), "alike")
    assert r"'yes' and 'yes\u200b'" in message
    assert r"'no' and '\ufeffno'" in message


def test_the_name_of_an_archive_member_is_shown_without_control_characters():
    told = said(read_table(zipped(**{"\u202evsc.exe\x1b[31m": PLAIN})), "compressed")
    assert told == ["The file was compressed; vsc.exe [31m in it was read."]


def test_an_unknown_encoding_is_refused_in_one_line_even_with_a_long_name():
    with pytest.raises(TableError, match="^Unknown encoding 'x{59}…'. Known ones: utf-8") as refused:
        read_table(PLAIN.encode(), ReadingChoices(encoding="x" * 100_000))
    assert len(str(refused.value)) < 200


def in_parquet(values) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2], "b": values, "c": [3, 4]}), file)
    return file.getvalue()


NOT_AS_TEXT = {
    "years of six digits": pa.array([10**16, 2 * 10**16], pa.timestamp("ms")),
    "invalid UTF-8": pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")),
}


@pytest.mark.parametrize("values", NOT_AS_TEXT.values(), ids=NOT_AS_TEXT)
def test_a_parquet_column_that_cannot_be_written_as_text_is_named(values):
    with pytest.raises(TableError, match=r"The column 'b' of the Parquet file.*Write it as text.*or leave it out\.$"):
        read_table(in_parquet(values))


def test_half_precision_in_parquet_is_read():
    assert read_table(in_parquet(np.array([1.5, -2], np.float16))).frame["b"].tolist() == [1.5, -2]


NUMBERS = {
    "plain": (["1", "2.5", "-3e2"], [1, 2.5, -300], set()),
    "usual marks of missing values": (["1", "NA", "?", " ", "null", "-", ".", "..", "2"], [1, *[np.nan] * 7, 2], set()),
    "infinite": (["1", "inf", "-Infinity"], [1, np.nan, np.nan], {"infinite"}),
    "thousands": (["1,234", "5", "1,234,567.5"], [1234, 5, 1234567.5], {"thousands"}),
    "thousands by blanks": (["1 234", "5", "1 234 567.5"], [1234, 5, 1234567.5], {"thousands"}),
    "thousands by blanks alone": (["1\u00a0234", "5\u202f678"], [1234, 5678], {"thousands"}),
    "thousands by apostrophes": (["1'234", "5", "6"], [1234, 5, 6], {"thousands"}),
    "points and a comma": (["1.234,5", "5,25", "7", "1.234", "5,125"], [1234.5, 5.25, 7, 1234, 5.125], {"decimal-comma"}),
    "points and a comma and money": (["1.234,50 €", "5,25 €", "1.234 €"], [1234.5, 5.25, 1234], {"decimal-comma"}),
    "currency before": (["$5.50", "$ 1,200.00", "-$3"], [5.5, 1200, -3], {"thousands"}),
    "currency after": (["5.50 €", "1 €", "2.5"], [5.5, 1, 2.5], {"units"}),
    "percent": (["12%", "7.5 %"], [12, 7.5], {"units"}),
    "percent and shares": (["12%", "0.5"], [12, 0.5], {"mixed-signs"}),
    "several currencies": (["$5", "7 €", "900"], [5, 7, 900], {"mixed-signs"}),
    "a unit": (["12 km", "5.4km", "1,200 km"], [12, 5.4, 1200], {"units"}),
    "a unit of one letter": (["1.75 m", "2 m"], [1.75, 2], {"units"}),
    "a unit in another script": (["56,062元/平", "9,100元/平"], [56062, 9100], {"units"}),
    "amounts": (["$1.2M", "3.4k", "$950", "$2B", "5m"], [1.2e6, 3400, 950, 2e9, 5e6], {"units"}),
    "minutes and seconds": (["64:12", "3:05", "1:02:03.5"], [3852, 185, 3723.5], {"units"}),
    "singular and plural": (["1 vote", "12 votes"], [1, 12], {"units"}),
    "money before": (["Rs. 500", "Rs 1,200"], [500, 1200], {"thousands"}),
    "accounting brackets": (["(1,234.50)", "7", "$(12)", "($ 3)"], [-1234.5, 7, -12, -3], {"thousands"}),
    "accounting brackets and percent": (["(4)%", "5%"], [-4, 5], {"units"}),
    "a unit after blanks between thousands": (["12 345 kg", "7 kg"], [12345, 7], {"units"}),
    "a decimal comma after a zero": (["0,864", "1,375", "0,125"], [0.864, 1.375, 0.125], {"decimal-comma"}),
    "a zero before thousands": (["0,012.50", "1,234.50"], [12.5, 1234.5], {"thousands"}),
    "a zero among thousands": (["0,500", "1,210,000"], [500, 1210000], {"thousands"}),
    "thousands filled with zeros": (["001,000", "001,059"], [1000, 1059], {"thousands"}),
    "a currency twice": (["$1 USD", "$2 USD"], [1, 2], {"units"}),
    "other minus signs": (["\u22125", "\u20130.5", "3"], [-5, -0.5, 3], {"units"}),
    "other minus signs and a unit": (["\u22125 °C", "1.5 °C"], [-5, 1.5], {"units"}),
    "lakhs and crores": (["1,23,456", "12,34,56,789.5", "99,999", "500"], [123456, 123456789.5, 99999, 500], {"thousands"}),
    "footnotes": (["1,234[2]", "5*", "7"], [1234, 5, 7], {"marks"}),
    "laboratory flags": (["0.83 H", "4.5 L", *map(str, range(30))], [0.83, 4.5, *range(30)], {"marks"}),
    "limits of detection": (["<0.5", ">100", *map(str, range(30))], [0.5, 100, *range(30)], {"marks"}),
    "hours and minutes": (["2h 50m", "19h", "5m", "1h05min"], [170, 1140, 5, 65], {"units"}),
    "powers of ten": (["1,5e-05", "2,25", "1,5E+3"], [1.5e-05, 2.25, 1500], {"decimal-comma"}),
    "powers of ten with a unit": (["1.5e3 kg", "20 kg"], [1500, 20], {"units"}),
    "exact to the last integer": (["9007199254740992", "1", "2"], [2**53, 1, 2], set()),
}


def one_column(cells, choices=ReadingChoices(), fewest=2):  # noqa: B008 (frozen)
    lines = [f'"{cell}",r{place}' for place, cell in enumerate(cells)]
    return read_table("\n".join(["x,other", *lines]).encode(), choices, fewest=fewest)


@pytest.mark.parametrize(("cells", "values", "found"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_as_people_write_them(cells, values, found):
    table = one_column(cells)
    np.testing.assert_array_equal(table.frame["x"].to_numpy(dtype=float), values)
    assert codes(table) - {"many-missing", "constant", "one-value", "id-like"} == found
    known = ReadingChoices.from_json(json.loads(json.dumps(replace(table.reading, kinds=(("x", "number"),)).to_json())))
    alone = [one_column([cell], known, 1).frame["x"].iloc[0] for cell in cells]
    np.testing.assert_array_equal(np.array(alone, dtype=float), values)


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        (["007", "12", "13"], "category", {"kept-as-text"}),
        (["9007199254740993", "12", "13"], "category", {"kept-as-text"}),
        (["12345678901234567890", "12345678901234567891", "3"], "category", {"kept-as-text"}),
        ([f"{row:05}" for row in range(0, 90_000, 1000)] + ["abroad"], "text", {"kept-as-text", "id-like"}),
        (["€1,5M", "€2,5M"], "category", set()),
        (["1_000", "2", "3"], "category", set()),
        (["(1)", "(2)", "(1)"], "category", set()),
        (["<=50K", ">50K", ">50K"], "category", set()),
        (["1", "2", "3", ">3", "2"], "category", set()),
        (["12 A", "14 C", "12 A"], "category", set()),
        ([*(f"{row:05}" for row in range(0, 90_000, 1000)), "02000*"], "text", {"kept-as-text", "id-like"}),
        (["2 g", "500 mg", "500 mg"], "category", set()),
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


def test_one_infinite_value_is_reported_in_the_singular():
    assert "'x' holds 1 infinite value, read as missing." in said(one_column(["1", "inf", "2"]), "infinite")[0]


def test_a_leading_zero_far_down_the_file_is_kept():
    table = read_table(b"id,y\n" + b"".join(b"%d,%d\n" % (row, row % 3) for row in range(30_000)) + b"00010,1\n")
    assert table.frame["id"].iloc[-1] == "00010"


MOMENTS = {
    "one offset": (["2024-01-01T10:00:00+02:00", "2024-01-01 23:30+0200"], ["01 08:00", "01 21:30"], "info"),
    "mixed offsets": (["2024-01-01T10:00:00+02:00", "2024-01-01T10:00:00.5-0530", "2024-01-02T01:00:00 +02"], None, "info"),
    "one of three offsets": (
        ["2024-01-01 10:00:00 +02:00", "2024-01-01 10:00:00", "2024-01-02"],
        ["01 08:00", "01 10:00", "02 00:00"],
        "warning",
    ),
    "Z and UTC": (["2024-01-01T10:00:00Z", "2024-01-01 11:00:00 UTC"], ["01 10:00", "01 11:00"], "info"),
    "a zone by its name": (["2024-01-01 10:00:00 Europe/Berlin", "2024-01-01 11:00:00 GMT"], ["01 09:00", "01 11:00"], "info"),
    "local times": (["2024-01-01 10:00:00", "2024-01-01T11:00"], ["01 10:00", "01 11:00"], None),
    "before and after noon": (["2024-01-01 10:00:00 PM", "2024-01-01 12:30:00 AM"], ["01 22:00", "01 00:30"], None),
}


@pytest.mark.parametrize(("cells", "days", "severity"), MOMENTS.values(), ids=MOMENTS)
def test_a_time_with_an_offset_is_converted_to_utc_and_that_is_reported(cells, days, severity):
    table = one_column(cells)
    days = days or ["01 08:00", "01 15:30", "01 23:00"]
    assert table.frame["x"].dt.strftime("%d %H:%M").tolist() == days
    assert [finding.severity for finding in table.findings if finding.code == "utc"] == [severity] * (severity is not None)


@pytest.mark.parametrize("cell", ["2024-01-01 10:00:00 CEST", "2024-01-01 10:00:00 of course", "2024-01-01 10:00+99:00"])
def test_a_time_followed_by_other_text_is_not_a_date(cell):
    assert one_column([cell, "2024-01-02 10:00:00"]).columns[0].kind == "category"
    table = one_column([cell, "2024-01-02 10:00:00"], ReadingChoices(kinds=(("x", "date"),)))
    assert table.frame["x"].isna().tolist() == [True, False]
    assert "bad-cells" in codes(table)


@pytest.mark.parametrize(("decimals", "whole"), [(1, 1), (2, 1), (4, 1), (2, 2), (3, 0)])
@pytest.mark.parametrize("header", [True, False])
def test_decimal_commas_do_not_separate_cells(decimals, whole, header):
    lines = [";".join([f"-{row},{row + place}5" for place in range(decimals)] + [str(row % 2)] * whole) for row in range(40)]
    names = [";".join(f"name{place}" for place in range(decimals + whole))] if header else []
    table = read_table("\n".join([*names, *lines]).encode())
    assert [column.kind for column in table.columns[:decimals]] == ["number"] * decimals
    assert table.frame.iloc[-1, 0] == -39.395


@pytest.mark.parametrize("word", ["[{},]", "Doe, J. {}", "{}, {}, x"])
def test_words_with_commas_do_not_disturb_decimal_commas_and_semicolons(word):
    lines = [f"{word.format(row, row)};{row},5;{row + 1},25" for row in range(20)]
    table = read_table("\n".join(["who;a;b", *lines]).encode())
    assert [(column.name, column.kind) for column in table.columns[1:]] == [("a", "number"), ("b", "number")]
    assert table.frame.iloc[-1].tolist() == [word.format(19, 19), 19.5, 20.25]


@pytest.mark.parametrize(("above", "below"), [("", "Source: us, 2024"), ("Cities, 2024\n\n", ""), ("Cities, of May\n", "Source: us, 2024")])
def test_notes_with_commas_do_not_disturb_decimal_commas_and_semicolons(above, below):
    lines = [f"town {row};{row}.000 €;{row},25" for row in range(20)]
    table = read_table("\n".join([f"{above}who;a;b", *lines, below]).encode())
    assert [(column.name, column.kind) for column in table.columns[1:]] == [("a", "number"), ("b", "number")]
    assert table.frame.iloc[19].tolist() == ["town 19", 19000, 19.25]


@pytest.mark.parametrize("more", ["", "q;r,4,5\n"])
def test_a_table_of_lists_is_split_at_its_commas(more):
    table = read_table(f"a,b\nx;y,1\nz;w,2\nx;w,3\n{more}".encode())
    assert [column.name for column in table.columns] == ["a", "b"]


DAYS = [f"{day:02}/{month:02}/2025" for month in range(1, 13) for day in range(1, 26)]


@pytest.mark.parametrize("style", ["%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d", "%d %b %Y"])
def test_a_few_cells_that_are_not_dates_become_missing_and_are_reported(style):
    days = [pd.to_datetime(day, dayfirst=True) for day in DAYS]
    cells = [day.strftime(style) for day in days] + ["Total", "unknown"]
    table = one_column(cells)
    assert table.columns[0].kind == "date"
    assert table.frame["x"].tolist()[:-2] == days
    (message,) = said(table, "bad-cells")
    assert message.startswith("'x' holds dates in 300 of 302 cells; 2 other cells became missing: 'Total', 'unknown'.")


def test_a_chosen_date_column_is_read_in_the_format_of_most_cells():
    table = one_column(["31/01/2025", "02/28/2025", "soon", "05/12/2025", "13/12/2025"], ReadingChoices(kinds=(("x", "date"),)))
    assert table.frame["x"].isna().tolist() == [False, True, True, False, False]
    assert one_column(["soon", "late"], ReadingChoices(kinds=(("x", "date"),))).frame["x"].isna().all()


def test_words_among_dates_are_asked_about_as_missing_marks():
    cells = [*DAYS[:60], *["not yet"] * 4]
    asked = one_column(cells)
    assert asked.columns[0].kind == "text"
    assert ("mixed-dates", ("not yet",)) in [(one.code, one.options) for one in asked.questions]
    assert one_column(cells, ReadingChoices(missing_marks=("not yet",))).columns[0].kind == "date"


@pytest.mark.parametrize(("choice", "month"), [(None, 4), (True, 4), (False, 3)])
def test_an_ambiguous_day_and_month_are_asked_about_and_the_answer_is_used(choice, month):
    table = one_column(["03/04/2025", "05/06/2025"], ReadingChoices(day_first=choice))
    assert table.frame["x"].dt.month.iloc[0] == month
    assert table.frame["x"].dt.year.iloc[0] == 2025
    assert ([question.field for question in table.questions] == ["day_first"]) == (choice is None)


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


@pytest.mark.parametrize("name", SAMPLES)
def test_clean_tables_raise_no_question(name):
    table = read_table(sample_csv(name))
    assert not table.questions
    assert not codes(table) & {"date", "units", "sentinel-missing", "missing-words", "header-lines"}


@pytest.mark.parametrize(
    "cells", [[-1, 0, 1], [-1, 1, 2, 3], [-10, 0, 10, 20], [95, 97, 99], [0, 1, 9], [-20, -7, 3, 8], [-20, -10, 0, 5, 10, 30]], ids=str
)
def test_numbers_near_the_others_are_not_codes_for_missing(cells):
    assert not one_column(cells * 9).questions


@pytest.mark.parametrize("word", ["hemi", ""])
def test_several_header_lines_raise_one_question_and_the_answer_joins_them(word):
    file = b"net,1,1,2\nnode,1,2,1\n%s,lh,rh,lh\n" % word.encode() + b"".join(
        b"%d,%d.5,%d.25,%d\n" % (i, i, i + 3, i * i) for i in range(300)
    )
    asked = read_table(file)
    assert [(one.code, one.options) for one in asked.questions] == [("header-lines", ("1", "3"))]
    assert not codes(asked) & {"bad-cells", "duplicate-names"}
    table = read_table(file, ReadingChoices(header_lines=3))
    assert [column.name for column in table.columns] == [f"net node {word}".strip(), "1 1 lh", "1 2 rh", "2 1 lh"]
    assert [column.kind for column in table.columns] == ["number"] * 4
    assert (len(table.frame), table.questions) == (300, ())


def test_marks_in_the_first_rows_are_not_names():
    lines = "".join(f"r{row},{row},{row + 3},{row * row}\n" for row in range(300))
    asked = read_table(f"a,b,c,d\nx,**,**,**\ny,n/k,n/k,n/k\n{lines}".encode())
    assert not codes(asked) & {"header-lines"} and {"bad-cells"} <= codes(asked)
    lined = read_table(f"a,b,c,d\nn,mean,sd,max\nu,kg,kg,kg\n{lines}".encode())
    assert [(one.code, one.options) for one in lined.questions] == [("header-lines", ("1", "3"))]
    spoken = read_table(f"a,b,c,d\nn,1,2,3\nm,refused,unknown,\n{lines}".encode())
    assert not codes(spoken) & {"header-lines"} and {"bad-cells"} <= codes(spoken)


def test_a_line_of_names_above_numbers_is_a_header():
    lines = "".join(f"ab{row},{90 + row},,\n" for row in range(8))
    assert [column.name for column in read_table(f"named,namee,,\n{lines}".encode()).columns[:2]] == ["named", "namee"]
    assert not read_table(b"Ann,3\nBob,12\nCy,4\n").reading.header


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@settings(max_examples=20)
@given(some.data())
def test_points_between_thousands_are_never_read_as_decimal_points_without_a_question(separator, data):
    numbers = data.draw(
        some.lists(some.integers(0, 2_000_000), min_size=8, max_size=40).filter(lambda drawn: min(drawn) < 1000 <= max(drawn))
    )
    mark, share = data.draw(some.sampled_from(["{}", "{} €", "{} km"])), data.draw(some.sampled_from(["x", "0,375", "9,5"]))
    written = [mark.format(f"{number:,}".replace(",", ".")) for number in numbers]
    rows = [(cell, share, "town") for cell in [*written, "-"]]
    content = pd.DataFrame(rows, columns=["people", "share", "kind"]).to_csv(index=False, sep=separator).encode()
    table = read_table(content)
    wrong = table.frame["people"].tolist()[:-1] != numbers
    assert wrong == any(question.field == "decimal_commas" for question in table.questions)
    for own in (table.reading, ReadingChoices()):
        choices = ReadingChoices.from_json(replace(own, decimal_commas=(*own.decimal_commas, ("people", True))).to_json())
        answered = read_table(content, choices)
        assert answered.frame["people"].tolist()[:-1] == numbers
        assert not any(question.field == "decimal_commas" for question in answered.questions)


@pytest.mark.parametrize("cells", [["0.607", "1.652"], ["1.652", "12.5"], ["1.652", "2.718"], ["1652", "1.652"]], ids=str)
def test_decimal_points_raise_no_question(cells):
    assert not one_column(cells * 9).questions


@settings(max_examples=20)
@given(
    some.lists(some.integers(1000, 2_000_000), min_size=8, max_size=40),
    some.sampled_from(["{:,}", "${:,}", "{:,} km", "-${:,}", "{:,}[2]"]),
)
def test_commas_between_thousands_are_never_read_as_decimal_commas_without_a_warning(numbers, style):
    def content(size):
        return ("price;size\n" + "".join(f"{style.format(number)};{size}\n" for number in written)).encode()

    written = numbers
    table, sign = read_table(content("63")), -1 if style[0] == "-" else 1
    numbers = [sign * number for number in numbers]
    for read in (table, read_table(content("63"), replace(table.reading, day_first=True))):
        assert ("comma" in codes(read)) == (read.frame["price"].tolist() != numbers)
    answered = read_table(content("63"), replace(table.reading, decimal_commas=(("price", False),)))
    assert (answered.frame["price"].tolist(), "comma" in codes(answered)) == (numbers, False)
    assert "comma" not in codes(read_table(content("9,5")))


def test_points_are_not_asked_about_beside_sure_decimal_points_and_in_typed_files():
    assert read_table(b"people;share\n607;1\n1.652;2\n").questions
    assert not read_table(b"people;share\n607;0.5\n1.652;2\n").questions
    assert not read_table(b"far;share\n607 km.;1\n16 km.;2\n").questions, "a point of the unit"
    typed = b'[{"people": 607, "kind": "a"}, {"people": 1.652, "kind": "b"}]'
    assert not read_table(typed).questions
    answered = read_table(b"people;kind\n607;a\n1.652;b\n", ReadingChoices(decimal_commas=(("people", True),)))
    assert answered.frame["people"].tolist() == [607, 1652]
    assert read_table(typed, answered.reading).frame["people"].tolist() == [607, 1.652], "the table in another file, with typed numbers"


def test_dates_that_stand_for_none_are_asked_about():
    days = [f"20{10 + row % 14}-03-{row % 28 + 1:02}" for row in range(60)]
    asked = one_column([*days, *["9999-12-31"] * 9, "1900-01-01"])
    assert [(one.code, one.options) for one in asked.questions] == [("sentinel-missing", ("1900-01-01", "9999-12-31"))]
    answered = one_column([*days, *["9999-12-31"] * 9, "1900-01-01"], ReadingChoices(missing_marks=("9999-12-31", "1900-01-01")))
    assert (answered.columns[0].kind, answered.columns[0].missing, answered.questions) == ("date", 10, ())
    assert not one_column([*[f"19{row:02}-03-05" for row in range(1, 99)], "1900-01-01"]).questions


def test_numbers_that_differ_only_in_zeros_at_their_end_are_reported():
    assert "zeros-at-end" in codes(one_column(["1.1", "1.10", "1.2"] * 9))
    assert "zeros-at-end" not in codes(one_column(["1.5", "1.0", "1"] * 9))


def test_words_among_numbers_are_asked_about_and_the_answer_makes_the_column_numeric():
    cells = [*map(str, range(40)), "unknown", "unknown"]
    asked = one_column(cells)
    assert [(question.code, question.options) for question in asked.questions] == [("mixed-numbers", ("unknown",))]
    answered = one_column(cells, ReadingChoices(missing_marks=("unknown",)))
    assert (answered.columns[0].kind, answered.columns[0].missing) == ("number", 2)


@pytest.mark.parametrize(("kind", "values"), [("number", [7.0, 8.0, np.nan]), ("category", ["007", "8", "x"]), ("text", ["007", "8", "x"])])
def test_a_chosen_kind_is_used(kind, values):
    table = one_column(["007", "8", "x"], ReadingChoices(kinds=(("x", kind),)))
    assert table.columns[0].kind == kind
    pd.testing.assert_series_equal(table.frame["x"], pd.Series(values, name="x"), check_dtype=False)


def test_a_chosen_encoding_is_used():
    source = "name,y\nŁódź,1\nŻary,2\n".encode("cp1250")
    assert read_table(source, ReadingChoices(encoding="cp1250")).frame["name"].tolist() == ["Łódź", "Żary"]
    assert "encoding" in [question.field for question in read_table(source).questions]


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


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("id,How often?,,Which?,,,", ",by car,by bus,a,b,c,d", ["id", "How often? by car", "by bus", "Which? a", "b", "c", "d"]),
        ("Report,,,,", ",by car,by bus,a,b", ["column_1", "by car", "by bus", "a", "b"]),
        ("Report,,2024,,", "id,by car,by bus,a,b", ["id", "by car", "by bus", "a", "b"]),
    ],
    ids=["questions and their parts", "a title above an index", "a title above names"],
)
@pytest.mark.parametrize("numbers", [True, False])
def test_questions_above_their_parts_are_joined_with_them(first, second, names, numbers):
    rows = [
        f"{row},{row % 3},{row % 5},x,y" if numbers else f"r{row},{'no' if row % 3 else 'yes'},{'pqr'[row % 3]},x,y" for row in range(30)
    ]
    source = "\n".join([first, second, *(row + ",u" * (len(names) - 5) for row in rows)])
    table = read_table(source.encode())
    assert [*table.frame] == names and len(table.frame) == 30
    assert bool(said(table, "joined-names")) == (names[1] == "How often? by car")
    again = read_table(source.encode(), ReadingChoices.from_json(table.reading.to_json()))
    assert again.frame.equals(table.frame)
    earlier = read_table(source.encode(), ReadingChoices.from_json({**table.reading.to_json(), "header_lines": None, "header": True}))
    assert not said(earlier, "joined-names")  # a table that was read before keeps its names


def test_a_first_row_of_words_is_no_line_of_names():
    rows = ["Ann Lee,,likes tea,call late,vip", *(f"P{row} Q,City{row % 3},a note {row},x{row},y" for row in range(5))]
    assert len(read_table("\n".join(["Name,City,Note,,", *rows]).encode()).frame) == 6


def test_a_header_whose_index_has_no_name_is_found():
    body = ["Ann,3.5,", "Bob,2.5,", "Cy,,"]
    table = read_table("\n".join(['"","First","SMITH","LEE"', *(f'"{row}",{cells}' for row, cells in enumerate(body * 4, 1))]).encode())
    assert [*table.frame] == ["column_1", "First", "SMITH", "LEE"] and len(table.frame) == 12


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
    "choices", [ReadingChoices(), ReadingChoices(encoding="cp1252", header=False, missing_marks=("x",), kinds=(("a", "text"),))]
)
def test_choices_survive_json(choices):
    assert ReadingChoices.from_json(choices.to_json()) == choices


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
        dialect, sample = Dialect(",", '"', '"', 0, 600, True, False), tmp_path / "sample.csv"
        cells = load_text(connection, tmp_path / "wide.csv", dialect, (), lines=21, asked=None, sample=sample, limit_bytes=10**9, fewest=2)
        assert (len(cells.names), cells.rows) == (600, 20)
        assert counts(connection, "count(c598)", "count(c599)") == (20, 0)


def test_thousands_of_columns_with_one_name_become_unique_quickly():
    names, findings = tidy_names(("a",) * 5000, told=True)
    assert (names[0], names[-1], len(set(names)), len(findings)) == ("a", "a_5000", 5000, 4999)


@pytest.mark.parametrize(
    ("letters", "message"),
    [(500_000, "The file has one column: 'xxx"), (18_000_000, "longer than 16 million letters")],
    ids=["long", "endless"],
)
def test_an_endless_line_is_refused_at_once(letters, message):
    with pytest.raises(TableError, match=message):
        read_table(b"x" * letters + b",b\n1,2\n3,4\n")


def word_column(different: int, rows: int) -> Table:
    lines = "".join(f"w{row % different}x,{row % 7}\n" for row in range(rows))
    return read_table(f"make,n\n{lines}".encode())


@pytest.mark.parametrize(
    ("different", "rows", "kind"), [(22, 201, "category"), (40, 160, "category"), (60, 160, "text"), (20, 40, "category")]
)
def test_repeated_words_are_a_category_and_others_are_text(different, rows, kind):
    assert word_column(different, rows).columns[0].kind == kind


def test_a_category_of_many_repeated_words_is_reported():
    told = said(word_column(22, 201), "recurring-words")
    assert told == ["'make' has 22 different words in 201 rows and is read as a category, as they recur. Nothing to do."]
    assert not said(word_column(20, 201), "recurring-words")


def numbers_with(*bad: str, rows: int = 700) -> Table:
    cells = [*(str(row / 8) for row in range(rows)), *bad]
    return read_table(("n,word\n" + "".join(f"{cell},{'kl'[row % 2]}\n" for row, cell in enumerate(cells))).encode())


def test_a_few_bad_cells_leave_a_numeric_column_numeric_and_are_reported():
    table = numbers_with("1.2.3", "see note")
    (message,) = said(table, "bad-cells")
    assert (table.columns[0].kind, table.columns[0].missing, table.questions) == ("number", 2, ())
    assert message.startswith("'n' holds numbers in 700 of 702 cells; 2 other cells became missing: '1.2.3', 'see note'.")
    (message,) = said(one_column(["2.5 km/h", *(f"{row} km" for row in range(90))]), "units")
    assert "such as '0 km', were read" in message


def test_a_few_bad_cells_leave_a_column_of_decimal_commas_numeric_too():
    """The cells include a row of units below the names and a value below the limit of detection."""
    cells = ["mg/l", *(f"1.{row:03d},5" for row in range(200)), "<5,0", "1.2,3"]
    table = read_table(("n;word\n" + "".join(f"{cell};{'kl'[row % 2]}\n" for row, cell in enumerate(cells))).encode())
    assert (table.columns[0].kind, table.columns[0].missing) == ("number", 2)
    assert [question.code for question in table.questions] == ["units-row"]
    assert table.frame["n"].iloc[1:4].tolist() == [1000.5, 1001.5, 1002.5]
    said = {finding.code: finding.message for finding in table.findings if finding.column == "n"}
    assert "2 other cells became missing: '1.2,3', 'mg/l'" in said["bad-cells"]
    assert "such as '<5,0', were read" in said["marks"]


def test_words_among_decimal_commas_are_asked_about_and_a_chosen_number_column_keeps_its_numbers():
    text = ("n;word\n" + "".join(f"{cell};k\n" for cell in [*(f"{row},5" for row in range(40)), "n.b.", "n.b."])).encode()
    asked = read_table(text)
    assert [(question.code, question.options) for question in asked.questions] == [("mixed-numbers", ("n.b.",))]
    answered = read_table(text, ReadingChoices(missing_marks=("n.b.",)))
    forced = read_table(text, ReadingChoices(kinds=(("n", "number"),)))
    assert [(table.columns[0].kind, table.columns[0].missing) for table in (answered, forced)] == [("number", 2), ("number", 2)]


@pytest.mark.parametrize(("other", "values"), [("9,5", [950, 95_000, 250_000]), ("9.5", [950, 95, 250]), ("9", [950, 95, 250])])
def test_a_point_separates_thousands_if_other_columns_have_decimal_commas(other, values):
    cells = ["950", "95.000", "250.000"]
    table = read_table(("n;m\n" + "".join(f"{cell};{other}\n" for cell in cells)).encode())
    assert table.frame["n"].tolist() == values
    plain = read_table(b"n;m\n1.25;9,5\n2.5;8,5\n").reading  # a column without thousands has none in new rows either
    assert read_table(b"n;m\n1.234;9,5\n", replace(plain, kinds=(("n", "number"),)), fewest=1).frame["n"].tolist() == [1.234]


@pytest.mark.parametrize("bad", [("V58", "E11.5"), tuple(f"word {letter}" for letter in "abcdefghijklmnopqrstuvwxyz")])
def test_a_column_with_codes_or_many_bad_cells_stays_text(bad):
    assert numbers_with(*bad).columns[0].kind != "number"
    table = numbers_with(*(f"{row}g" for row in range(26)), rows=150)
    assert (table.columns[0].kind, "26, such as '0g'" in said(table, "mixed-numbers")[0]) == ("text", True)


def test_a_number_that_names_rows_is_an_id_even_if_some_repeat():
    lines = "".join(f"{500_000 + 37 * (row % 284)},{row % 7}\n" for row in range(300))
    found = [codes(read_table(f"{header},n\n{lines}".encode())) for header in ("hospital_number", "weight")]
    assert ["id-like" in one for one in found] == [True, False]


def test_words_that_differ_only_in_capitals_or_blanks_are_reported():
    cells = ["Yes", "yes", "yes", "no", "New  York", "New York", "caf\u00e9", "cafe\u0301", "other"] * 3
    (message,) = said(one_column(cells), "alike")
    assert "'yes' and 'Yes'; 'New  York' and 'New York'; 'cafe\u0301' and 'caf\u00e9'" in message
    assert not said(one_column(["yes", "no", "maybe", " yes"] * 3), "alike")


def with_units(*, rows: int, word: str = "") -> bytes:
    return "\n".join(["city,weight,height", f"{word},kg,cm", *(f"c{row % 3},{row}.5,{row * 2}" for row in range(rows))]).encode()


@pytest.mark.parametrize("rows", [30, 300])
def test_a_row_of_units_is_asked_about_once_and_the_answer_makes_columns_numeric(rows):
    asked = read_table(with_units(rows=rows))
    assert [(question.code, question.options) for question in asked.questions] == [("units-row", ("kg", "cm"))]
    assert len(said(asked, "units-row")) == 1
    assert not said(asked, "mixed-numbers")
    answered = read_table(with_units(rows=rows), ReadingChoices(missing_marks=("kg", "cm")))
    assert [column.kind for column in answered.columns] == ["category", "number", "number"]
    assert (len(answered.frame), answered.questions) == (rows, ())


@pytest.mark.parametrize("first", [("<5", "7"), ("n.a.", "7"), ("unknown", "unknown"), ("12", "cm")])
def test_a_first_row_with_a_number_a_bound_or_a_repeated_word_is_not_a_row_of_units(first):
    rows = [first, *((str(row), str(row * 2)) for row in range(80)), ("unknown", "5")]
    table = read_table("\n".join(["w,h", *map(",".join, rows)]).encode())
    assert not said(table, "units-row")


TOTALS = {
    "named": (["a,1,2", "b,3,4", "c,5,6", "Total:,9,12"], "'item' is 'Total:', 'n' is '9'"),
    "named in another language": (["a,1,2", "b,3,4", "c,5,6", "Gesamtsumme,9,12"], "'item' is 'Gesamtsumme'"),
    "without a name": (["a,1,2", "b,3,4", "c,5,6", ",9,12"], "'n' is '9', 'm' is '12'"),
    "a name that recurs": (["a,1,2", "total,3,4", "c,5,6", "total,9,12"], None),
    "not the sum": (["a,1,2", "b,3,4", "c,5,6", ",9,13"], None),
    "a row like the others": (["a,1,2", "b,3,4", "c,5,6", "d,9,12"], None),
    "too few to tell": (["a,1,2", "b,3,4", ",4,6"], None),
    "above a note": (["a,1,2", "b,3,4", "c,5,6", "Total,9,12", "Source: us"], "'item' is 'Total'"),
}


@pytest.mark.parametrize(("rows", "shown"), TOTALS.values(), ids=TOTALS)
def test_a_total_in_the_last_row_is_reported(rows, shown):
    table = read_table("\n".join(["item,n,m", *rows]).encode())
    assert [shown in message for message in said(table, "total-row")] == [True] * (shown is not None)


NOTES = {
    "a source": (["Source: World Bank, 2024"], "The last row looks like a note"),
    "two notes": (["Note: income in thousand dollars,,", "Last updated: 2024-03-01,,"], "The last 2 rows look like notes"),
    "the row count of a database": (["(3 rows affected)"], "'(3 rows affected)'"),
    "a name": (["d,,"], None),
    "a phrase that names a row": (["Isle of Man,4,"], None),
    "incomplete rows among others": (["New York,,", "d,4,5", "Old York,,"], None),
}


@pytest.mark.parametrize(("rows", "shown"), NOTES.values(), ids=NOTES)
def test_notes_below_a_table_are_reported(rows, shown):
    found = said(read_table("\n".join(["item,n,m", "a,1,2", "b,3,4", "c,5,6", *rows]).encode()), "note-rows")
    assert [shown in message for message in found] == [True] * (shown is not None)


@pytest.mark.parametrize(
    ("end", "asked"), [("Total,9,12", ("0", "1")), ("Total,,12\nSource: us", ("0", "1", "2")), ("Source: us", ("0", "1"))]
)
@pytest.mark.parametrize("days", [3, 60])  # with 60 the column holds dates, and its notes are missing values
def test_rows_below_a_table_are_asked_about_and_left_out(end, asked, days):
    body = "day,n,m\n" + "".join(f"{pd.Timestamp('2024-01-01') + pd.Timedelta(day, 'D'):%Y-%m-%d},{day},{day % 7}\n" for day in range(days))
    assert not read_table((body + "2024-04-01,,\n").encode()).questions
    table = read_table((body + end).encode())
    assert [question.options for question in table.questions if question.field == "skip_last"] == [asked]
    assert not {"note-rows", "total-row"} & {finding.code for finding in not_asked(table.findings, table.questions)}
    left = read_table((body + end).encode(), ReadingChoices(skip_last=int(asked[-1])))
    assert left.frame.equals(read_table(body.encode()).frame) and not left.questions
    assert said(left, "skipped-last") == [f"{'2 rows' if len(asked) == 3 else '1 row'} at the end: left out, as asked."]
    assert ReadingChoices.from_json(left.reading.to_json()).skip_last == int(asked[-1])
    with pytest.raises(LayoutError, match=rf"{days + 1} of \d+ rows at the end cannot be left out"):
        read_table((body + "2024-04-01,7,8\n").encode(), ReadingChoices(skip_last=days + 1))


def test_a_column_with_a_question_is_not_reported_as_free_text():
    cells = [*(f"{row}.25" for row in range(60)), "unknown", "unknown", "unknown"]
    asked = one_column(cells)
    assert (asked.columns[0].kind, [question.code for question in asked.questions]) == ("text", ["mixed-numbers"])
    told = not_asked(asked.findings, asked.questions)
    assert not [finding for finding in told if finding.column == "x"]
    assert said(one_column(cells, ReadingChoices(kinds=(("x", "text"),))), "id-like")


def test_a_dash_means_missing_unless_the_column_has_a_plus():
    table = read_table(b"a,rh,b\n" + b"1,+,-\n-,-,2\n3,,4\n" * 20)
    assert table.frame["rh"].iloc[:3].fillna("").tolist() == ["+", "-", ""]
    assert table.frame[["a", "b"]].isna().sum().tolist() == [20, 20]
    alone = read_table(b"a,rh,b\n1,-,-\n2,-,3\n", ReadingChoices.from_json(table.reading.to_json())).frame
    assert (alone["rh"].tolist(), alone["b"].isna().tolist()) == (["-", "-"], [True, False])
