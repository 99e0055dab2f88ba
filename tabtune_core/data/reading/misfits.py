"""Counts and lists the lines of a text file that are not rows, which DuckDB skips silently.

Part of the third step of reading, used if there are fewer rows than lines. In: a UTF-8 file. Out: what it contains
besides rows. Python's CSV reader finds this in one pass and little memory; DuckDB's own list of rejected lines repeats
a line for each extra cell.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from tabtune_core.errors import TableError

LISTED_LINES = 10


@dataclass(slots=True)
class Lines:
    """Counts some lines of a file, and holds the numbers of the first ones."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Counts one more line."""
        self.count += 1
        if len(self.first) < LISTED_LINES:
            self.first.append(number)

    def __str__(self) -> str:
        """Writes the lines for a message.

        >>> str(Lines(1, [4])), str(Lines(12, [1, 2]))
        ('Line 4', 'Lines 1, 2 and 10 more')
        """
        more = self.count - len(self.first)
        return f"Line{'s' * (self.count > 1)} {', '.join(map(str, self.first))}" + (
            f" and {more:,} more" if more else ""
        )


@dataclass(frozen=True, slots=True)
class Dialect:
    """The layout of a text file."""

    delimiter: str
    quote: str
    escape: str
    skip: int
    """Number of lines above the table."""
    width: int
    """Number of cells in a row."""
    header: bool
    """Whether the first line of the table holds names."""
    short_header: int
    """How many cells the header is short: with one, the first column holds row names, as R writes them, or the lines
    end in a separator; with more, they end in separators.
    """
    header_lines: int | None = None
    """How many lines surely hold names, if several."""
    rows_above: int = 0
    """How many rows of another table are above this one."""
    comments: Lines = field(default_factory=Lines)
    """Lines of the table that are not rows."""


LONGEST_RECORD = 2_000_000
"""Letters of a line. DuckDB skips a record of more bytes."""
BROKEN = '""!\n'
"""Replaces a line that is longer: outside quotes it is an error, and inside quotes it closes nothing."""


@dataclass(slots=True)
class Misfits:
    """The records of a file, and its lines that are not rows."""

    records: int = 0
    """Number of records of any width, without blank lines. A line break in quotes does not start a new record."""
    blank: int = 0
    """Number of lines of blank space; they are rows if rows with too few cells are kept."""
    short: Lines = field(default_factory=Lines)
    """Lines with too few cells."""
    wrong: Lines = field(default_factory=Lines)
    """Lines with too many cells or a broken quote, and lines that are too long."""
    lost: int = 0
    """Number of lines that the wrong records span: a stray quote swallows further lines."""
    first_is_wrong: bool = False
    most_cells: int = 0
    opened: int | None = None
    """The line of an opening quote that is never closed; nothing after it is counted."""
    tallest: tuple[int, int] = (1, 0)
    """Number of lines of the longest record, and the number of its first line."""


def refuse_open_quote(opened: int | None) -> None:
    """Raises TableError if there is a line with an opening quote that is never closed."""
    if opened is not None:
        message = f"A quote opens in line {opened:,} and is never closed"
        raise TableError(f"{message}, so everything after it is one cell. Close it in the file and add the file again.")


def find_misfits(path: Path, dialect: Dialect) -> Misfits:
    """Finds the lines of a file that are not rows."""
    found = Misfits()
    usual_limit = csv.field_size_limit(LONGEST_RECORD)
    try:
        with path.open(encoding="utf-8", newline="\n") as text:
            _look(found, islice(_bounded(text), dialect.skip, None), dialect)
    finally:
        csv.field_size_limit(usual_limit)
    return found


def _bounded(text: TextIO) -> Iterator[str]:
    """Yields the lines of a text, and BROKEN for lines that are too long."""
    while line := text.readline(LONGEST_RECORD):
        short = len(line) < LONGEST_RECORD
        yield line if short else BROKEN
        while not short and not line.endswith("\n") and (line := text.readline(LONGEST_RECORD)):
            pass


def _look(found: Misfits, lines: Iterator[str], dialect: Dialect) -> None:
    """Reads ``lines``, those below ``dialect.skip``."""
    doubled = dialect.escape == dialect.quote
    escape = None if doubled else dialect.escape
    layout: dict[str, Any] = {
        "delimiter": dialect.delimiter,
        "quotechar": dialect.quote,
        "doublequote": doubled,
        "escapechar": escape,
    }
    records = csv.reader(lines, **layout, skipinitialspace=dialect.delimiter != " ", strict=True)
    before = dialect.skip  # lines that the reader did not count
    while True:
        start = before + records.line_num + 1
        record: list[str] | None = None
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            closed = "unexpected end" not in str(error)
            if "limit" in str(error):  # a cell that is too long ends in the next line with a quote
                further = next((place for place, line in enumerate(lines, 1) if line.count(dialect.quote) % 2), 0)
                before, closed = before + further, further > 0
            if not closed:
                found.opened = start
                return
        tall = before + records.line_num + 1 - start
        cells = dialect.width + 1 if record is None else len(record)
        if record is not None and cells < dialect.width and not any(map(str.strip, record)):
            found.blank += cells > 0
            continue
        found.records += 1
        found.tallest = max(found.tallest, (tall, start))
        if cells < dialect.width and not (dialect.short_header and found.records == 1):
            found.short.add(start)
        elif cells > dialect.width:
            found.wrong.add(start)
            found.lost += tall
            found.first_is_wrong |= found.records == 1
            found.most_cells = max(found.most_cells, cells)
