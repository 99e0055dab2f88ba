"""Writes one sheet of a workbook (xlsx, xlsb, xls or ods) as CSV.

First step of reading, beside ``decoding``. A sheet may claim billions of cells, which crashes the process that opens
it, so a separate process with a memory limit does. Titles, header lines and blank rows are kept; the next steps of
reading handle them.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, fromstring

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.progress import Job, unpacked
from tabtune_core.errors import LayoutError, TableError
from tabtune_core.wording import counted

INSTALL = "pip install 'tabtune-dashboard[excel]'"
OLE = b"\xd0\xcf\x11\xe0"
"""First bytes of encrypted workbooks and of those that Office before 2007 wrote."""
MEMORY_BYTES, MEMORY_FACTOR = 500_000_000, 4
"""Memory limit of the process: this many bytes, plus this factor times the size limit of a file."""
MOST_WHOLE = 1e15
"""Below this size, whole numbers (stored as doubles) are written without a decimal point."""
NAMED = 20
TOLD = re.compile(
    rb"""<(?:\w+:)?(row|col) (?=[^>]*\bhidden=["'](?:1|true)["'])([^>]*)>|<(?:\w+:)?c (?=[^>]*\bt=["']e["'])([^>]*)>"""
)
"""Tags of hidden rows and columns, and of cells with an error, in a sheet of an xlsx."""
DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, NotImplementedError, KeyError, ValueError, ParseError)
FEWEST_COLUMNS, NEEDED = 2, "A table needs a column to predict and at least one to predict from."
Said = tuple[tuple[Finding, ...], tuple[Question, ...]]


def is_workbook(path: Path, head: bytes) -> bool:
    """Whether a file is a workbook, by its content."""
    if not head.startswith(b"PK"):
        return head.startswith(OLE)
    with suppress(zipfile.BadZipFile, OSError, NotImplementedError, ValueError), zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        return "[Content_Types].xml" in names or {"mimetype", "content.xml"} <= names
    return False


def sheet_as_text(path: Path, target: Path, job: Job) -> Said:
    """Writes a sheet to ``target`` with every cell in quotes: the chosen one, or the first that may be a table and is
    not hidden.

    Raises TableError where the workbook is encrypted, damaged or unpacks beyond the limit, and a LayoutError that lists
    the sheets where the chosen one does not exist or is empty.
    """
    if not written_before_2007(path):
        check_unpacked(path, job)
    job.tell("Opening the workbook", 0, 0)
    limits = {"limit_bytes": job.limit_bytes, "fewest": job.fewest}
    asked = json.dumps({"path": str(path), "sheet": job.choices.sheet, "target": str(target), **limits})
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):  # the process ended at once
            print(asked, file=process.stdin, flush=True)
        answer = process.stdout.read()
    try:
        said: dict[str, Any] = json.loads(answer)
    except ValueError as error:
        raise TableError(
            "The workbook needs more memory than reading may take: too many cells, or one that was written by "
            "mistake far from the others."
            " Copy the table alone into a new workbook, or save it as CSV."
        ) from error
    if "failed" in said:
        raise OSError(*said["failed"])
    if "error" in said:
        raise (LayoutError if said["layout"] else TableError)(said["error"])
    findings, questions = found(said["sheet"], said["sheets"], said["hidden"], chosen=job.choices.sheet is not None)
    if said["unsaved"]:
        message = (
            f"Cells such as {said['unsaved']} hold formulas without a saved result: read as missing. Open the "
            "file in Excel or "
        )
        findings += (Finding("warning", "no-results", f"{message}LibreOffice, save it, and add it again."),)
    if said["unseen"]:
        message = (
            f"The sheet hides {said['unseen']}, by a filter or by hand. They were read like the others. To "
            "leave them out, "
        )
        findings += (
            Finding("info", "hidden-cells", f"{message}copy the visible cells into a new workbook, and add that."),
        )
    if said["errors"]:
        message = f"{said['errors']} with an error in place of a result, such as #DIV/0! or #N/A: read as missing."
        findings += (
            Finding("warning", "formula-errors", f"The sheet has {message} Correct the formulas if they matter."),
        )
    return findings, questions


