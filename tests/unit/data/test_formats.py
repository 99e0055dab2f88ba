"""A table reads the same in every format, and a file that cannot be read is refused in a sentence."""

import datetime
import io
import struct
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
DAY = ' s="1"'
DAYS_BEFORE_1970 = 25_569


def zipped(parts):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def xlsx_cell(place, value):
    if value is None or value != value:
        return ""
    if isinstance(value, datetime.date):
        return f'<c r="{place}"{DAY}><v>{(value - datetime.date(1970, 1, 1)).days + DAYS_BEFORE_1970}</v></c>'
    if isinstance(value, bytes) and value.startswith(b"#"):
        return f'<c r="{place}" t="e"><v>{value.decode()}</v></c>'
    if isinstance(value, bytes):
        return f'<c r="{place}"><f>{value.decode()}</f><v/></c>'
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f'<c r="{place}"><v>{value!r}</v></c>'


def xlsx(sheets, hidden=(), merged=(), hidden_rows=(), columns=""):
    """Returns a workbook as Excel writes it; a sheet is a list of rows of cells."""
    parts = {"[Content_Types].xml": "", "_rels/.rels": "", "xl/workbook.xml": "", "xl/_rels/workbook.xml.rels": ""}
    listed = related = types = ""
    for number, (name, rows) in enumerate(sheets.items(), 1):
        lines = "".join(
            f'<row r="{at}" '
            f'hidden="{int(at in hidden_rows)}">{"".join(xlsx_cell(f"{chr(65 + place)}{at}", cell) for place, cell in enumerate(row))}</row>'
            for at, row in enumerate(rows, 1)
        )
        areas = "".join(f'<mergeCell ref="{area}"/>' for area in merged)
        areas = f'<mergeCells count="{len(merged)}">{areas}</mergeCells>' if merged else ""
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{MAIN}">{columns}<sheetData>{lines}</sheetData>{areas}</worksheet>'
        )
        state = "hidden" if name in hidden else "visible"
        listed += f'<sheet name="{name}" sheetId="{number}" state="{state}" r:id="rId{number}"/>'
        related += f'<Relationship Id="rId{number}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        types += (
            f'<Override PartName="/xl/worksheets/sheet{number}.xml" '
            'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        )
    parts["xl/workbook.xml"] = f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>'
    related += f'<Relationship Id="styles" Type="{OFFICE}/styles" Target="styles.xml"/>'
    parts["xl/_rels/workbook.xml.rels"] = f'<Relationships xmlns="{PACKAGE}/relationships">{related}</Relationships>'
    parts["xl/styles.xml"] = (
        f'<styleSheet xmlns="{MAIN}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" '
        'applyNumberFormat="1"/></cellXfs></styleSheet>'
    )
    parts["_rels/.rels"] = (
        f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" Type="{OFFICE}/officeDocument" '
        'Target="xl/workbook.xml"/></Relationships>'
    )
    parts["[Content_Types].xml"] = (
        f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" '
        f'ContentType="application/xml"/>{types}</Types>'
    )
    return zipped({name: part.replace('"></row>', '"/>') for name, part in parts.items()})


