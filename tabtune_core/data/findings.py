"""The findings and questions of reading a table, and the person's reading choices; stored as JSON beside it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tabtune_core.errors import nearest
from tabtune_core.wording import counted, few

Kind = Literal["number", "category", "text", "date", "datetime", "time", "boolean", "ignored", "encoded"]
"""What a column holds; models see neither "ignored" columns nor free text ("text"), but "encoded" text as numbers."""
DateOrder = Literal["year"] | bool
"""Whether dates of digits have the day first (else the month), or "year": 19-09-24 is the 24th of September 2019."""
Severity = Literal["info", "warning", "error"]

FEWEST_ALIKE, MOST_NAMED = 3, 3
"""From this many columns with the same finding only one is shown; how many of the other columns it names."""
SET_SEPARATOR = "set the separator (Reading choices on the page, --delimiter on the command line)"
"""Advice for a file that was split at the wrong character."""
MAX_ROWS = 5_000_000
"""Most rows of a table that is read whole: reading them takes a minute, and models see less than a tenth of them."""
SET_ROWS = "read a sample (Rows to read under Reading choices on the page, --rows on the command line)"
"""Advice for a table that is too long."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column as it was read."""

    name: str
    """Unique and not empty."""
    kind: Kind
    """Only numbers and dates change their type; a boolean keeps its two words from the file."""
    missing: int
    """Number of rows without a value."""
    unique: int
    """Number of different values, without missing ones."""
    examples: tuple[str, ...]
    """Up to three different values from the first rows, as in the file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the person should know about the file."""

    severity: Severity
    """"error" means that this table cannot be trained on."""
    code: str
    """A stable word, such as "encoding" or "id-like"."""
    message: str
    """What was found, and what was done or what to do."""
    column: str | None = None
    """The column that the finding is about; None for the whole file."""


@dataclass(frozen=True, slots=True)
class Question:
    """Something the file leaves open. The first option holds unless the person chooses another."""

    field: str
    """The field of ReadingChoices that the answer sets; "split" for how to split the rows."""
    message: str
    """What was found, how it was read for now, and what each answer would mean."""
    options: tuple[str, ...]
    """Possible answers: "true", "false" and "year", marks to read as missing, names of encodings, splits, columns."""


def together(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Merges findings of one kind about several columns into the first, followed by the names of the other columns.

    >>> for one in together(Finding("info", "free-text", f"{name!r} is free text.", name) for name in "abcdef"):
    ...     print(one.message)
    'a' is free text. Similar: 'b', 'c', 'd' and 2 more columns.
    """
    kinds: dict[tuple[str, ...], list[Finding]] = {}
    for place, finding in enumerate(findings):
        whole_file = str(place) if finding.column is None else ""
        kinds.setdefault((finding.severity, finding.code, whole_file), []).append(finding)
    for first, *others in kinds.values():
        if len(others) + 1 < FEWEST_ALIKE:
            yield from (first, *others)
        else:
            names, more = [repr(one.column) for one in others[:MOST_NAMED]], len(others) - MOST_NAMED
            listed = f"{', '.join(names)} and {counted(more, 'more column')}" if more > 0 else ", ".join(names)
            yield replace(first, message=f"{first.message} Similar: {listed}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingChoices:
    """How a file is read. Fields that are None or empty are detected from the file."""

    encoding: str | None = None
    """A Python codec, such as "utf-8" or "cp1252"."""
    delimiter: str | None = None
    """The single character between two cells."""
    header: bool | None = None
    """Whether the first line of the table holds the column names."""
    day_first: DateOrder | None = None
    """Whether 03/04/2025 is the third of April; "year": 19-09-24 has the year first."""
    missing_marks: tuple[str, ...] = ()
    """Cells to read as missing besides the usual ones, in upper or lower case."""
    kinds: tuple[tuple[str, Kind], ...] = ()
    """Pairs of a column name and the kind to read it as."""
    date_orders: tuple[tuple[str, DateOrder], ...] = ()
    """Pairs of a column name and the order of its dates, where that differs from ``day_first``."""
    units: tuple[tuple[str, str], ...] = ()
    """Pairs of a column name and the unit after its numbers, such as "km"."""
    decimal_commas: tuple[tuple[str, bool], ...] = ()
    """Pairs of a column name and whether the comma in its numbers is a decimal comma: with True, 1.234 is 1234."""
    dashes: tuple[str, ...] = ()
    """Names of columns in which "-" is a value and not missing, because they also contain "+"."""
    rows: int | None = None
    """About how many rows to sample at random: the same rows each time, in the order of the file."""
    sheet: str | None = None
    """Which sheet of a workbook holds the table."""
    drop_copies: bool = False
    """Whether to keep only the first of several rows that are equal in every column."""
    skip_last: int = 0
    """How many rows to leave out at the end, such as a total or notes below the table."""


def shorten(cell: str, most: int = 60) -> str:
    """Returns a cell as it is shown in a message: cut if it is long."""
    return cell if len(cell) <= most else f"{cell[: most - 1]}…"


LONGEST_SHOWN = 200


def listed(names: Sequence[str], most: int = 5) -> str:
    """Lists names in quotes, at most ``most`` of them and LONGEST_SHOWN letters of each."""
    return few([repr(shorten(name, LONGEST_SHOWN)) for name in names], most)


def absent(name: str, names: Sequence[str]) -> str:
    """Returns the message for a name that is not that of a column."""
    near = nearest(name, names)
    meant = f" Did you mean {near!r}?" if near else ""
    return f"The table has no column {name!r}.{meant} It has: {few(names, 20)}."


@dataclass(frozen=True, slots=True)
class ReadAs:
    """How the table of an adapter was read; new rows are read the same way."""

    reading: ReadingChoices
    kinds: Mapping[str, Kind]
    """Kind of every column."""
    features: Sequence[str]
    """Columns to predict from."""
    target: str
