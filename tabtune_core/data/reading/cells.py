"""From a plain file to a DuckDB table of text cells, and the names of its columns.

Third step of reading. Every cell is text or missing: what a column holds is decided later, over all of its cells.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tabtune_core.data.findings import MAX_ROWS, SET_ROWS, SET_SEPARATOR, Finding
from tabtune_core.data.reading.dialect import Dialect, open_quote
from tabtune_core.data.reading.names import column_name
from tabtune_core.data.reading.sql import count_rows, counts, first_row, unplanned
from tabtune_core.errors import LayoutError, TableError

USUAL_MARKS = ("", "na", "n/a", "#n/a", "nan", "null", "<na>", "?", "-")
FEWEST = 2
"""Rows and columns of a table that is to be trained on; what is only predicted may have one."""
MAX_COLUMNS = 5_000
MAX_REJECTS = 10_000
LISTED_LINES = 10
LONGEST_NAME = 500
"""Letters of a column's name; a question of a survey, in full, has fewer."""
BLANK = "' \t\n\r\u00a0'"


@dataclass(frozen=True, slots=True)
class Cells:
    """A table ``cells`` in the connection, with the columns c0, c1, ..."""

    names: tuple[str, ...]
    """One a column, unique and not empty."""

    rows: int
    header: tuple[str | None, ...]
    """The first line where it held the names; empty where the file had none."""

    findings: tuple[Finding, ...]


def cleaned(cell: str) -> str:
    """The SQL for a trimmed cell that is NULL where it is missing; of few terms, as a wide table has it thousands of times."""
    return f"CASE WHEN NOT regexp_full_match({cell}, $missing) THEN trim({cell}, {BLANK}) END"


def missing_pattern(extra: Sequence[str]) -> dict[str, str]:
    """The parameter of ``cleaned``: a regular expression (RE2) of the cells to read as missing."""
    marks = "|".join(re.escape(mark) for mark in dict.fromkeys((*USUAL_MARKS, *(mark.strip() for mark in extra))))
    return {"missing": rf"(?i)[ \t\n\r\x{{a0}}]*({marks})[ \t\n\r\x{{a0}}]*"}


def share_to_read(found: int, asked: int | None) -> float:
    """Of about ``found`` rows: what a sample of as many as a person asked for needs, or 1. Raises LayoutError for too many rows."""
    if asked is not None and asked < 1:
        raise LayoutError(f"{asked:,} rows were asked for; ask for one or more, or leave the number out to read them all.")
    wanted = min(found, asked or found)
    if wanted > MAX_ROWS:
        raise LayoutError(
            f"The table has about {found:,} rows; at most {MAX_ROWS:,} are read. To learn from it, {SET_ROWS}: a model is shown far fewer."
        )
    return wanted / max(1, found)


def drawn(rows: str, share: float, before: int = 0) -> str:
    """SQL for a share of some rows, by a hash of their number: the same ones each time, in their order. There are others ``before``."""
    if share == 1:
        return rows
    numbered = f"SELECT hash({before} + row_number() OVER ()) AS draw, * FROM ({rows})"
    return f"SELECT * FROM ({numbered}) WHERE draw < {int(share * 2**64)}::UBIGINT"


def sampled_finding(rows: int, share: float) -> list[Finding]:
    """Says that a sample was read, where one was."""
    if share == 1:
        return []
    return [Finding("info", "sampled", f"{rows:,} rows were read, one in {1 / share:,.1f} of the table, drawn at random, as asked.")]