def ods(sheets):
    def cell(value):
        if value is None or value != value:
            return "<table:table-cell/>"
        if isinstance(value, datetime.date):
            return f'<table:table-cell office:value-type="date" office:date-value="{value.isoformat()}"/>'
        if isinstance(value, str):
            return f'<table:table-cell office:value-type="string"><text:p>{escape(value)}</text:p></table:table-cell>'
        return f'<table:table-cell office:value-type="float" office:value="{value!r}"/>'

    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )

    def table(name, rows):
        lines = "".join(f"<table:table-row>{''.join(map(cell, row))}</table:table-row>" for row in rows)
        return f'<table:table table:name="{name}">{lines}</table:table>'

    tables = "".join(table(name, rows) for name, rows in sheets.items())
    content = (
        "<office:document-content "
        f"{spaces}><office:body><office:spreadsheet>{tables}</office:spreadsheet></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    manifest = (
        "<manifest:manifest "
        'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry '
        f'manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
    )
    return zipped({"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest})


def compound(*names):
    """Returns a compound file (Office before 2007, or encrypted) with a stream of each name."""
    end, streams = 0xFFFFFFFE, [b"\0" * 4096 for _ in names]
    fat = [at + 1 if (at + 1) % 8 else end for at in range(8 * len(names))]
    entries = b""
    for place, name in enumerate(("Root Entry", *names)):
        kind, start, size, child = (2, 8 * (place - 1), 4096, 0xFFFFFFFF) if place else (5, end, 0, 1)
        after = place + 1 if 0 < place < len(names) else 0xFFFFFFFF
        letters = name.encode("utf-16-le") + b"\0\0"
        entries += letters.ljust(64, b"\0") + struct.pack(
            "<HBBIII16sIQQIQ", len(letters), kind, 1, 0xFFFFFFFF, after, child, b"", 0, 0, 0, start, size
        )
    fat += [end, 0xFFFFFFFD]
    head = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + b"\0" * 16
        + struct.pack(
            "<HHHHH6xIIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, len(fat) - 2, 0, 4096, end, 0, end, 0, len(fat) - 1
        )
    )
    return (
        head.ljust(512, b"\xff")
        + b"".join(streams)
        + entries.ljust(512, b"\0")
        + struct.pack(f"<{len(fat)}I", *fat).ljust(512, b"\xff")
    )


def in_cells(frame):
    """Returns the names and rows of ``frame`` as cells that a person would type; whole days become dates."""
    return [
        list(frame.columns),
        *([None if cell != cell else cell for cell in row] for row in frame.itertuples(index=False)),
    ]


def feather(frame):
    out = io.BytesIO()
    frame.to_feather(out)
    return out.getvalue()


@pytest.mark.parametrize("fewest", [1, 2])
def test_a_small_sheet_before_the_table_is_passed_over(fewest):
    rows = [["a", "b"], *([number, number % 3] for number in range(9))]
    book = xlsx({"Cover": [["Report", "2024"]], "Data": rows})
    table = read_table(book, fewest=fewest)
    assert (list(table.frame), len(table.frame), [question.options for question in table.questions]) == (
        ["a", "b"],
        9,
        [("Data", "Cover")],
    )


WRITERS = {
    "parquet": lambda frame: frame.to_parquet(index=False),
    "feather": feather,
    "json lines": lambda frame: (
        frame.astype({"day": str}).to_json(orient="records", lines=True, double_precision=15).encode()
    ),
    "json": lambda frame: frame.astype({"day": str}).to_json(orient="records", double_precision=15).encode(),
    "xlsx": lambda frame: xlsx({"Sheet1": in_cells(frame)}),
    "ods": lambda frame: ods({"Sheet1": in_cells(frame)}),
}
CHOICES = {"size": "number", "count": "number", "colour": "category", "day": "date", "note": "category"}


def made(rows=60, seed=3):
    """Returns a table with missing cells, separators within cells, decimals of full precision, and days before 1970."""
    rng = np.random.default_rng(seed)
    words = ["plain", "ä ß", "a;b", "a,b", "it's", 'say "so"', "<b>&", "#1", "=x", "+1 a"]
    return pd.DataFrame(
        {
            "size": np.where(rng.random(rows) < 0.2, np.nan, rng.normal(0, 1e5, rows).round(6)),
            "count": rng.integers(-(10**9), 10**9, rows),
            "colour": rng.choice(np.array(["red", "green", None], dtype=object), rows),
            "day": [
                datetime.date(1950, 1, 1) + datetime.timedelta(int(days)) for days in rng.integers(0, 40_000, rows)
            ],
            "note": rng.choice(words, rows),
        }
    )


@pytest.fixture(scope="module")
def expected():
    as_text = ReadingChoices(header=True, delimiter=",", encoding="utf-8", kinds=tuple(CHOICES.items()))
    return read_table(made().to_csv(index=False).encode(), as_text).frame


@pytest.mark.parametrize("write", [xlsx, ods])
@pytest.mark.parametrize(("top", "left"), [(0, 1), (1, 0), (2, 3)])
def test_a_sheet_may_start_in_any_cell(write, top, left, expected):
    rows = [*[[]] * top, *([None] * left + row for row in in_cells(made()))]
    found = read_table(write({"Sheet1": rows}), ReadingChoices(header=True, kinds=tuple(CHOICES.items()))).frame
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("area", ["A1:A3", "A1:B9"])
def test_a_merged_area_beside_a_table_takes_no_cells(area):
    rows = [[None] * 4 + row for row in (["a", "b", "y"], *([number, "z", number % 2] for number in range(9)))]
    frame = read_table(xlsx({"S": rows}, merged=[area])).frame
    assert (list(frame), frame["a"].tolist()) == (["a", "b", "y"], [*range(9)])


def bomb():
    far = xlsx({"S": [["a", "b"], [1, 2]]})
    with zipfile.ZipFile(io.BytesIO(far)) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    parts["xl/worksheets/sheet1.xml"] = (
        parts["xl/worksheets/sheet1.xml"].replace('r="B2"', 'r="XFD1048576"').replace('r="2"', 'r="1048576"')
    )
    return zipped(parts)


def charts_only():
    with zipfile.ZipFile(io.BytesIO(xlsx({"Chart1": []}))) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    rels = "xl/_rels/workbook.xml.rels"
    return zipped({**parts, rels: parts[rels].replace("/worksheet", "/chartsheet", 1)})


BOMB = xlsx({"S": [["word" * 1_000_000, "b"], [1, 2]]})


def test_cancelling_ends_the_process_that_opens_the_workbook(tmp_path):
    parts = zipfile.ZipFile(io.BytesIO(xlsx({"one": [["a", "y"]]})))
    book = zipped(
        {name: parts.read(name) for name in parts.namelist() if "sheet1" not in name}
        | {
            "xl/worksheets/sheet1.xml": "<worksheet "
            f'xmlns="{MAIN}"><sheetData>{"<row><c><v>1</v></c></row>" * 5_000_000}</sheetData></worksheet>'
        }
    )  # opening it takes seconds
    reading = ReadingProcess(tmp_path, book, "t.xlsx", ReadingChoices(), limit_bytes=1_000_000_000)
    while not (children := psutil.Process(reading._process.pid).children()):
        time.sleep(0.02)
    (opening,) = children
    reading.cancel()
    assert psutil.wait_procs([opening], timeout=2)[1] == [] or opening.status() == psutil.STATUS_ZOMBIE
    assert not list((tmp_path / "datasets").iterdir())


def test_a_missing_package_for_workbooks_is_reported_with_its_install_command(monkeypatch, tmp_path):
    (tmp_path / "book").write_bytes(xlsx({"S": [["a"]]}))
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(TableError, match=r"pip install 'tabtune-dashboard\[excel\]'"):
        workbook.write_sheet({"path": tmp_path / "book", "sheet": None, "target": tmp_path / "text.csv", "limit": 1000})


@pytest.mark.parametrize("lines", [True, False])
def test_json_entries_that_differ_only_in_capitals_are_two_columns(lines):
    frame = pd.DataFrame({"b_1": ["x", "y"] * 10, "temp": range(20), "Temp": range(100, 120), "~/": ["u"] * 20})
    read = read_table(frame.to_json(orient="records", lines=lines).encode()).frame
    as_read = frame.astype({"temp": float, "Temp": float}).rename(columns={"Temp": "Temp_1"})
    pd.testing.assert_frame_equal(read.astype(str), as_read.astype(str))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pd.DataFrame({"size": range(20), "size_1": range(20)}).to_json().encode(), "the whole file is one object"),
        (b'{"a":1,"a":2,"A":3}\n{"a":4,"a":5,"A":6}\n', 'duplicate key "a"'),
    ],
)
def test_json_with_names_that_are_nearly_alike_is_refused_like_any_other(content, reason):
    with pytest.raises(TableError, match=reason):
        read_table(content, fewest=1)
