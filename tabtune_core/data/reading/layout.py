"""Finds the layout of a text: separator, quotes, lines above the table, width, header.

Second step of reading. DuckDB's sniffer errs at decimal commas, titles above the table, and headers of numbers.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb

from tabtune_core.data.findings import SET_SEPARATOR, ReadingChoices
from tabtune_core.data.reading.sql import Connection, first_row
from tabtune_core.errors import LayoutError, TableError

HEAD_CHARACTERS, HEAD_RECORDS = 1 << 20, 5_000
LONGEST_LINE_CHARACTERS = 1 << 24
"""Limit for the first line; that of a table with 5,000 columns is far shorter."""
SEPARATORS = ";\t| "
SEPARATOR_LINE = re.compile(r'\s*"?sep=([^\w\s"]|\t)"?\n', re.IGNORECASE)
"""The line by which Excel names the separator."""
EVEN = 0.8
"""Least share of the lines that a separator splits into the usual number of cells; it is half of them for a table."""
NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?\s*")
COMMA = re.compile(r",\S")
"""A comma that may separate cells; one before a blank may also be part of a text."""
DECIMAL_COMMA = re.compile(r"\s*[-+]?[\d.]*\d,\d+(?:[eE][-+]?\d+)?\s*")
NO_NUMBERS = ["", "?", "-", ".", "..", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"]
"""Marks of a missing number: one of them in the first line does not make it a header."""
FEWEST_STEPS = 3
"""From this many numbers that count the columns, or rising years, a line is a header."""
PLACE, YEAR = re.compile(r"\d{1,4}"), re.compile(r"(19\d|20\d)\d|2100")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a text file."""

    delimiter: str
    escape: str
    """A quote or a backslash, before a quote within quotes."""
    skip: int
    """Number of lines above the table."""
    width: int
    header: bool
    short_header: int
    """How many cells the header is short: with one, the first column may hold row names, as R writes them."""


Records = Sequence[tuple[int, list[str]]]
"""The records at the start of a file that are not blank, each with the number of lines before it."""


