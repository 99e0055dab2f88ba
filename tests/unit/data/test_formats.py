"""A table reads the same in every format, and a file that cannot be read is refused in a sentence."""

import io
import sys
import time
import zipfile
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
import psutil
import pytest

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading import workbook
from tabtune_core.data.reading_process import ReadingProcess
from tabtune_core.data.table import read_table
from tabtune_core.errors import TableError

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"
ODS = "application/vnd.oasis.opendocument.spreadsheet"
ROWS = [["a", "b", "when"], *([number / 4, "xyz"[number % 3], f"2024-01-{number + 1:02}"] for number in range(9))]


def zipped(parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def xlsx_cell(place, value):
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'


def xlsx(sheets, change=lambda sheet: sheet):
    """Returns a workbook as Excel writes it; a sheet is a list of rows of cells."""
    parts, listed, related = {}, "", ""
    for number, (name, rows) in enumerate(sheets.items(), 1):
        cells = (
            (at, "".join(xlsx_cell(f"{chr(65 + place)}{at}", cell) for place, cell in enumerate(row)))
            for at, row in enumerate(rows, 1)
        )
        lines = "".join(f'<row r="{at}">{row}</row>' for at, row in cells)
        sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{lines}</sheetData></worksheet>'
        parts[f"xl/worksheets/sheet{number}.xml"] = change(sheet)
        listed += f'<sheet name="{name}" sheetId="{number}" r:id="rId{number}"/>'
        related += f'<Relationship Id="rId{number}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
    parts["xl/workbook.xml"] = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>'
    parts["xl/_rels/workbook.xml.rels"] = f'<Relationships xmlns="{PACKAGE}/relationships">{related}</Relationships>'
    book = f'<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    parts["_rels/.rels"] = f'<Relationships xmlns="{PACKAGE}/relationships">{book}</Relationships>'
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{SHEET}"/>'
        for number in range(1, len(sheets) + 1)
    )
    types = f'<Default Extension="xml" ContentType="application/xml"/>{types}'
    parts["[Content_Types].xml"] = f'<Types xmlns="{PACKAGE}/content-types">{types}</Types>'
    return zipped(parts)


def ods(sheets):
    def cell(value):
        if value is None:
            return "<table:table-cell/>"
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{escape(value)}</text:p></table:table-cell>'
        return f'<table:table-cell office:value-type="float" office:value="{value!r}"/>'

    names = ("office", "table", "text")
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    body = ""
    for name, rows in sheets.items():
        lines = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
        body += f'<table:table table:name="{name}">{lines}</table:table>'
    body = f"<office:body><office:spreadsheet>{body}</office:spreadsheet></office:body>"
    content = f"<office:document-content {spaces}>{body}</office:document-content>"
    entry = f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{ODS}"/>'
    space = 'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
    manifest = f"<manifest:manifest {space}>{entry}</manifest:manifest>"
    return zipped({"mimetype": ODS, "content.xml": content, "META-INF/manifest.xml": manifest})


@pytest.mark.parametrize("fewest", [1, 2])
def test_a_small_sheet_before_the_table_is_passed_over_and_asked_about(fewest):
    table = read_table(xlsx({"Cover": [["Report", "2024"]], "Data": ROWS}), fewest=fewest)
    assert (list(table.frame), len(table.frame)) == (ROWS[0], 9)
    assert [question.options for question in table.questions] == [("Data", "Cover")]


@pytest.mark.parametrize("write", [xlsx, ods])
@pytest.mark.parametrize(("top", "left"), [(0, 1), (2, 3)])
def test_a_sheet_may_start_in_any_cell(write, top, left):
    frame = read_table(write({"Sheet1": [*[[]] * top, *([None] * left + row for row in ROWS)]})).frame
    assert frame.assign(when=frame["when"].dt.strftime("%Y-%m-%d")).to_numpy().tolist() == ROWS[1:]


REFUSED = {
    "a far cell": (
        xlsx({"S": [["a", "b"], [1, 2]]}, lambda sheet: sheet.replace("B2", "XFD1048576").replace('"2"', '"1048576"')),
        "one far from the others",
    ),
    "large cells": (xlsx({"S": [["word" * 300_000, "b"], [1, 2], [3, 4]]}), "more than 1,000,000 bytes"),
    "a damaged xls": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + np.random.default_rng(0).bytes(4_096),
        "The workbook cannot be read",
    ),
}


@pytest.mark.parametrize(("book", "message"), REFUSED.values(), ids=REFUSED)
def test_a_workbook_that_is_too_large_or_damaged_is_refused(book, message):
    with pytest.raises(TableError, match=message):
        read_table(book, limit_bytes=1_000_000)


def test_cancelling_ends_the_process_that_opens_the_workbook(tmp_path):
    many = f"<sheetData>{'<row><c><v>1</v></c></row>' * 5_000_000}</sheetData>"  # opening it takes seconds
    book = xlsx({"one": [["a"]]}, lambda sheet: f'<worksheet xmlns="{MAIN}">{many}</worksheet>')
    reading = ReadingProcess(tmp_path, book, "t.xlsx", ReadingChoices(), limit_bytes=1_000_000_000)
    while not (children := psutil.Process(reading._process.pid).children()):
        time.sleep(0.02)
    (opening,) = children
    reading.cancel()
    assert psutil.wait_procs([opening], timeout=2)[1] == [] or opening.status() == psutil.STATUS_ZOMBIE
    assert not list((tmp_path / "datasets").iterdir())


def test_a_missing_package_for_workbooks_is_reported_with_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(TableError, match=r"pip install 'tabtune-dashboard\[excel\]'"):
        workbook.write_sheet("book", None, "text.csv", 1000, 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_json_lines_are_read(encoding):
    frame = pd.DataFrame({"b_1": ["x", "y"] * 10, "temp": map(float, range(20)), "~/": ["ü"] * 20})
    written = frame.to_json(orient="records", lines=True, force_ascii=False).encode(encoding)
    pd.testing.assert_frame_equal(read_table(written).frame.astype(str), frame.astype(str))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pd.DataFrame({"size": range(20)}).to_json(orient="records").encode(), "Save it as JSON lines"),
        (b'{"a":1,"a":2,"A":3}\n{"a":4,"a":5,"A":6}\n', 'duplicate key "a"'),
    ],
)
def test_json_that_is_not_one_object_per_row_is_refused(content, reason):
    with pytest.raises(TableError, match=reason):
        read_table(content, fewest=1)


@pytest.mark.parametrize("values", [pd.period_range("2020", periods=5, freq="M"), pd.to_timedelta(range(5), "h")])
def test_parquet_with_periods_or_durations_is_refused_by_the_name_of_the_column(values):
    with pytest.raises(TableError, match="The column 'spent' of the Parquet file .* is not read. Write it as numbers"):
        read_table(pd.DataFrame({"spent": values, "y": range(5)}).to_parquet())
