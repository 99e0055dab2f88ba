"""Writes one sheet of a workbook (xlsx, xlsb, xls or ods) as CSV, which the next steps of reading take like any other.

A sheet may claim billions of cells, which crashes the process that opens it: a separate one with a memory limit does.
"""

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.progress import Job
from tabtune_core.errors import LayoutError, TableError

MEMORY_BYTES, MEMORY_FACTOR = 500_000_000, 4
"""Memory limit of the process: this many bytes, plus this factor times the size limit of a file."""
MOST_WHOLE = 1e15
"""Below this size, whole numbers (stored as doubles) are written without a decimal point."""
FAR = "Copy the table alone into a new workbook, or save it as CSV."


def sheet_as_text(path: Path, target: Path, job: Job) -> tuple[tuple[Finding, ...], tuple[Question, ...]]:
    """Writes the chosen sheet, or the first visible one that may be a table, with every cell in quotes.

    Raises TableError where the workbook cannot be read, and a LayoutError that lists the sheets for another choice.
    """
    job.tell("Opening the workbook", 0, 0)
    asked = {"path": str(path), "sheet": job.choices.sheet, "target": str(target), "limit": job.limit_bytes}
    task = json.dumps(asked | {"fewest": job.fewest})
    command = [sys.executable, "-m", __name__, task]
    # the process ends with its input, so also if this one is killed
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as opening:
        assert opening.stdout is not None
        written = opening.stdout.read()
    try:
        answer: dict[str, Any] = json.loads(written)
    except ValueError as error:
        message = "The workbook needs more memory than reading may take: too many cells, or one far from the others."
        raise TableError(f"{message} {FAR}") from error
    if "error" in answer:
        raise (LayoutError if answer["layout"] else TableError)(answer["error"])
    sheet, sheets = answer["sheet"], answer["sheets"]
    if len(sheets) == 1:
        return (), ()
    message = f"The workbook has {listed(sheets)}. {shorten(sheet)!r} was read."
    options = (sheet, *(other for other in sheets if other != sheet))
    question = Question("sheet", f"{message} Choose the one that holds the table.", "sheet", options)
    return (Finding("info", "sheets", message),), () if job.choices.sheet else (question,)


def listed(sheets: list[str]) -> str:
    """Lists the sheets of a workbook for a message."""
    return f"{len(sheets)} sheet{'s' * (len(sheets) > 1)}: {', '.join(repr(shorten(name)) for name in sheets[:20])}"


def main() -> None:
    """Runs in the process: writes the sheet that the first argument asks for, and its names as JSON to the output."""
    asked = json.loads(sys.argv[1])
    threading.Thread(target=_end_with_input, daemon=True).start()
    with suppress(ImportError, ValueError, OSError):  # on Windows, or where a lower limit applies already
        import resource

        most_bytes = MEMORY_BYTES + MEMORY_FACTOR * asked["limit"]
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    try:
        answer = write_sheet(asked)
    except TableError as error:
        answer = {"error": str(error), "layout": isinstance(error, LayoutError)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # the thread that waits for input would hold up a normal exit


def _end_with_input() -> None:
    os.read(0, 1)
    os._exit(1)


def write_sheet(asked: dict[str, Any]) -> dict[str, Any]:
    """Writes the sheet; returns its name and those of all sheets that are not hidden."""
    try:
        import python_calamine as calamine
    except ImportError as error:
        install = "pip install 'tabtune-dashboard[excel]'"
        raise TableError(f"Reading a workbook needs python-calamine. Run: {install}. Or save it as CSV.") from error
    try:
        with open(asked["path"], "rb") as file, calamine.load_workbook(file) as book:
            known = [one for one in book.sheets_metadata if one.typ == calamine.SheetTypeEnum.WorkSheet]
            everything = [one.name for one in known]
            names = [one.name for one in known if one.visible == calamine.SheetVisibleEnum.Visible] or everything
            if (one := asked["sheet"] is not None) and asked["sheet"] not in everything:
                raise LayoutError(f"The workbook has no sheet {shorten(asked['sheet'])!r}. It has {listed(names)}.")
            sheets = ((name, book.get_sheet_by_name(name).to_python()) for name in [asked["sheet"]] * one or names)
            found = first_table(sheets, asked["fewest"])
    except calamine.PasswordError as error:
        raise TableError(
            "The workbook is encrypted with a password. Save it without one, and add that file."
        ) from error
    except (calamine.CalamineError, ValueError, MemoryError) as error:
        if isinstance(error, TableError):
            raise
        reason = shorten(str(error).strip() or type(error).__name__, 120)
        raise TableError(f"The workbook cannot be read ({reason}). Save the table as CSV.") from error
    if found is None:
        raise LayoutError(f"The sheet that was read is empty. The workbook has {listed(names)}.")
    name, rows = found
    with open(asked["target"], "w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in rows:
            writer.writerow(map(as_text, row))
            if out.tell() > asked["limit"]:
                raise TableError(f"The cells take more than {asked['limit']:,} bytes, which is the limit. {FAR}")
    return {"sheet": name, "sheets": names}


def first_table(sheets: Iterable[tuple[str, list[list[Any]]]], fewest: int) -> tuple[str, list[list[Any]]] | None:
    """Returns the first sheet that may be a table; where none is, the first that is not empty."""
    filled = None
    for name, rows in sheets:
        if rows and len(rows[0]) > 1 and len(rows) > fewest:
            return name, rows
        filled = filled or ((name, rows) if rows else None)
    return filled


def as_text(cell: Any) -> str:
    """Returns a cell as text: whole numbers without a decimal point, dates without a time, durations as "90 s"."""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < MOST_WHOLE else repr(cell)
    if isinstance(cell, timedelta):
        return f"{cell.total_seconds():.15g} s"
    return str(cell).upper() if isinstance(cell, bool) else str(cell)


if __name__ == "__main__":
    main()
