"""Writes one sheet of a workbook (xlsx, xlsb, xls or ods) as CSV, which the next steps of reading take like any other.

A sheet may claim billions of cells, which crashes the process that opens it: a separate one with a memory limit does.
"""

import csv
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from tabtune_core.data.findings import Question, listed
from tabtune_core.data.reading.progress import Job
from tabtune_core.errors import LayoutError, TableError

MEMORY_BYTES, MEMORY_FACTOR = 500_000_000, 4
"""Memory limit of the process: this many bytes, plus this factor times the size limit of a file."""
FAR = "Copy the table alone into a new workbook, or save it as CSV."


def sheet_as_text(path: Path, target: Path, job: Job) -> tuple[Question, ...]:
    """Writes the chosen sheet, or the first visible one that may be a table, with every cell in quotes.

    Raises TableError where the workbook cannot be read, and a LayoutError that lists the sheets for another choice.
    """
    job.tell("Opening the workbook", 0, 0)
    pipe, command = subprocess.PIPE, [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as opening:
        assert opening.stdin and opening.stdout
        pickle.dump((path, job.choices.sheet, target, job.limit_bytes, job.fewest), opening.stdin)
        opening.stdin.flush()  # and open: the process ends with its input, so also if this one is killed
        written = opening.stdout.read()
    if not written:
        why = "The workbook needs more memory than reading may take: too many cells, or one far from the others"
        raise TableError(f"{why}. {FAR}")
    answer = pickle.loads(written)
    if isinstance(answer, Exception):
        raise answer
    sheet, sheets = answer
    if len(sheets) == 1 or job.choices.sheet:
        return ()
    message = f"The workbook has {len(sheets)} sheets: {listed(sheets, 20)}. {listed([sheet])} was read."
    options = (sheet, *(other for other in sheets if other != sheet))
    return (Question("sheet", f"{message} Choose the one that holds the table.", options),)


def main() -> None:
    """Runs in the process: writes the sheet that the input asks for, and its name and those of all to the output."""
    path, sheet, target, limit_bytes, fewest = pickle.load(sys.stdin.buffer)
    threading.Thread(target=lambda: os.read(0, 1) or os._exit(1), daemon=True).start()
    with suppress(ImportError, ValueError, OSError):  # on Windows, or where a lower limit applies already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES + MEMORY_FACTOR * limit_bytes,) * 2)
    try:
        pickle.dump(write_sheet(path, sheet, target, limit_bytes, fewest), sys.stdout.buffer)
    except TableError as error:
        pickle.dump(error, sys.stdout.buffer)
    sys.stdout.flush()
    os._exit(0)  # the thread that waits for input would hold up a normal exit


def write_sheet(path: Path, sheet: str | None, target: Path, limit_bytes: int, fewest: int) -> tuple[str, list[str]]:
    """Writes the sheet; returns its name and those of all sheets that are not hidden."""
    try:
        import python_calamine as calamine
    except ImportError as error:
        install = "pip install 'tabtune-dashboard[excel]'"
        raise TableError(f"Reading a workbook needs python-calamine. Run: {install}. Or save it as CSV.") from error
    try:
        with path.open("rb") as file, calamine.load_workbook(file) as book:
            tables = [one for one in book.sheets_metadata if one.typ == calamine.SheetTypeEnum.WorkSheet]
            names = [one.name for one in tables if one.visible == calamine.SheetVisibleEnum.Visible]
            names = names or [one.name for one in tables]
            if sheet is not None and sheet not in [one.name for one in tables]:
                raise LayoutError(f"The workbook has no sheet {listed([sheet])}. It has: {listed(names, 20)}.")
            name, rows = "", list[list[Any]]()
            for name in [sheet] if sheet else names:
                rows = book.get_sheet_by_name(name).to_python()
                if rows and len(rows[0]) > 1 and len(rows) > fewest:
                    break
    except calamine.PasswordError as error:
        raise TableError("The workbook is encrypted with a password. Save it without one.") from error
    except (calamine.CalamineError, MemoryError) as error:
        raise TableError(f"The workbook cannot be read ({str(error)[:120] or 'memory'}). {FAR}") from error
    if not rows:
        raise LayoutError(f"The sheet that was read is empty. The workbook has: {listed(names, 20)}.")
    with target.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for row in rows:
            writer.writerow(map(as_text, row))
            if out.tell() > limit_bytes:
                raise TableError(f"The cells take more than {limit_bytes:,} bytes, which is the limit. {FAR}")
    return name, names


def as_text(cell: Any) -> str:
    """Returns a cell as text: whole numbers without a decimal point, dates without a time, durations as "90 s"."""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, timedelta):
        return f"{cell.total_seconds():.15g} s"
    return str(cell).upper() if isinstance(cell, bool) else str(cell)


if __name__ == "__main__":
    main()
