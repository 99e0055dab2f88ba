"""The layout of a text file, and its lines that are not rows. DuckDB leaves them out silently; here they are counted and named.

Beside the third step of reading, where rows are fewer than lines. In: a UTF-8 file. Out: what is in it besides rows, found in one pass and
little memory by Python's own reader of CSV: DuckDB's list of what it leaves out holds a line once for each cell too many.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from tabtune_core.errors import TableError

LISTED_LINES = 10


@dataclass(slots=True)
class Lines:
    """Some lines of a file, by the numbers of the first."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.first) < LISTED_LINES:
            self.first.append(number)

    def __str__(self) -> str:
        """In words.

        >>> str(Lines(1, [4])), str(Lines(12, [1, 2]))
        ('Line 4', 'Lines 1, 2 and 10 more')
        """
        more = self.count - len(self.first)
        return f"Line{'s' * (self.count > 1)} {', '.join(map(str, self.first))}" + (f" and {more:,} more" if more else "")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a reader has to be told about a file."""

    delimiter: str
    quote: str
    escape: str
    skip: int
    """Lines above the table."""

    width: int
    """Cells in a row."""

    header: bool
    """Whether the first line of the table holds names."""

    short_header: bool
    """The header is one cell short: the first column holds row names, as R writes them, or the lines end in a separator."""

    comments: Lines = field(default_factory=Lines)
    """Lines of the table that are not rows."""


LONGEST_RECORD = 2_000_000
"""Letters. DuckDB leaves out a record of more bytes."""
BROKEN = '""!\n'
"""Stands for a line that is longer: outside of quotes it is wrong, and inside it ends nothing."""


@dataclass(slots=True)
class Misfits:
    """What a file holds."""

    records: int = 0
    """Of any width; without blank lines. A line break in quotes does not start a new one."""

    blank: int = 0
    """Lines of blank space, which are rows where rows of too few cells are."""

    short: Lines = field(default_factory=Lines)
    """With too few cells."""

    wrong: Lines = field(default_factory=Lines)
    """With too many cells or a broken quote, or too long."""

    lost: int = 0
    """Lines that those wrong ones span: a stray quote takes others with it."""

    first_is_wrong: bool = False
    most_cells: int = 0
    opened: int | None = None
    """The line at which a quote opens that is never closed; nothing after it is counted."""

    tallest: tuple[int, int] = (1, 0)
    """The longest record's number of lines, and the number of its first line."""


def refuse_open_quote(opened: int | None) -> None:
    """Raises TableError where a quote opens, in this line, that is never closed."""
    if opened is not None:
        message = f"A quote opens in line {opened:,} and is never closed"
        raise TableError(f"{message}: all that follows it is one cell. Close it in the file and add the file again.")


def find_misfits(path: Path, dialect: Dialect) -> Misfits:
    """Goes over all lines of a file."""
    found = Misfits()
    usual_limit = csv.field_size_limit(LONGEST_RECORD)
    try:
        with path.open(encoding="utf-8", newline="\n") as text:
            lines = _Bounded(text)
            for _ in range(dialect.skip):
                next(lines, None)
            _look(found, lines, dialect)
    finally:
        csv.field_size_limit(usual_limit)
    return found


class _Bounded:
    """The lines of a text, with their number."""

    def __init__(self, text: TextIO) -> None:
        self.text = text
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.text.readline(LONGEST_RECORD)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) < LONGEST_RECORD:
            return line
        while not line.endswith("\n") and (line := self.text.readline(LONGEST_RECORD)):
            pass
        return BROKEN


def _look(found: Misfits, lines: _Bounded, dialect: Dialect) -> None:
    doubled = dialect.escape == dialect.quote
    escape = None if doubled else dialect.escape
    layout: dict[str, Any] = {"delimiter": dialect.delimiter, "quotechar": dialect.quote, "doublequote": doubled, "escapechar": escape}
    records = csv.reader(lines, **layout, skipinitialspace=dialect.delimiter != " ", strict=True)
    while True:
        start = lines.number + 1
        record: list[str] | None = None
        try:
            record = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            unending = "limit" in str(error) and not any(line.count(dialect.quote) % 2 for line in lines)
            if unending or "unexpected end" in str(error):
                found.opened = start
                return
        cells = dialect.width + 1 if record is None else len(record)
        if record is not None and cells < dialect.width and not any(map(str.strip, record)):
            found.blank += cells > 0
            continue
        found.records += 1
        found.tallest = max(found.tallest, (lines.number + 1 - start, start))
        if cells < dialect.width and not (dialect.short_header and found.records == 1):
            found.short.add(start)
        elif cells > dialect.width:
            found.wrong.add(start)
            found.lost += lines.number + 1 - start
            found.first_is_wrong |= found.records == 1
            found.most_cells = max(found.most_cells, cells)
