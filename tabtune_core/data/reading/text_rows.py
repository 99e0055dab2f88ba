"""Loads a plain text file into a DuckDB table of text cells, and names the lines that are not rows.

Third step of reading. DuckDB lists the lines that it rejects; a last line of our own tells whether a quote stays open.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabtune_core.data.findings import MAX_ROWS, SET_SEPARATOR, Finding
from tabtune_core.data.reading import cells
from tabtune_core.data.reading.batched_queries import quoted
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.layout import Layout
from tabtune_core.data.reading.progress import CHUNK_BYTES, Job
from tabtune_core.data.reading.sql import Connection, Source, count_rows, counts, first_row, unplanned
from tabtune_core.errors import LayoutError, TableError
from tabtune_core.wording import counted

LAST_LINE = "\ue000last"
"""Is written below the last line of the file."""
NAMED_LINES = 10
TALL_LINES = 100
"""A cell of more lines is reported: a stray quote swallows whole rows."""
MANY_CELLS = 1_000
"""A line with more cells than this and than two rows is refused, as DuckDB keeps an error for each of its cells."""
SLACK = 0.9
"""Share of a limit in bytes that a sample aims for, since its size varies."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Lines of one kind that are not rows."""

    count: int = 0
    first: tuple[int, ...] = ()
    lines: int = 0
    """How many lines they are with those that a stray quote takes along."""

    def __str__(self) -> str:
        """Writes the lines for a message.

        >>> str(Rejected(1, (4,))), str(Rejected(12, (1, 2)))
        ('Line 4', 'Lines 1, 2 and 10 more')
        """
        more = f" and {self.count - len(self.first):,} more" if self.count > len(self.first) else ""
        return f"Line{'s' * (self.count > 1)} {', '.join(map(str, self.first))}{more}"


def load_text(path: Path, layout: Layout, job: Job, *, sample: Path) -> Cells:
    """Reads a UTF-8 file into ``cells``: all rows, or a random sample of about as many rows as were chosen.

    A sample is also written to the file ``sample``, as CSV of at most the limit in bytes. Raises TableError where most
    lines do not fit the layout or no row is left.
    """
    connection, choices = job.connection, job.choices
    cells.check_width(layout.width, job.fewest)
    table, lines = table_alone(path, layout)
    missing, whole = cells.missing_pattern(choices.missing_marks), choices.rows is None and lines <= MAX_ROWS
    source = rows_of(table, layout)
    rows, closed = hold(connection, source, missing) if whole else counted_rows(connection, source)
    rejected = rejected_lines(connection, table, layout.skip)
    wrong, short = (rejected.get(kind, Rejected()) for kind in ("wrong", "short"))
    if short.count or (rejected and job.fewest == 1):  # blank lines among rows to predict are rows
        source[1].update(pad=True, rejects=False)
        rows, closed = hold(connection, source, missing) if whole else counted_rows(connection, source)
    if layout.short_header:
        short = Rejected(short.count - 1, tuple(line for line in short.first if line != layout.skip + 1))
    if rows <= wrong.count or (layout.header and layout.skip + 1 in wrong.first):
        message = f"{wrong} do not have the {layout.width} cells that {layout.delimiter!r} gives elsewhere"
        raise LayoutError(f"{message}, or have a broken quote. Correct the file, or {SET_SEPARATOR}.")
    if not closed:
        opens = f"A quote opens after row {rows:,} and is never closed."
        raise TableError(f"{opens} Close it in the file and add it again.")
    share = cells.share_to_read(rows - 1 - layout.header, choices.rows)
    size = table.stat().st_size + 2 * rows  # with the quotes of the sample
    if choices.rows is not None and size > job.limit_bytes:
        share = min(share, SLACK * job.limit_bytes / size)
    source[1]["rejects"] = False
    if share < 1:
        kept = cells.drawn(f"{source[0]} WHERE c0 IS DISTINCT FROM {quoted(LAST_LINE)}", share, kept=int(layout.header))
        target = f"FORMAT csv, HEADER false, FORCE_QUOTE (c0), DELIMITER {quoted(layout.delimiter)}"
        connection.execute(f"COPY ({kept}) TO {quoted(str(sample))} ({target})", source[1])
        source = rows_of(sample, replace(layout, escape='"'))
    if not whole:
        hold(connection, source, missing)
    named = header_of(connection, layout, source)
    connection.execute(f"DELETE FROM cells WHERE c0 = {quoted(LAST_LINE)}")
    names, renamed = cells.tidy_names(named, named=layout.header)
    findings = [*findings_of(layout, wrong, short), *renamed]
    if lines > rows:
        findings += tall_finding(connection, layout)
    findings += cells.sampled_finding(count_rows(connection), share)
    return cells.tidied(job, names, named if layout.header else (), findings, layout.short_header)


def header_of(connection: Connection, layout: Layout, source: Source) -> tuple[str | None, ...]:
    """Takes the names out of ``cells``; all are None in a file without a header."""
    if not layout.header:
        return (None,) * layout.width
    first, *others = first_row(connection, f"{source[0]} LIMIT 1", source[1])
    connection.execute("DELETE FROM cells WHERE rowid = 0")
    first = (str(first).lstrip("# ") or first) if str(first).startswith("#") else first
    if layout.short_header == 1 and counts(connection, f"count(c{layout.width - 1})") != (0,):
        return "row", first, *others[:-1]  # R writes no name for its row names
    return first, *others


