"""Names and tidies the columns and rows of a table of text cells in DuckDB.

Third step of reading, after ``text_rows`` or ``typed_rows`` has filled ``cells``; every cell is text or missing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tabtune_core.data.findings import MAX_ROWS, SET_ROWS, Finding
from tabtune_core.data.reading.names import column_name
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sql import Connection, count_rows, counts, first_row, unplanned
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


def cleaned(cell: str) -> str:
    """Returns SQL for a trimmed cell, NULL if missing; it is short, as a wide table repeats it."""
    return f"CASE WHEN NOT regexp_full_match({cell}, $missing) THEN trim({cell}, {BLANK}) END"


def missing_pattern(extra: Sequence[str]) -> dict[str, str]:
    """Returns the parameter of ``cleaned``, a pattern (RE2) of missing cells; "-" is decided by column later."""
    marks = [f"(?-i:{EXACT[mark]})" if mark in EXACT else re.escape(mark) for mark in USUAL_MARKS if mark != DASH]
    words = [word for mark in extra for word in (EXACT[mark].split("|") if mark in EXACT else [mark.strip()]) if word]
    marks += [f"(?{'-' * (word.lower() in EXACT)}i:{re.escape(word)})" for word in dict.fromkeys(words)]
    return {"missing": rf"(?i)[ \t\n\r\x{{a0}}]*({'|'.join(marks)})[ \t\n\r\x{{a0}}]*"}


def check_width(width: int, fewest: int) -> None:
    """Raises TableError for a table with fewer than ``fewest`` or more than MAX_COLUMNS columns."""
    if width < fewest:
        columns = "one column" if width else "no column"
        raise TableError(f"The table has {columns}. It needs a column to predict and at least one to predict from.")
    if width > MAX_COLUMNS:
        raise TableError(f"The table has {width:,} columns; at most {MAX_COLUMNS:,} are read. Leave some out.")


def tidied(
    job: Job, names: tuple[str, ...], header: tuple[str | None, ...], findings: list[Finding], short_header: int = 0
) -> Cells:
    """Drops blank rows and the empty last columns from trailing separators. Raises TableError for too few rows."""
    connection, fewest, given = job.connection, job.fewest, len(names)
    least = given - max(short_header, 1) if fewest > 1 or header else given
    while len(names) > max(least, 1) and names[-1] == f"column_{len(names)}":
        if counts(connection, f"count(c{len(names) - 1})") != (0,):
            break
        findings = [finding for finding in findings if finding.column != names[-1]]
        names, header = names[:-1], header[:-1]
    check_width(len(names), fewest)
    everything = ", ".join(f"c{place}" for place in range(len(names)))
    if fewest > 1:  # with 1, these are rows to predict, whose order matters
        findings = [*findings, *deleted(connection, f"coalesce({everything}) IS NULL", "without any value: left out.")]
    rows = count_rows(connection)
    if rows == 0:
        shown = ", ".join(names)[:80]
        raise TableError(f"The table has a header ({shown}) and no rows. Check that the export finished.")
    if rows < fewest:
        raise TableError("The table has one row. At least two are needed to read it, and more to train on it.")
    return Cells(names, rows, header, tuple(findings))


def without_rows(cells: Cells, job: Job) -> Cells:
    """Removes the rows that the person left out: the last ones, and all but the first of equal ones."""
    connection, number, findings = job.connection, job.choices.skip_last, [*cells.findings]
    if number and not 0 < number <= cells.rows - FEWEST:
        raise LayoutError(f"{number:,} of {cells.rows:,} rows cannot be left out: at least {FEWEST} must stay.")
    if number:
        last = f"rowid IN (SELECT rowid FROM cells ORDER BY rowid DESC LIMIT {number})"
        findings += deleted(connection, last, "at the end: left out, as asked.")
    if job.choices.drop_copies:
        whole = f"hash({', '.join(f'c{place}' for place in range(len(cells.names)))})"
        copies = f"rowid NOT IN (SELECT min(rowid) FROM cells GROUP BY {whole})"
        findings += deleted(connection, copies, "equal to an earlier one: left out, as asked.")
    rows = count_rows(connection)
    if rows == 1 and job.choices.drop_copies:
        raise TableError("All rows of the table are copies of one. At least two different ones are needed to read it.")
    return replace(cells, rows=rows, findings=tuple(findings))


def deleted(connection: Connection, which: str, why: str) -> list[Finding]:
    """Deletes the rows ``which`` (SQL) from ``cells``; reports how many there were, if any."""
    with unplanned(connection):
        (rows,) = first_row(connection, f"DELETE FROM cells WHERE {which}")
    return [Finding("info", "left-out", f"{counted(rows, 'row')} {why}")] if rows else []


def tidy_names(given: Sequence[str | None], *, named: bool) -> tuple[tuple[str, ...], list[Finding]]:
    """Makes names unique and not empty; a changed name is a finding if the file has names."""
    findings: list[Finding] = []
    wanted = [column_name(name or "")[:LONGEST_NAME] for name in given]
    names, taken, tried = dict[str, None](), set(wanted), dict[str, int]()
    for place, name in enumerate(wanted):
        base = name or f"column_{place + 1}"
        new, count = base, tried.get(base, 1)  # goes on counting, so that thousands of equal names stay fast
        while new in names or (count > 1 and new in taken):
            count += 1
            new = f"{base}_{count}"
        tried[base], names[new] = count, None
        if named and new != name:
            first = f"Two columns are called {name!r}; the later" if name else f"Column {place + 1} has no name; it"
            findings.append(Finding("warning", "names", f"{first} is called {new!r} here.", new))
    return tuple(names), findings


def share_to_read(rows: int, asked: int | None) -> float:
    """Returns the share of ``rows`` to read for a sample of ``asked`` rows, or 1. Raises LayoutError for too many."""
    if asked is not None and asked < 1:
        raise LayoutError(f"{asked:,} rows were asked for; ask for one or more, or leave the number out to read all.")
    wanted = min(rows, asked or rows)
    if wanted > MAX_ROWS:
        raise LayoutError(f"The table has {rows:,} rows; at most {MAX_ROWS:,} are read. To learn from it, {SET_ROWS}.")
    return wanted / rows if rows else 1.0


def drawn(rows: str, share: float, *, kept: int = 0) -> str:
    """Returns SQL for a share of ``rows``, always the same by a hash of their number; the first ``kept`` are taken."""
    if share == 1:
        return rows
    numbered = f"SELECT row_number() OVER () - {kept} AS draw, * FROM ({rows})"
    return f"SELECT * EXCLUDE draw FROM ({numbered}) WHERE draw < 1 OR hash(draw) < {int(share * 2**64)}::UBIGINT"


def sampled_finding(rows: int, share: float) -> list[Finding]:
    """Reports that only a sample was read, if so."""
    text = f"{rows:,} rows were read, one in {1 / share:,.1f} of the table, drawn at random, as asked."
    return [Finding("info", "left-out", text)] if share < 1 else []