def found(sheet: str, sheets: list[str], hidden: list[str], *, chosen: bool) -> Said:
    """Reports which sheet was read, and asks for another choice if the workbook has several."""
    if len(sheets) == 1:
        return (), ()
    message = f"The workbook has {listed(sheets, hidden)}. {shorten(sheet)!r} was read."
    finding = Finding("info", "sheets", message)
    options = (sheet, *(other for other in sheets if other != sheet))
    return (finding,), () if chosen else (
        Question("sheet", f"{message} Choose the one that holds the table.", "sheet", options),
    )


def listed(sheets: list[str], hidden: list[str]) -> str:
    """Lists the sheets of a workbook for a message."""
    names = [f"{shorten(name)!r}{' (hidden)' if name in hidden else ''}" for name in sheets[:NAMED]]
    return f"{len(sheets)} sheet{'s' * (len(sheets) > 1)}: {', '.join(names)}{', ...' * (len(sheets) > NAMED)}"


def check_unpacked(path: Path, job: Job) -> None:
    """Raises TableError where the unpacked parts of the file exceed the limit; they are counted, since declared sizes
    may be false.
    """
    too_large = "The workbook unpacks to more than {:,} bytes, which is the limit. Save the table as CSV."
    try:
        with zipfile.ZipFile(path) as archive:
            deque(unpacked(map(archive.open, archive.infolist()), too_large, job), maxlen=0)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise TableError(
            f"The workbook is damaged ({error}). Open it in the program that wrote it, and save it again."
        ) from error


def main() -> None:
    """Runs in the process: reads its task from the first line of its input, writes the result as JSON, and ends when
    its input ends.
    """
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    _limit_memory(MEMORY_BYTES + MEMORY_FACTOR * asked["limit_bytes"])
    try:
        said = write_sheet(
            Path(asked["path"]), asked["sheet"], Path(asked["target"]), asked["limit_bytes"], asked["fewest"]
        )
    except TableError as error:
        said = {"error": str(error), "layout": isinstance(error, LayoutError)}
    except OSError as error:
        said = {"failed": [error.errno, error.strerror]}
    sys.stdout.write(json.dumps(said))
    sys.stdout.flush()
    os._exit(0)  # the thread that waits for input would abort a normal exit


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(1)