def table_alone(path: Path, layout: Layout) -> tuple[Path, int]:
    """Returns a file with LAST_LINE below the table and nothing above it, and its number of lines before that."""
    table, lines, last, mark = path.with_name("table.csv"), 0, b"", layout.delimiter.encode()
    if layout.skip:
        with path.open("rb") as whole, table.open("wb") as rest:
            for _ in range(layout.skip):
                whole.readline()
            shutil.copyfileobj(whole, rest, CHUNK_BYTES)
    else:
        path.rename(table)
    most = min(cells.MAX_COLUMNS, max(MANY_CELLS, 2 * layout.width))
    with table.open("rb+") as text:
        for line in text:
            lines, last = lines + line.endswith(b"\n"), line[-1:]
            if len(line) > most and b'"' not in line and (count := line.count(mark) + 1) > most:
                message = f"Line {layout.skip + lines:,} has {count:,} cells, but others have {layout.width:,}."
                raise LayoutError(f"{message} Correct it, or {SET_SEPARATOR}.")
        text.seek(-(last == b"\x1a"), 2)  # the mark that old programs write at the end
        text.write(b"\n" * (last != b"\n") + LAST_LINE.encode() + mark * (layout.width - 1) + b"\n")
    return table, lines


def rows_of(path: Path, layout: Layout) -> Source:
    """Returns SQL for the rows of a file, with the header, and its parameters; ``pad`` keeps short rows."""
    source = (
        "read_csv($path, columns=$columns, delim=$delim, quote='\"', escape=$escape, null_padding=$pad, "
        "store_rejects=$rejects, auto_detect=false, header=false, parallel=false, comment='', ignore_errors=true, "
        "hive_partitioning=false)"
    )
    columns = {f"c{place}": "VARCHAR" for place in range(layout.width)}
    chosen: dict[str, Any] = {"columns": columns, "delim": layout.delimiter, "escape": layout.escape}
    return f"FROM {source}", {"path": str(path), "pad": False, "rejects": True, **chosen}


def hold(connection: Connection, source: Source, missing: dict[str, str]) -> tuple[int, bool]:
    """Fills ``cells`` with the rows; returns what ``counted_rows`` does."""
    selected = ", ".join(f"{cells.cleaned(name)} AS {name}" for name in source[1]["columns"])
    with unplanned(connection):
        connection.execute(f"CREATE OR REPLACE TABLE cells AS SELECT {selected} {source[0]}", source[1] | missing)
    return counted_rows(connection, ("FROM cells", {}))


def counted_rows(connection: Connection, source: Source) -> tuple[int, bool]:
    """Returns the number of rows, with LAST_LINE, and whether this line was read: it is not if a quote stays open."""
    query = f"SELECT count(*), count(*) FILTER (c0 = {quoted(LAST_LINE)}) {source[0]}"
    rows, closed = first_row(connection, query, source[1])
    return rows, bool(closed)


def rejected_lines(connection: Connection, path: Path, skip: int) -> dict[str, Rejected]:
    """Returns the lines that DuckDB rejected: ``blank``, ``short``, or ``wrong`` for all others."""
    kind = (
        "CASE WHEN trim(any_value(csv_line), ' ' || chr(9) || chr(10)) = '' THEN 'blank' "
        "WHEN bool_or(error_type != 'MISSING COLUMNS') THEN 'wrong' ELSE 'short' END"
    )
    lines = (
        f"SELECT line_byte_position AS start, {kind} AS kind, any_value(csv_line) AS text FROM reject_errors GROUP BY 1"
    )
    ends = "length(text) - length(replace(rtrim(text, chr(10)), chr(10), ''))"
    query = f"SELECT kind, count(*), min(start, {NAMED_LINES}), sum(1 + {ends}) FROM ({lines}) GROUP BY kind"
    kinds = connection.execute(query).fetchall()
    starts = sorted({start for _, _, firsts, _ in kinds for start in firsts})
    numbers, at, number = dict[int, int](), 0, skip
    with path.open("rb") as text:
        for start in starts:
            while at < start and (chunk := text.read(min(CHUNK_BYTES, start - at))):
                at, number = at + len(chunk), number + chunk.count(b"\n")
            numbers[start] = number + 1
    return {
        kind: Rejected(count, tuple(numbers[start] for start in firsts), int(lines))
        for kind, count, firsts, lines in kinds
    }


def findings_of(layout: Layout, wrong: Rejected, short: Rejected) -> Iterator[Finding]:
    """Yields what a person should know about the layout and the lines that do not have it."""
    if layout.skip:
        text = f"The table starts at line {layout.skip + 1}; the lines above it were left out."
        yield Finding("info", "left-out", text)
    if (mark := layout.delimiter) != ",":
        word = {"\t": "a tab", " ": "a blank"}.get(mark, repr(mark))
        yield Finding("info", "separator", f"Cells are separated by {word}.")
    if short.count:
        text = f"{short} had too few cells; the absent cells were read as missing."
        yield Finding("warning", "short-lines", text)
    if wrong.count:
        lost = f", {wrong.lines:,} lines in all" if wrong.lines > wrong.count else ""
        text = f"{wrong} had too many cells or a broken quote: left out{lost}. Correct the file if they matter."
        yield Finding("warning", "ragged-lines", text)


def tall_finding(connection: Connection, layout: Layout) -> Iterator[Finding]:
    """Reports a cell of so many lines that a stray quote may have swallowed rows."""
    ends = [f"length(c{place}) - length(replace(c{place}, chr(10), ''))" for place in range(layout.width)]
    tall = counts(connection, f"count(*) FILTER (greatest({', '.join(ends)}) >= {TALL_LINES})")[0]
    if tall:
        text = f"{counted(tall, 'row')} with a cell of more than {TALL_LINES} lines: a quote may be missing there."
        yield Finding("warning", "ragged-lines", text)