def find_layout(connection: Connection, path: Path, choices: ReadingChoices) -> Layout:
    """Finds the layout of a UTF-8 file, as far as ``choices`` do not fix it.

    Raises TableError for a file without text, a separator that is not one character, and a file of one column.
    """
    given = choices.delimiter
    if given is not None and (len(given) != 1 or given in '\r\n"'):
        raise LayoutError(f"A separator is one character, such as ',' or ';'. Asked for: {given!r}.")
    bare = head = read_start(path)
    if named := SEPARATOR_LINE.match(head):
        given, bare = given or named[1], "\n" * named[0].count("\n") + head[named.end() :]
    bare = re.sub(r"\A(\s*#.*\n)+", lambda comments: "\n" * comments[0].count("\n"), bare)
    start = path.with_name("start.csv")
    sniffed = sniff(connection, start, bare, **({} if given is None else {"delim": given}))
    delimiter = given or separator(sniffed[0] if sniffed else ",", bare)
    escape = "\\" if sniffed and sniffed[1] == "\\" else '"'
    records = head_records(bare, delimiter)
    width = usual_width(records)
    if delimiter == " " and (single := single_blanks(bare)) != bare and evenness(head_records(single, " ")) == 1:
        path.write_text(single_blanks(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        return find_layout(connection, path, choices)
    if width < 2:
        column = "one column" if given is None else f"one column when split at {given!r}"
        shown = (records[0][1][0] if records else head).strip()[:60]
        raise LayoutError(f"The file has {column}: {shown!r}. A table needs two. Add one, or {SET_SEPARATOR}.")
    if (even := evenness(records)) < EVEN / 2:
        message = f"Split at {delimiter!r}, only {even:.0%} of the first lines have the most frequent number of cells"
        raise LayoutError(f"{message}, {width}. Correct the file, or {SET_SEPARATOR}.")
    skip, first = first_record(records, width)
    marked = names_after_mark(head, skip, delimiter, width) if any(map(NUMBER.fullmatch, first)) else None
    skip, first = marked or (skip, first)
    header = choices.header
    if header is None:
        table = "\n".join(head.split("\n")[skip:])
        header = bool(marked) or has_header(connection, start, table, delimiter, first, width)
    return Layout(delimiter, escape, skip, width, header, header * max(width - len(first), 0))


def read_start(path: Path) -> str:
    """Returns the start of a file, without a last line that may be incomplete."""
    with path.open(encoding="utf-8", newline="") as text:
        head = text.read(HEAD_CHARACTERS)
        if "\n" not in head.strip():
            head += text.readline(LONGEST_LINE_CHARACTERS) + text.read(HEAD_CHARACTERS)
            if len(head) > LONGEST_LINE_CHARACTERS and "\n" not in head[:LONGEST_LINE_CHARACTERS]:
                raise TableError("The first line is longer than 16 million letters: this is not a table of text.")
        more = text.read(1)
    if not head.strip():
        raise TableError("The file holds only blank space. Check that the export finished.")
    return head[: head.rfind("\n") + 1] if more else head


def sniff(connection: Connection, path: Path, text: str, **given: str | list[str]) -> tuple[str, str, bool] | None:
    """Returns the separator, escape and header that DuckDB detects; None where it finds no layout."""
    lines = [line for line in text.split("\n") if line.count(",") < 5_000]  # more cells would take it minutes
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    options = {"null_padding": True, "ignore_errors": True, "comment": "", "quote": '"', **given}
    names = "".join(f", {name}=?" for name in options)
    with suppress(duckdb.Error):
        query = f"SELECT Delimiter, Escape, HasHeader FROM sniff_csv(?{names})"
        sniffed = first_row(connection, query, [str(path), *options.values()])
        return sniffed[0] if len(sniffed[0]) == 1 else ",", sniffed[1], sniffed[2]
    return None


def separator(sniffed: str, text: str) -> str:
    """Returns what DuckDB found, unless another mark splits all lines and "," only some, or decimal numbers."""
    sniffed = sniffed if usual_width(head_records(text, sniffed)) > 1 else ","
    for mark in SEPARATORS if sniffed == "," else "":
        records = head_records(text if mark != " " else single_blanks(text), mark)
        rows = [record for _, record in records if len(record) == usual_width(records) > 1]
        uneven = not rows or len(rows) < EVEN * len(records)
        if uneven or (len(records[0][1]) < len(rows[0]) and COMMA.search(records[0][1][0])):
            continue
        commas = [cell for record in rows for cell in record if COMMA.search(cell)]
        others = evenness(head_records(text, ","))
        decimals = bool(commas) and all(map(DECIMAL_COMMA.fullmatch, commas))
        fewer, named = others < evenness(records), not any(map(NUMBER.fullmatch, records[0][1]))
        if not others or (decimals and fewer and named) or (mark != " " and (decimals or fewer)):
            return mark
    return sniffed


def head_records(text: str, delimiter: str) -> Records:
    """Returns the records at the start of a file."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=delimiter != " ")
    records, before = [], 0
    with suppress(csv.Error):  # a cell over csv's size limit: the records before it are enough
        for record in reader:
            if any(cell.strip() for cell in record):
                records.append((before, record))
            before = reader.line_num
            if len(records) == HEAD_RECORDS:
                break
    return records


def single_blanks(text: str) -> str:
    """Shortens runs of blanks outside quotes, by which some programs align columns, to one blank."""
    return "\n".join(re.sub(r'("[^"]*")| +', lambda run: run[1] or " ", line).strip(" ") for line in text.split("\n"))


def usual_width(records: Records) -> int:
    """Returns the most frequent number of cells in a record, the larger in a tie; 1 where most have one."""
    counts = Counter(len(record) for _, record in records)
    several = {width: count for width, count in counts.items() if width > 1}
    if not several or (counts[1] > sum(several.values()) and counts[1] > 3):
        return 1
    return max(several, key=lambda width: (several[width], width))


def evenness(records: Records) -> float:
    """Returns the share of records that have the usual number of cells."""
    width = usual_width(records)
    return sum(len(record) == width > 1 for _, record in records) / max(len(records), 1)


def first_record(records: Records, width: int) -> tuple[int, list[str]]:
    """Finds the first line of the table: about as wide as a row or as its filled cells, and at least half filled."""
    ends = [before + 1 + sum(cell.count("\n") for cell in record) for before, record in records]
    gap = next((place for place in range(1, len(records)) if records[place][0] > ends[place - 1]), 0)
    if any(len([*filter(None, record)]) == 1 for _, record in records[:gap]):  # a title, and a blank line
        records = records[gap:]
    rows = [record for _, record in records if len(record) == width]
    filled_width = max(place for row in rows for place, cell in enumerate(row, 1) if cell.strip())
    for (before, record), (after, row) in zip(records, [*records[1:], records[-1]], strict=True):
        filled, heads = sum(map(bool, map(str.strip, record))), len(row) == width and after - before < 2
        whole = len(record) == width or (heads and max(min(width - 1, filled_width), 2) <= len(record) < width)
        if whole and 2 * filled > min(width - 1, filled_width):
            return before, record
    return records[0]


def names_after_mark(head: str, skip: int, delimiter: str, width: int) -> tuple[int, list[str]] | None:
    """Finds a header that begins with a ``#``, as the last line above the table, and its cells."""
    above = [(place, line) for place, line in enumerate(head.split("\n")[:skip]) if line.strip()]
    if above and above[-1][1].startswith("#"):
        cells = next(csv.reader([above[-1][1]], delimiter=delimiter))
        if len(cells) == width and not any(map(NUMBER.fullmatch, cells)):
            return above[-1][0], cells
    return None


def has_header(connection: Connection, path: Path, text: str, delimiter: str, first: list[str], width: int) -> bool:
    """Whether the first line holds names: DuckDB says so, or its numbers count columns or years, or only words."""
    cells = [cell.strip() for cell in first]
    numbers = [cell for cell in cells if NUMBER.fullmatch(cell)]
    if len(numbers) >= max(FEWEST_STEPS, len(cells) - 2) and all(map(PLACE.fullmatch, numbers)):
        steps = {int(later) - int(earlier) for earlier, later in pairwise(numbers)}
        if (steps == {1} and numbers[0] in ("0", "1")) or (all(map(YEAR.fullmatch, numbers)) and min(steps) > 0):
            return True
    if any(re.search("[.,]", number) for number in numbers):
        return False
    if len(first) < width:  # DuckDB takes such a line for a title
        if numbers:
            return False
        text = text.replace("\n", delimiter * (width - len(first)) + "\n", 1)
    sniffed = sniff(connection, path, text, delim=delimiter, nullstr=NO_NUMBERS)
    unnamed = not cells[0] and all(cells[1:])  # pandas and R write no name for their index
    return (sniffed is not None and sniffed[2]) or (not numbers and (sniffed is None or unnamed))
