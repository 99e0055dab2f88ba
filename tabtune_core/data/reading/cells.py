"""Names and tidies the columns and rows of a table of text cells in DuckDB.

Third step of reading, after ``text_rows`` or ``typed_rows`` has filled ``cells``; every cell is text or missing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb

from tabtune_core.data.findings import Finding
from tabtune_core.data.reading.names import UNSEEN, column_name
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sql import Source, count_rows, counts, unplanned
from tabtune_core.errors import LayoutError, TableError
from tabtune_core.wording import counted

DASH = "-"
"""Means missing, except in columns that also hold "+"."""
USUAL_MARKS = ("", "na", "n/a", "#n/a", "nan", "null", "<na>", r"\n", "?", DASH, ".", "..")
EXACT = {"na": "NA|na", "nan": "NaN|NAN|nan", "null": "NULL|null"}
"""How marks are written that are also names: Na is sodium, Nan a province, Null a family."""
FEWEST = 2
"""Fewest rows and columns of a table to train on; rows to predict may have one of each."""
MAX_COLUMNS = 5_000
LONGEST_NAME = 500
"""Letters of a column's name; a full survey question has fewer."""
BLANK = "' \t\n\r\u00a0'"


@dataclass(frozen=True, slots=True)
class Cells:
    """A table ``cells`` in the connection, with the columns c0, c1, ..."""

    names: tuple[str, ...]
    """One per column, unique and not empty."""
    rows: int
    header: tuple[str | None, ...]
    """The header line; empty if the file had none."""
    findings: tuple[Finding, ...]
    source: Source | None = None
    """The rows of the text file, with missing cells as they are written."""


def cleaned(cell: str) -> str:
    """Returns SQL for a trimmed cell, NULL if missing; it is short, as a wide table repeats it."""
    return f"CASE WHEN NOT regexp_full_match({cell}, $missing) THEN trim({cell}, {BLANK}) END"


def missing_pattern(extra: Sequence[str]) -> dict[str, str]:
    """Returns the parameter of ``cleaned``, a pattern (RE2) of missing cells; "-" is decided by column later."""
    marks = [f"(?-i:{EXACT[mark]})" if mark in EXACT else re.escape(mark) for mark in USUAL_MARKS if mark != DASH]
    unseen = f"({UNSEEN.pattern})*"  # letters that a question about a mark does not show
    words = [word for mark in extra for word in (EXACT[mark].split("|") if mark in EXACT else [mark.strip()]) if word]
    for word in dict.fromkeys(words):
        marks.append(f"(?{'-' * (word.lower() in EXACT)}i:{unseen}{unseen.join(map(re.escape, word))}{unseen})")
    return {"missing": rf"(?i)[ \t\n\r\x{{a0}}]*({'|'.join(marks)})[ \t\n\r\x{{a0}}]*"}


def check_width(width: int, fewest: int) -> None:
    """Raises TableError for a table with fewer than ``fewest`` or more than MAX_COLUMNS columns."""
    if width < fewest:
        found = "one column" if width else "no column"
        raise TableError(f"The table has {found}. It needs a column to predict and at least one to predict from.")
    if width > MAX_COLUMNS:
        raise TableError(
            f"The table has {width:,} columns; at most {MAX_COLUMNS:,} are read. Leave out columns that cannot matter."
        )


def tidied(
    job: Job, names: tuple[str, ...], header: tuple[str | None, ...], findings: list[Finding], short_header: int = 0
) -> Cells:
    """Drops blank rows and the empty last columns from trailing separators.

    Raises TableError for a table with too few rows.
    """
    connection, fewest, given = job.connection, job.fewest, len(names)
    least = given - max(short_header, 1) if fewest > 1 or header else given
    while len(names) > max(least, 1) and names[-1] == f"column_{len(names)}":
        if counts(connection, f"count(c{len(names) - 1})") != (0,):
            break
        findings = [finding for finding in findings if finding.column != names[-1]]
        names, header = names[:-1], header[:-1]
    check_width(len(names), fewest)
    before = count_rows(connection)
    everything = ", ".join(f"c{place}" for place in range(len(names)))
    if fewest > 1:  # with 1, these are rows to predict, whose order matters
        with unplanned(connection):
            connection.execute(f"DELETE FROM cells WHERE coalesce({everything}) IS NULL")
    rows = count_rows(connection)
    if rows < before:
        findings.append(Finding("info", "left-out", f"{counted(before - rows, 'row')} without any value: left out."))
    if rows == 0:
        shown = ", ".join(names)[:80]
        raise TableError(f"The table has a header ({shown}) and no rows. Check that the export finished.")
    if rows < fewest:
        raise TableError("The table has one row. At least two are needed to read it, and more to train on it.")
    return Cells(names, rows, header, tuple(findings))


def without_last(connection: duckdb.DuckDBPyConnection, cells: Cells, number: int) -> Cells:
    """Removes the last ``number`` rows."""
    if not 0 < number <= cells.rows - FEWEST:
        raise LayoutError(
            f"{number:,} of {cells.rows:,} rows at the end cannot be left out: at least {FEWEST} must stay. Leave "
            "out fewer."
        )
    with unplanned(connection):
        connection.execute(
            f"DELETE FROM cells WHERE rowid IN (SELECT rowid FROM cells ORDER BY rowid DESC LIMIT {number})"
        )
    said = Finding("info", "left-out", f"{counted(number, 'row')} at the end: left out, as asked.")
    return replace(cells, rows=cells.rows - number, findings=(*cells.findings, said))


def without_copies(connection: duckdb.DuckDBPyConnection, cells: Cells) -> Cells:
    """Keeps only the first of rows that are equal in every column."""
    alike = f"hash({', '.join(f'c{place}' for place in range(len(cells.names)))})"
    with unplanned(connection):
        connection.execute(f"DELETE FROM cells WHERE rowid NOT IN (SELECT min(rowid) FROM cells GROUP BY {alike})")
    rows = count_rows(connection)
    if rows == 1:
        raise TableError("All rows of the table are copies of one. At least two different ones are needed to read it.")
    message = f"{counted(cells.rows - rows, 'row')} equal to an earlier one: left out, as asked."
    return replace(cells, rows=rows, findings=(*cells.findings, Finding("info", "left-out", message)))


def tidy_names(given: tuple[str | None, ...], *, told: bool) -> tuple[tuple[str, ...], list[Finding]]:
    """Makes names unique and not empty.

    ``told`` says whether the file has names, so that a changed name is a finding.
    """
    findings: list[Finding] = []
    wanted = [column_name(name or "")[:LONGEST_NAME] for name in given]
    names, theirs, tried = dict[str, None](), set(wanted), dict[str, int]()
    for place, name in enumerate(wanted):
        base = name or f"column_{place + 1}"
        new, count = base, tried.get(base, 1)  # goes on counting, so that thousands of equal names stay fast
        while new in names or (count > 1 and new in theirs):
            count += 1
            new = f"{base}_{count}"
        tried[base], names[new] = count, None
        if told and not name:
            message = f"Column {place + 1} has no name; it is called {new!r} here."
            findings.append(Finding("warning", "names", message, new))
        elif told and new != name:
            message = f"Two columns are called {name!r}; the later is called {new!r} here."
            findings.append(Finding("warning", "names", message, new))
    return tuple(names), findings