def _limit_memory(most_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # on Windows, or where a lower limit applies already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def write_sheet(path: Path, sheet: str | None, target: Path, limit_bytes: int, fewest: int) -> dict[str, Any]:
    """Writes the sheet, and returns its name, all sheet names, the hidden ones, and what is to be told of its cells."""
    try:
        import python_calamine as calamine
    except ImportError as error:
        raise TableError(
            f"Reading a workbook needs a package that is not installed. Run: {INSTALL}. Or save the sheet as CSV."
        ) from error
    try:
        named = target.with_suffix(suffix_of(path))  # calamine reports encryption only for a file with a suffix
        shutil.copyfile(path, named)
        with closing(calamine.load_workbook(named)) as book:
            known = [one for one in book.sheets_metadata if one.typ == calamine.SheetTypeEnum.WorkSheet]
            hidden = [one.name for one in known if one.visible != calamine.SheetVisibleEnum.Visible]
            names = [one.name for one in known]
            tried = (
                [name for name in names if name not in hidden] or names
                if sheet is None
                else [name for name in names if name == sheet]
            )
            if not names:
                raise LayoutError(
                    "The workbook has charts only, and no sheet with cells. Save the table in a sheet, or as CSV."
                )
            if not tried:
                raise LayoutError(
                    f"The workbook has no sheet {shorten(sheet or '')!r}. It has {listed(names, hidden)}."
                )
            name, opened = first_table(book, tried, fewest)
            if opened.height:
                if opened.width < FEWEST_COLUMNS:
                    raise LayoutError(
                        f"The sheet {shorten(name)!r} has one column. {NEEDED} The workbook has "
                        f"{listed(names, hidden)}."
                    )
                write_rows(opened, target, limit_bytes)
                alone = sheet is None and filled_sheets(path, book, names) == 1
                part = part_of(path, name)
                told = {
                    "unsaved": unsaved_formula(path, part),
                    **odd_cells(path, part, opened.start[1] + 1, opened.end[1] + 1),
                }
                return {"sheet": name, "sheets": [name] if alone else names, "hidden": hidden, **told}
    except calamine.PasswordError as error:
        raise TableError(
            "The workbook is encrypted with a password. Open it in the program that wrote it, save it without one, "
            "and add that file."
        ) from error
    except (calamine.CalamineError, ValueError, MemoryError) as error:
        if isinstance(error, TableError):
            raise
        reason = str(error).strip() or type(error).__name__
        raise TableError(
            f"The workbook cannot be read ({shorten(reason, 120)}). It may be damaged, or another document: save the "
            "table as CSV."
        ) from error
    held = (
        f"The sheet {shorten(tried[0])!r} is empty." if len(tried) == 1 else "All sheets that are not hidden are empty."
    )
    raise LayoutError(f"{held} The workbook has {listed(names, hidden)}.")


def first_table(book: Any, names: list[str], fewest: int) -> tuple[str, Any]:
    """Returns the name and the sheet of the first one with two columns, a header and ``fewest`` rows; else the first
    that is not empty, or the first.
    """
    filled = ""
    for name in names:
        opened = book.get_sheet_by_name(name)
        if opened.width >= FEWEST_COLUMNS and opened.height > fewest:
            return name, opened
        filled = filled or (name if opened.height else "")
    return filled or names[0], book.get_sheet_by_name(filled or names[0])


def written_before_2007(path: Path) -> bool:
    """Whether a workbook starts as an OLE file; such a file may hold a zip archive, such as the theme that Excel for
    Mac adds.
    """
    with path.open("rb") as file:
        return file.read(len(OLE)) == OLE


def suffix_of(path: Path) -> str:
    """Returns the file suffix for the format of a workbook."""
    if written_before_2007(path):
        return ".xlsx" if "EncryptedPackage".encode("utf-16-le") in path.read_bytes() else ".xls"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return ".ods" if "content.xml" in names else ".xlsb" if "xl/workbook.bin" in names else ".xlsx"


def filled_sheets(path: Path, book: Any, names: list[str]) -> int:
    """Counts the sheets with cells. Those of an xlsx are not opened for this, since their cells may be far apart."""
    if suffix_of(path) in (".xls", ".ods"):
        return sum(book.get_sheet_by_name(name).height > 0 for name in names)
    with zipfile.ZipFile(path) as archive:
        sheets = [part for part in archive.namelist() if re.fullmatch(r"xl/worksheets/[^/]+\.xml", part)]
        return sum(
            re.search(rb"<sheetData ?(/>|></sheetData>)", archive.open(part).read(1 << 16)) is None for part in sheets
        )


def part_of(path: Path, sheet: str) -> str:
    """Returns the name of the part of an xlsx that holds a sheet; empty if there is none."""
    with suppress(*DAMAGED), zipfile.ZipFile(path) as archive:
        known = {one.get("name"): one for one in fromstring(archive.read("xl/workbook.xml")).iterfind(".//{*}sheet")}
        (place,) = (value for name, value in known[sheet].items() if name.endswith("}id"))
        parts = {one.get("Id"): one.get("Target", "") for one in fromstring(archive.read("xl/_rels/workbook.xml.rels"))}
        return parts[place].removeprefix("/xl/").removeprefix("xl/")
    return ""


def unsaved_formula(path: Path, part: str) -> str:
    """Returns a cell near the start of a sheet that holds a formula without a saved result."""
    with suppress(*DAMAGED), zipfile.ZipFile(path) as archive:
        text = archive.open(f"xl/{part}").read(1 << 16)
        cell = re.search(rb'<c r="(\w+)"(?: s="\d+")?><f>[^<]*</f>(<v ?/>|<v></v>)?</c>', text)
        return cell[1].decode() if cell else ""
    return ""


def odd_cells(path: Path, part: str, left: int, right: int) -> dict[str, str]:
    """Counts, in a sheet of an xlsx, hidden rows with cells and hidden ones of the columns from ``left`` to ``right``,
    counted from 1 ("unseen"), and cells with an error ("errors"): "3 rows and 1 column", "2 cells, the first in B7,".
    """
    rows, columns, errors, first, rest = 0, 0, 0, "", b""
    with suppress(*DAMAGED), zipfile.ZipFile(path) as archive, archive.open(f"xl/{part}") as stream:
        while block := stream.read(1 << 20):
            text, start, tag = (rest + block).rpartition(b"<")
            rest = start + tag
            for kind, hidden, error in TOLD.findall(text):
                said = dict(re.findall(rb"""(\w+)=["']([^"']*)""", hidden or error))
                if not kind:
                    errors, first = (
                        errors + 1,
                        first or (f", the first in {said[b'r'].decode()}," if b"r" in said else ""),
                    )
                elif kind == b"row":
                    rows += not hidden.endswith(b"/")
                else:
                    columns += max(min(int(said[b"max"]), right) - max(int(said[b"min"]), left) + 1, 0)
    unseen = " and ".join(counted(count, name) for count, name in ((rows, "row"), (columns, "column")) if count)
    return {"unseen": unseen, "errors": counted(errors, "cell") + first if errors else ""}


def write_rows(sheet: Any, target: Path, limit_bytes: int) -> None:
    """Writes the rows and columns from the first non-empty ones on."""
    top, width = sheet.start[0], sheet.width  # rows start at the first column that is not empty
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for number, row in enumerate(spread(sheet)):
            if number < top:
                continue
            writer.writerow([as_text(cell) for cell in row[:width]])
            if out.tell() > limit_bytes:
                raise TableError(
                    f"The cells of the sheet take more than {limit_bytes:,} bytes, which is the limit. Save the "
                    "table as CSV."
                )


def spread(sheet: Any) -> Iterator[list[Any]]:
    """Yields the rows of a sheet with the value of a merged area in each of its cells, so that a merged name heads
    several columns.

    A single value in a row is a title and is not repeated. The first other row is the header, whose names are not
    repeated in rows below.
    """
    merged: dict[int, list[tuple[int, int, int, int]]] = {}
    first = sheet.start[1]
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or ():
        for row in range(top, min(bottom, sheet.total_height) + 1):
            merged.setdefault(row, []).append((top, max(left - first, 0), bottom, max(right - first, -1)))
    held: dict[tuple[int, int], Any] = {}
    names: int | None = None
    for number, row in enumerate(sheet.iter_rows()):
        areas = merged.get(number, ())
        if sum(cell != "" for cell in row) + sum(top < number for top, *_ in areas) > 1:
            names = number if names is None else names
            for top, left, _, right in areas:
                value = held.setdefault((top, left), row[left] if left < len(row) else "")
                if top == number or top != names:
                    row[left : right + 1] = [value] * (min(right + 1, len(row)) - left)
        yield row


def as_text(cell: Any) -> str:
    """Returns a cell as text: whole numbers without a decimal point, dates without a time, durations as "90 s"."""
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < MOST_WHOLE else repr(cell)
    if isinstance(cell, timedelta):
        return f"{cell.total_seconds():.15g} s"
    return str(cell)


if __name__ == "__main__":
    main()