def load_text(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    dialect: Dialect,
    missing_marks: Sequence[str],
    *,
    share: float = 1.0,
    fewest: int = FEWEST,
) -> Cells:
    """Reads a UTF-8 file into ``cells``, or a share of its rows, drawn at random.

    Raises TableError where most lines do not fit the layout or no row is left.
    """
    check_width(dialect.width, fewest)
    findings = layout_findings(dialect)
    header, misfits = scan(connection, path, dialect, missing_marks, share, pad=False)
    short = sorted({place for place, error in misfits if error == "MISSING COLUMNS"})
    if short:
        header, misfits = scan(connection, path, dialect, missing_marks, share, pad=True)
    left_out = sorted({place for place, _ in misfits})
    rows = count_rows(connection)
    if len(left_out) > rows / share:
        raise LayoutError(
            f"{len(left_out):,} lines do not have the {dialect.width} cells that {dialect.delimiter!r} gives elsewhere; only {rows:,} do. "
            f"Mend the file, or {SET_SEPARATOR}."
        )
    if dialect.short_header:
        short = short[1:]
    if short:
        message = f"{lines(path, short)} had too few cells; what is absent was read as missing."
        findings.append(Finding("warning", "short-lines", message))
    if left_out:
        message = f"{lines(path, left_out)} had too many cells or a broken quote and were left out. Mend the file if they matter."
        findings.append(Finding("warning", "ragged-lines", message))
    opened = open_quote(path, dialect)
    if opened is not None:
        message = f"A quote opens in line {opened:,} and is never closed: that line and all after it were left out. Close it in the file."
        findings.append(Finding("warning", "open-quote", message))
    named = header if dialect.header else (None,) * dialect.width
    if dialect.short_header and counts(connection, f"count(c{dialect.width - 1})") != (0,):
        named = ("row", *named[:-1])
        message = "The header is one name short, so the first column was read as row names and is called 'row' here."
        findings.append(Finding("info", "row-names", message))
    names, renamed = tidy_names(named, told=dialect.header)
    return tidied(connection, names, named if dialect.header else (), [*findings, *renamed, *sampled_finding(rows, share)], fewest)


def scan(
    connection: duckdb.DuckDBPyConnection, path: Path, dialect: Dialect, missing_marks: Sequence[str], share: float, *, pad: bool
) -> tuple[tuple[str | None, ...], list[tuple[int, str]]]:
    """Fills ``cells``; returns the first line, and the byte and the error of every line that does not fit.

    ``pad`` keeps lines with too few cells.
    """
    cell_names = [f"c{place}" for place in range(dialect.width)]
    parameters = {
        "path": str(path),
        "columns": dict.fromkeys(cell_names, "VARCHAR"),
        "delim": dialect.delimiter,
        "quote": dialect.quote,
        "escape": dialect.escape,
        "comment": dialect.comment,
        "skip": dialect.skip,
        "pad": pad,
        "limit": MAX_REJECTS,
    }
    source = (
        "read_csv($path, auto_detect=false, header=false, parallel=false, columns=$columns, delim=$delim, quote=$quote, escape=$escape, "
        "comment=$comment, skip=$skip, null_padding=$pad, store_rejects=true, rejects_limit=$limit)"
    )
    missing = missing_pattern(missing_marks)
    selected = ", ".join(f"{cleaned(name)} AS {name}" for name in cell_names)
    offset = 1 if dialect.header else 0
    try:
        first = first_row(connection, f"SELECT * FROM {source} LIMIT 1", parameters)
        forget_rejects(connection)
        with unplanned(connection):
            rows = drawn(f"SELECT * FROM {source} OFFSET {offset}", share)
            connection.execute(f"CREATE OR REPLACE TABLE cells AS SELECT {selected} FROM ({rows})", parameters | missing)
        misfits = connection.execute("SELECT line_byte_position, error_type::VARCHAR FROM reject_errors").fetchall()
        forget_rejects(connection)
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:  # all else is translated where reading begins
        raise LayoutError(
            f"The file could not be read as a table split at {dialect.delimiter!r}. Mend the file, or {SET_SEPARATOR}."
        ) from error
    return first, misfits


def forget_rejects(connection: duckdb.DuckDBPyConnection) -> None:
    """Drops what the last scan wrote about lines that do not fit."""
    connection.execute("DROP TABLE IF EXISTS reject_errors")
    connection.execute("DROP TABLE IF EXISTS reject_scans")


def check_width(width: int, fewest: int = FEWEST) -> None:
    """Raises TableError for a table of one column or of thousands."""
    if width < fewest:
        raise TableError("The table has one column. It needs a column to predict and at least one to predict from.")
    if width > MAX_COLUMNS:
        raise TableError(f"The table has {width:,} columns; at most {MAX_COLUMNS:,} are read. Leave out columns that cannot matter.")


