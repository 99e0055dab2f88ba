"""Loads a plain text file into a DuckDB table of text cells, and names its columns.

Third step of reading. Every cell is text or missing: the kind of a column is decided later, over all of its cells.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb

from tabtune_core.data.findings import MAX_ROWS, SET_SEPARATOR, Finding
from tabtune_core.data.reading.decoding import count_lines
from tabtune_core.data.reading.dialect import MAX_COLUMNS
from tabtune_core.data.reading.misfits import Dialect, Misfits, find_misfits, refuse_open_quote
from tabtune_core.data.reading.names import UNSEEN, column_name
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sampling import SLACK, draw_rows, sampled_finding, share_to_read
from tabtune_core.data.reading.sql import Source, count_rows, counts, first_row, unplanned
from tabtune_core.errors import LayoutError, TableError
from tabtune_core.wording import counted

DASH = "-"
"""Means missing, except in columns that also hold "+"."""
USUAL_MARKS = ("", "na", "n/a", "#n/a", "nan", "null", "<na>", r"\n", "?", DASH, ".", "..")
EXACT = {"na": "NA|na", "nan": "NaN|NAN|nan", "null": "NULL|null"}
"""How marks are written that are also names: Na is sodium, Nan a province, Null a family."""
FEWEST = 2
"""Fewest rows and columns of a table to train on; rows to predict may have one of each."""
TALL_LINES = 100
"""A row of more lines is reported: long texts in quotes rarely have so many line breaks, and a stray quote swallows
whole rows.
"""
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
    """Returns SQL for a trimmed cell, NULL if missing; it is short because a wide table repeats it thousands of times."""  # noqa: E501
    return f"CASE WHEN NOT regexp_full_match({cell}, $missing) THEN trim({cell}, {BLANK}) END"


def missing_pattern(extra: Sequence[str]) -> dict[str, str]:
    """Returns the parameter of ``cleaned``: a regular expression (RE2) of missing cells, without "-", which is decided
    by column later.
    """
    marks = [f"(?-i:{EXACT[mark]})" if mark in EXACT else re.escape(mark) for mark in USUAL_MARKS if mark != DASH]
    unseen = f"({UNSEEN.pattern})*"  # letters that a question about a mark does not show
    words = [word for mark in extra for word in (EXACT[mark].split("|") if mark in EXACT else [mark.strip()]) if word]
    for word in dict.fromkeys(words):
        marks.append(f"(?{'-' * (word.lower() in EXACT)}i:{unseen}{unseen.join(map(re.escape, word))}{unseen})")
    return {"missing": rf"(?i)[ \t\n\r\x{{a0}}]*({'|'.join(marks)})[ \t\n\r\x{{a0}}]*"}


def load_text(path: Path, dialect: Dialect, job: Job, *, sample: Path) -> Cells:
    """Reads a UTF-8 file into ``cells``: all rows, or a random sample of about as many rows as were chosen.

    A sample is also written to the file ``sample``, as CSV of at most as many bytes as the limit.
    Raises TableError where most lines do not fit the layout or no row is left.
    """
    connection, choices, fewest, lines = job.connection, job.choices, job.fewest, count_lines(path)
    check_width(dialect.width, fewest)
    findings = [*layout_findings(dialect)]
    asked, whole = choices.rows, choices.rows is None and lines <= MAX_ROWS
    hold = partial(hold_rows, connection, header=dialect.header, missing=missing_pattern(choices.missing_marks))
    read = hold if whole else partial(count_rows, connection)
    rows = read(rows_of(path, dialect, pad=False))
    misfits = (
        find_misfits(path, dialect) if rows + dialect.skip < lines or rows < fewest + dialect.header else Misfits()
    )
    pad = dialect.short_header > 0 or misfits.short.count > 0
    if pad:
        rows = read(rows_of(path, dialect, pad=True))
    rows -= dialect.header
    findings += misfit_findings(misfits, dialect, rows, fewest, pad=pad)
    share = share_to_read(rows, asked)
    size = path.stat().st_size
    if asked is not None and size > job.limit_bytes:
        share = min(share, SLACK * job.limit_bytes / size)
    source = rows_of(path, dialect, pad=pad)
    if share < 1:
        draw_rows(connection, source, dialect, share, sample)
        source = rows_of(sample, replace(dialect, quote='"', escape='"', skip=0), pad=pad)
    if not whole:
        hold(source)
    named = first_row(connection, f"{source[0]} LIMIT 1", source[1]) if dialect.header else (None,) * dialect.width
    if dialect.header and (together := choices.header_lines or dialect.header_lines):
        named = joined_names(connection, named, together - 1)
    if dialect.short_header == 1 and counts(connection, f"count(c{dialect.width - 1})") != (0,):
        named = ("row", *named[:-1])
        message = "The header is one name short, so the first column was read as row names and is called 'row' here."
        findings.append(Finding("info", "row-names", message))
    names, renamed = tidy_names(named, told=dialect.header)
    said = sampled_finding(count_rows(connection), share)
    cells = tidied(job, names, named if dialect.header else (), [*findings, *renamed, *said], dialect.short_header)
    return replace(cells, source=source)


def joined_names(
    connection: duckdb.DuckDBPyConnection, named: tuple[str | None, ...], more: int
) -> tuple[str | None, ...]:
    """Removes ``more`` further header rows from the start of ``cells``, and appends their words to the names of the
    first line.

    A row without any value does not count, as for a person who is asked.
    """
    filled = f"coalesce({', '.join(f'c{place}' for place in range(len(named)))}) IS NOT NULL"
    found = connection.execute(f"SELECT rowid, * FROM cells WHERE {filled} ORDER BY rowid LIMIT {more}").fetchall()
    connection.execute(f"DELETE FROM cells WHERE rowid <= {max((number for number, *_ in found), default=-1)}")
    return tuple(" ".join(filter(None, words)) for words in zip(named, *(words for _, *words in found), strict=True))


def rows_of(path: Path, dialect: Dialect, *, pad: bool) -> Source:
    """Returns SQL for the rows of a file, including the header, and its parameters.

    ``pad`` keeps rows with too few cells.
    """
    source = (
        "read_csv($path, auto_detect=false, header=false, parallel=false, columns=$columns, delim=$delim, "
        "quote=$quote, escape=$escape, "
        "comment='', skip=$skip, null_padding=$pad, ignore_errors=true)"
    )
    columns = {f"c{place}": "VARCHAR" for place in range(dialect.width)}
    layout = {"delim": dialect.delimiter, "quote": dialect.quote, "escape": dialect.escape}
    return f"FROM {source}", {"path": str(path), "columns": columns, "skip": dialect.skip, "pad": pad, **layout}


def hold_rows(connection: duckdb.DuckDBPyConnection, source: Source, *, header: bool, missing: dict[str, str]) -> int:
    """Fills ``cells`` with ``rows_of`` without the header; returns the number of rows including the header."""
    rows, parameters = source
    selected = ", ".join(f"{cleaned(name)} AS {name}" for name in parameters["columns"])
    with unplanned(connection):
        query = f"CREATE OR REPLACE TABLE cells AS SELECT {selected} FROM ({rows} OFFSET {int(header)})"
        connection.execute(query, parameters | missing)
    return count_rows(connection) + header


def misfit_findings(misfits: Misfits, dialect: Dialect, rows: int, fewest: int, *, pad: bool) -> Iterator[Finding]:
    """Yields findings on lines that are not rows; ``rows`` is the number of rows read, which includes short ones if
    ``pad``.

    Raises TableError where too few lines are rows, or the header line is not one.
    """
    if rows < fewest:
        refuse_open_quote(misfits.opened)
    if dialect.header and misfits.first_is_wrong:
        raise LayoutError(
            f"The header line, {misfits.wrong.first[0]:,}, has too many cells or a broken quote. Correct it in the "
            "file."
        )
    left_out = max(misfits.records + misfits.blank * pad - rows - dialect.header, 0)
    if left_out > rows:
        raise LayoutError(
            f"{left_out:,} lines do not have the {dialect.width} cells that {dialect.delimiter!r} gives elsewhere; "
            f"only {rows:,} do. "
            f"Correct the file, or {SET_SEPARATOR}."
        )
    if misfits.short.count:
        yield Finding(
            "warning", "short-lines", f"{misfits.short} had too few cells; the absent cells were read as missing."
        )
    if left_out:
        which = str(misfits.wrong) if left_out == misfits.wrong.count else f"{left_out:,} of the lines"
        many = f" (up to {misfits.most_cells:,})" if misfits.most_cells > dialect.width + 1 else ""
        lost = (
            f", {misfits.lost:,} lines in all, as line breaks in quotes do not end rows"
            if misfits.lost > misfits.wrong.count
            else ""
        )
        message = (
            f"{which} had too many cells{many} or a broken quote: left out{lost}. Correct the file if they matter."
        )
        yield Finding("warning", "ragged-lines", message)
    tall, start = misfits.tallest
    if tall > TALL_LINES:
        message = (
            f"A cell in quotes begins in line {start:,} or after and holds most of {tall:,} lines. If no text "
            "is that long, "
        )
        yield Finding("warning", "long-quote", f"{message}a quote is missing there: correct it in the file.")
    if misfits.opened is not None:
        message = (
            f"A quote opens in line {misfits.opened:,} and is never closed: that line and all after it were "
            "left out. Close it."
        )
        yield Finding("warning", "open-quote", message)


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
    connection, fewest, width = job.connection, job.fewest, len(names)
    for last in range(width - 1, max(width - 1 - max(short_header, 1), 0), -1):
        if names[last] != f"column_{last + 1}" or counts(connection, f"count(c{last})") != (0,):
            break
        connection.execute(f"ALTER TABLE cells DROP COLUMN c{last}")
        names, header = names[:last], header[:last]
        findings = [finding for finding in findings if finding.column != f"column_{last + 1}"]
    if len(names) < width:
        ends = (
            "a separator; the empty last column it makes was"
            if len(names) == width - 1
            else "separators; the empty last columns were"
        )
        findings.append(Finding("info", "trailing-separator", f"The lines end in {ends} left out."))
        check_width(len(names), fewest)
    before = count_rows(connection)
    everything = ", ".join(f"c{place}" for place in range(len(names)))
    if fewest > 1:  # with 1, these are rows to predict, whose order matters
        with unplanned(connection):
            connection.execute(f"DELETE FROM cells WHERE coalesce({everything}) IS NULL")
    rows = count_rows(connection)
    if rows < before:
        findings.append(Finding("info", "blank-rows", f"{counted(before - rows, 'row')} without any value: left out."))
    if rows == 0:
        raise TableError(
            f"The table has a header ({', '.join(names)[:80]}) and no rows. Check that the export finished."
        )
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
    said = Finding("info", "skipped-last", f"{counted(number, 'row')} at the end: left out, as asked.")
    return replace(cells, rows=cells.rows - number, findings=(*cells.findings, said))


def without_totals(connection: duckdb.DuckDBPyConnection, cells: Cells, rows: Sequence[int]) -> Cells:
    """Removes the rows with these numbers, from 0, that hold totals."""
    numbered = "SELECT rowid AS row, row_number() OVER () - 1 AS place FROM cells"
    connection.execute(
        f"DELETE FROM cells WHERE rowid IN (SELECT row FROM ({numbered}) WHERE place IN ({', '.join(map(str, rows))}))"
    )
    said = Finding("info", "dropped-totals", f"{counted(len(rows), 'row')} of totals: left out, as asked.")
    return replace(cells, rows=cells.rows - len(rows), findings=(*cells.findings, said))


def without_copies(connection: duckdb.DuckDBPyConnection, cells: Cells) -> Cells:
    """Keeps only the first of rows that are equal in every column."""
    alike = f"hash({', '.join(f'c{place}' for place in range(len(cells.names)))})"
    with unplanned(connection):
        connection.execute(f"DELETE FROM cells WHERE rowid NOT IN (SELECT min(rowid) FROM cells GROUP BY {alike})")
    rows = count_rows(connection)
    if rows == 1:
        raise TableError("All rows of the table are copies of one. At least two different ones are needed to read it.")
    message = f"{counted(cells.rows - rows, 'row')} equal to an earlier one: left out, as asked."
    return replace(cells, rows=rows, findings=(*cells.findings, Finding("info", "dropped-copies", message)))


def layout_findings(dialect: Dialect) -> Iterator[Finding]:
    """Yields what a person should know about the layout."""
    if dialect.skip:
        message = f"The table starts at line {dialect.skip + 1}; the lines above it were left out."
        if dialect.rows_above:
            message += (
                f" They hold another table, of {dialect.rows_above:,} rows: to read that one, save it as a "
                "file of its own."
            )
            yield Finding("warning", "table-above", message)
        else:
            yield Finding("info", "title-lines", message)
    if dialect.header_lines:
        message = "The first two lines hold names and were joined: where the second has none, the first has one."
        yield Finding("info", "joined-names", message)
    if dialect.comments.count:
        verb = (
            "start with '#' and were read as comments"
            if dialect.comments.count > 1
            else "starts with '#' and was read as a comment"
        )
        yield Finding("info", "comment-lines", f"{dialect.comments} {verb}.")
    if dialect.delimiter != ",":
        word = {"\t": "a tab", " ": "a blank"}.get(dialect.delimiter, repr(dialect.delimiter))
        yield Finding("info", "separator", f"Cells are separated by {word}.")


def tidy_names(given: tuple[str | None, ...], *, told: bool) -> tuple[tuple[str, ...], list[Finding]]:
    """Makes names unique and not empty.

    ``told`` says whether the file has names, so that a changed name is a finding.
    """
    findings: list[Finding] = []
    wanted = [column_name(name or "") for name in given]
    if told:
        cut = "A column's name has {:,} letters; it was cut to the first {:,}. Check the file's first line."
        findings += [
            Finding("warning", "long-name", cut.format(len(name), LONGEST_NAME))
            for name in wanted
            if len(name) > LONGEST_NAME
        ]
    wanted = [name[:LONGEST_NAME] for name in wanted]
    names, theirs, tried = dict[str, None](), set(wanted), dict[str, int]()
    for place, name in enumerate(wanted):
        base = name or f"column_{place + 1}"
        new, count = (
            base,
            tried.get(base, 1),
        )  # continues the numbering of equal names, so that thousands of them stay fast
        while new in names or (count > 1 and new in theirs):
            count += 1
            new = f"{base}_{count}"
        tried[base], names[new] = count, None
        if told and not name:
            findings.append(
                Finding("warning", "empty-names", f"Column {place + 1} has no name; it is called {new!r} here.", new)
            )
        elif told and new != name:
            message = f"Two columns are called {name!r}; the later is called {new!r} here."
            findings.append(Finding("warning", "duplicate-names", message, new))
    return tuple(names), findings