def tidied(
    connection: duckdb.DuckDBPyConnection, names: tuple[str, ...], header: tuple[str | None, ...], findings: list[Finding], fewest: int
) -> Cells:
    """Drops blank rows and an empty last column that a trailing separator makes; refuses a table of too few rows."""
    last = len(names) - 1
    unnamed = last > 0 and names[last] == f"column_{last + 1}"
    if unnamed and counts(connection, f"count(c{last})") == (0,):
        connection.execute(f"ALTER TABLE cells DROP COLUMN c{last}")
        names, header = names[:last], header[:last]
        findings = [finding for finding in findings if finding.column != f"column_{last + 1}"]
        findings.append(Finding("info", "trailing-separator", "The lines end in a separator; the empty last column it makes was left out."))
        check_width(len(names), fewest)
    before = count_rows(connection)
    everything = ", ".join(f"c{place}" for place in range(len(names)))
    with unplanned(connection):
        connection.execute(f"DELETE FROM cells WHERE coalesce({everything}) IS NULL")
    rows = count_rows(connection)
    if rows < before:
        findings.append(Finding("info", "blank-rows", f"{before - rows:,} rows without any value were left out."))
    if rows == 0:
        raise TableError(f"The table has a header ({', '.join(names)[:80]}) and no rows. Check that the export finished.")
    if rows < fewest:
        raise TableError("The table has one row. At least two are needed to read it, and more to train on it.")
    return Cells(names, rows, header, tuple(findings))


def layout_findings(dialect: Dialect) -> list[Finding]:
    """What the layout has that a person should know of."""
    findings = []
    if dialect.skip:
        message = f"The table starts at line {dialect.skip + 1}; what stands above it was left out."
        findings.append(Finding("info", "title-lines", message))
    if dialect.comment:
        findings.append(Finding("info", "comment-lines", f"Lines that start with {dialect.comment!r} were read as comments."))
    if dialect.delimiter != ",":
        word = {"\t": "a tab", " ": "a blank"}.get(dialect.delimiter, repr(dialect.delimiter))
        findings.append(Finding("info", "separator", f"Cells are separated by {word}."))
    return findings


def tidy_names(given: tuple[str | None, ...], *, told: bool) -> tuple[tuple[str, ...], list[Finding]]:
    """Unique names that are not empty. ``told`` is whether the person's file named them, so that a change is a finding."""
    names: list[str] = []
    findings: list[Finding] = []
    wanted = [column_name(name or "") for name in given]
    if told:
        findings += [long_name(name) for name in wanted if len(name) > LONGEST_NAME]
    wanted = [name[:LONGEST_NAME] for name in wanted]
    theirs, used, tried = set(wanted), set[str](), dict[str, int]()
    for place, name in enumerate(wanted):
        base = name or f"column_{place + 1}"
        new, count = base, tried.get(base, 1)  # where the last of the same name ended: thousands of equal names take no longer
        while new in used or (count > 1 and new in theirs):
            count += 1
            new = f"{base}_{count}"
        tried[base] = count
        used.add(new)
        names.append(new)
        if told and not name:
            findings.append(Finding("warning", "empty-names", f"Column {place + 1} has no name; it is called {new!r} here.", new))
        elif told and new != name:
            findings.append(
                Finding("warning", "duplicate-names", f"Two columns are called {name!r}; the later is called {new!r} here.", new)
            )
    return tuple(names), findings


def long_name(name: str) -> Finding:
    """Says that a name was cut."""
    message = f"A column's name has {len(name):,} letters; its first {LONGEST_NAME:,} are its name here. Check the file's first line."
    return Finding("warning", "long-name", message)


def lines(path: Path, positions: Sequence[int]) -> str:
    """In words, the lines that start at these bytes (counted from one, ascending): the first ten numbers, and how many more."""
    numbers = []
    line = 1
    with path.open("rb") as stream:
        for position in positions[:LISTED_LINES]:
            while (step := position - 1 - stream.tell()) > 0:
                line += stream.read(min(step, 1 << 20)).count(b"\n")
            numbers.append(str(line))
    if len(positions) == 1:
        return f"Line {numbers[0]}"
    more = len(positions) - LISTED_LINES
    return f"Lines {', '.join(numbers)}" + (f" and {more:,} more" if more > 0 else "")
