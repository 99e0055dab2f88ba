"""Finds the layout of a text file: separator, quotes, first line, width, header.

Second step of reading. DuckDB's sniffer finds the separator and the header; the width and the first line are counted
here, because the sniffer takes lines that are too long or too short for titles.
"""

import csv
import io
import re
from collections import Counter, deque
from contextlib import suppress
from dataclasses import replace
from itertools import count, islice
from mmap import ACCESS_READ, mmap
from pathlib import Path

import duckdb

from tabtune_core.data.findings import SET_SEPARATOR, ReadingChoices
from tabtune_core.data.reading.drawn_lines import HEAD_CHARACTERS, rewrite
from tabtune_core.data.reading.header_line import MOSTLY, NUMBER, first_record, has_header, names_above, rows_above
from tabtune_core.data.reading.misfits import Dialect, Lines, find_misfits, refuse_open_quote
from tabtune_core.data.reading.sniffer import SNIFFED_CHARACTERS, SNIFFED_LINES, sniff
from tabtune_core.errors import LayoutError, TableError

LONGEST_LINE_CHARACTERS = 1 << 24
"""Limit for the first line; that of a table with 5,000 columns is far shorter."""
HEAD_LINES = 5_000
MAX_COLUMNS = 5_000
SEPARATORS = ";\t|, "
SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\n', re.IGNORECASE)
"""The line by which Excel names the separator."""
LINES_AHEAD = 100
"""Most lines of a cell in quotes in a row that starts with MARK."""
MARK = "#"
"""The start of a comment line or, in files of some programs, of the header."""
OPEN_CELL = re.compile('[;,\t|]"[^"]*$')
"""A cell in quotes that goes on in the next line, in a line without its other cells in quotes."""
BLANKS = re.compile(r'("[^"]*")| +')
EVEN = 0.8
"""Least share of the lines that a separator splits evenly; the others have a cell too many or too few."""
DECIMAL_COMMA = re.compile(r"\s*[-+]?[\d.]*\d,\d+(?:[eE][-+]?\d+)?\s*")


def find_dialect(connection: duckdb.DuckDBPyConnection, path: Path, choices: ReadingChoices) -> Dialect:
    """Finds the layout of a UTF-8 file, as far as ``choices`` do not fix it, and empties the lines of its comments.

    Raises TableError for a file without text, a separator that is not one character, and a file of one column.
    """
    if choices.delimiter is not None and (len(choices.delimiter) != 1 or choices.delimiter in '\r\n"'):
        raise LayoutError(f"A separator is one character, such as ',' or ';'. Asked for: {choices.delimiter!r}.")
    blank, start = first_letters(path)
    told = SEPARATOR_LINE.match(start)
    if told and choices.delimiter is None:
        choices, blank, start = replace(choices, delimiter=told[1]), blank + 1, start[told.end() :]
    sniffed = path.with_name("start.csv")
    uncommented = without_marked(start)
    write_start(uncommented, sniffed)
    head = uncommented[:HEAD_CHARACTERS]
    given: dict[str, str | int] = {} if choices.delimiter is None else {"delim": choices.delimiter}
    found = sniff(connection, sniffed, **given)
    delimiter, quote, escape = (found or (choices.delimiter or ",", '"', ""))[:3]
    quote = quote or '"'
    escape = escape if escape == "\\" else quote  # the sniffer also returns an apostrophe that precedes a quote
    quoted, usual = (evenness(head_records(head, delimiter, mark)) for mark in (quote, '"'))
    if usual > quoted:  # with a broken quote in the file, the sniffer may take apostrophes for quotes
        quote = escape = '"'
    if choices.delimiter is None and delimiter == ",":
        delimiter = next(
            (mark for mark in ";\t| " if separates(head if mark != " " else single_blanks(head), mark, quote)), ","
        )
    records = head_records(head, delimiter, quote)
    if choices.delimiter is None:
        delimiter, records = other_than_one_column(head, quote, delimiter, records)
    if delimiter == " " and is_aligned(head, records, quote):
        rewrite(path, single_blanks)
        return find_dialect(connection, path, choices)
    width = usual_width(records)
    split = [record for record in records if len(record[1]) > 1]
    if width < 2 or evenness(split) < MOSTLY:
        refuse_open_quote(find_misfits(path, Dialect(delimiter, quote, quote, blank, 2, False, 0)).opened)
    if width < 2:
        start = records[0][1][0] if records else head  # no records if a cell exceeds the size limit of csv
        asked = "" if choices.delimiter is None else f" when split at {choices.delimiter!r}"
        raise LayoutError(
            f"The file has one column{asked}: {start[:60]!r}. A table needs a column to predict and at least one to "
            "predict "
            f"from. If the cells are separated by another character, {SET_SEPARATOR}."
        )
    skip, first = first_record(records, width)
    free = choices.header is None and choices.header_lines is None  # a table that was read before keeps its names
    together = names_above(records, skip, first) if free or choices.header_lines == 2 else None
    skip, first = together or (skip, first)
    if evenness(split) < MOSTLY:
        raise LayoutError(
            f"Split at {delimiter!r}, only {evenness(split):.0%} of the first {len(split):,} lines have the most "
            "frequent number of cells, "
            f"{width}. Correct the file, or {SET_SEPARATOR}."
        )
    numbers = any(NUMBER.fullmatch(cell) for _, record in records for cell in record)
    # in a table of words, the line below it is a row only if one of its cells recurs
    marked = numbers or (
        skip == 1 and start[1:2] != " " and any({*first} & {*record} for before, record in records if before > skip)
    )
    above = marked_header(start.split("\n"), skip, delimiter, quote, width) if marked else None
    skip, first = above or (skip, first)
    empty_first(sniffed, skip, quote)
    empty_first(path, blank + skip, quote)
    below = [record for before, record in records if before > skip]
    dialect = Dialect(delimiter, quote, escape, skip, max(width, len(first)), False, 0)
    header = (
        choices.header
        if choices.header is not None
        else bool(above or together) or has_header(connection, sniffed, dialect, first, below)
    )
    lines = 2 if together and header else None
    dialect = replace(
        dialect, skip=blank + skip, header=header, short_header=header * max(width - len(first), 0), header_lines=lines
    )
    dialect = replace(dialect, rows_above=rows_above(records, skip))
    numbered = 2 * sum(NUMBER.fullmatch(record[0]) is not None for _, record in records) > len(records)
    return replace(dialect, comments=blank_comments(path, dialect, header_marked=bool(above), numbered=numbered))


def other_than_one_column(
    head: str, quote: str, delimiter: str, records: list[tuple[int, list[str]]]
) -> tuple[str, list[tuple[int, list[str]]]]:
    """Returns the separator with the most even records if ``delimiter`` makes one column, or only an empty one before
    it, as an indent.
    """
    indented = len(records) > 1 and all(len(record) == 2 and not record[0].strip() for _, record in records)
    if usual_width(records) > 1 and not indented:
        return delimiter, records
    tried = [(separator, head_records(head, separator, quote)) for separator in SEPARATORS]
    best = max(tried, key=lambda pair: (usual_width(pair[1]) > 1 and pair[0] != delimiter, evenness(pair[1])))
    return best if usual_width(best[1]) > 1 or not indented else (delimiter, records)


def without_marked(start: str) -> str:
    """Empties the lines that start with a ``#`` outside quotes, unless most lines do."""
    lines, marked, inside = start.split("\n"), list[bool](), False
    while len(marked) < len(lines):
        number, line = len(marked), lines[len(marked)]
        found = lines_of_marked(lines[number : number + LINES_AHEAD]) if line.startswith(MARK) and not inside else 0
        inside ^= not found and line.count('"') % 2 == 1
        marked += [True] * found or [False]
    return (
        start
        if 2 * sum(marked) > len(lines)
        else "\n".join("" if hidden else line for hidden, line in zip(marked, lines, strict=True))
    )


def lines_of_marked(lines: list[str]) -> int:
    """Counts the lines of the first record if it begins with a ``#``; 0 if it does not.

    It has several if a cell in quotes has line breaks and the record has as many cells as the next one; else it is a
    comment of a line.

    >>> lines_of_marked(['#,"Why', 'not?"', "1,2"]), lines_of_marked(['# a,"b', '1,2,"c"', "3,4,5"]), lines_of_marked(["1,2"])
    (2, 1, 0)
    """  # noqa: E501
    if not lines[0].startswith(MARK):
        return 0
    if opened := OPEN_CELL.search(re.sub('"[^"]*"', "", lines[0])):
        reader = csv.reader(io.StringIO("\n".join(lines), newline=""), delimiter=opened[0][0], strict=True)
        with suppress(csv.Error, StopIteration):
            cells, number = next(reader), reader.line_num
            if len(cells) == len(next(reader)):
                return number
    return 1


def marked_header(lines: list[str], skip: int, delimiter: str, quote: str, width: int) -> tuple[int, list[str]] | None:
    """Finds a header marked with ``#``: the last record in the first ``skip`` lines that has as many cells as a row,
    none of them a number.

    Returns the number of lines before it, and its cells.
    """
    for before in reversed(range(skip)):
        record = "\n".join(lines[before : before + lines_of_marked(lines[before : before + LINES_AHEAD])])
        cells = next(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter, quotechar=quote), [])
        if cells and len(cells) == width and not any(map(NUMBER.fullmatch, cells)):
            return before, cells
    return None


def blank_comments(path: Path, dialect: Dialect, *, header_marked: bool, numbered: bool) -> Lines:
    """Empties the comments of a file, and removes the ``#`` of a header; returns the lines of the comments.

    A comment is a line that starts with a ``#`` outside quotes and has too few or too many cells for a row. If rows are
    ``numbered`` (begin with a number), a line with a number after the mark is also a comment: a row that was commented
    out.
    """
    comments = Lines()
    with path.open("rb") as held, mmap(held.fileno(), 0, access=ACCESS_READ) as text:
        if not re.search(rb"(?:^|\n)#", text):
            return comments
    inside, number, ahead, whole = False, 0, deque[str](), path.with_name("commented.csv")
    path.rename(whole)
    with whole.open(encoding="utf-8", newline="\n") as lines, path.open("w", encoding="utf-8", newline="\n") as kept:
        while line := (ahead.popleft() if ahead else next(lines, "")):
            number += 1
            if number <= dialect.skip:
                line = "\n"  # a quote may open in it
            elif line.startswith(MARK) and not inside:
                while (
                    "".join((line, *ahead)).count(dialect.quote) % 2
                    and len(ahead) < LINES_AHEAD
                    and (more := next(lines, ""))
                ):
                    ahead.append(more)  # a cell in quotes may hold line breaks
                cells = [line]
                with suppress(csv.Error):  # a cell over csv's size limit
                    cells = next(
                        csv.reader([line, *ahead], delimiter=dialect.delimiter, quotechar=dialect.quote), [line]
                    )
                if header_marked and number == dialect.skip + 1:
                    line = line.lstrip(MARK + " ")
                elif len(cells) != dialect.width or (numbered and NUMBER.fullmatch(cells[0].lstrip(MARK))):
                    comments.add(number)
                    line = "\n"
            inside ^= line.count(dialect.quote) % 2 == 1
            kept.write(line)
    whole.unlink()
    return comments


def empty_first(path: Path, number: int, quote: str) -> None:
    """Empties the first lines of a file if they have quotes: DuckDB would skip records, and take a cell with line
    breaks for one line.
    """
    with path.open(encoding="utf-8", newline="\n") as lines:
        quoted = any(quote in line for line in islice(lines, number))
    if quoted:
        places = count(1)
        rewrite(path, lambda line: "\n" if next(places) <= number else line)


def first_letters(path: Path) -> tuple[int, str]:
    """Returns the number of blank lines at the start of a file, and the text after them.

    Raises TableError for a file without text, and for a first line that is too long.
    """
    blank = 0
    with path.open(encoding="utf-8", newline="") as text:
        head = text.read(SNIFFED_CHARACTERS)
        while head and not head.strip():
            blank += head.count("\n")
            head = text.read(SNIFFED_CHARACTERS)
        if not head:
            raise TableError("The file holds only blank space. Check that the export finished.")
        lead = head[: len(head) - len(head.lstrip())]
        head = head[lead.rfind("\n") + 1 :] + text.read(SNIFFED_CHARACTERS)
        if "\n" not in head and "\n" not in text.read(LONGEST_LINE_CHARACTERS - len(head)) and text.read(1):
            raise TableError(
                "The first line is longer than 16 million letters: this is not a table of text, or its line ends "
                "were lost."
            )
    return blank + lead.count("\n"), head[:SNIFFED_CHARACTERS]


def write_start(start: str, path: Path) -> None:
    """Writes the first lines for DuckDB's sniffer, with lines of MAX_COLUMNS cells or more emptied: they would take it
    minutes.
    """
    lines = start.split("\n")[:SNIFFED_LINES]
    if len(start) == SNIFFED_CHARACTERS and len(lines) > 1:
        del lines[-1]  # it may be incomplete
    crowded = [max(map(line.count, SEPARATORS.strip())) >= MAX_COLUMNS for line in lines]
    text = "\n".join("" if many else line for many, line in zip(crowded, lines, strict=True))
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def head_records(head: str, delimiter: str, quote: str) -> list[tuple[int, list[str]]]:
    """Returns the non-blank records at the start of a file, each with the number of lines before it."""
    reader = csv.reader(io.StringIO(head), delimiter=delimiter, quotechar=quote, skipinitialspace=delimiter != " ")
    records = []
    before = 0
    with suppress(csv.Error):  # a cell over csv's size limit: the records before it are enough
        for record in islice(reader, HEAD_LINES):
            if any(cell.strip() for cell in record):
                records.append((before, record))
            before = reader.line_num
    complete = len(head) < HEAD_CHARACTERS or len(records) < 2
    return records if complete else records[:-1]


def separates(head: str, mark: str, quote: str) -> bool:
    """Whether ``mark`` separates cells although DuckDB found ',': most lines except notes split evenly at it, while at
    ',' some do not or split into fewer cells, or only decimal numbers are split.
    """
    records = head_records(head, mark, quote)
    width = usual_width(records)
    whole = [len(record) == width for _, record in records]
    table = records[whole.index(True) : len(whole) - whole[::-1].index(True)] if width > 1 else []
    rows = [record for _, record in table if len(record) == width]
    even, marked = len(rows) >= EVEN * len(table), len(records[0][1]) > 1 if records else False
    if not even or not any("," in cell for record in rows for cell in record):
        return False
    if not marked and "," in "".join(rows[0]):  # the line above is not a note but a header without the mark
        return False
    named = not any(map(NUMBER.fullmatch, rows[0]))
    if mark == " ":  # which may stand in a cell: only below a header without numbers, and in each line
        return whole[0] and named and len(rows) == len(table) and only_decimals(rows)
    prose = named and not any(re.search(r",\S", name) for name in rows[0])  # the commas of its names separate no cells
    others = head_records(head, ",", quote)
    return (marked and (only_decimals(rows[prose:]) or width > usual_width(others))) or evenness(others) < 1


def only_decimals(rows: list[list[str]]) -> bool:
    """Whether each cell with a comma is a number with a decimal comma."""
    return all(DECIMAL_COMMA.fullmatch(cell) for record in rows for cell in record if "," in cell)


def single_blanks(text: str) -> str:
    """Shortens runs of blanks outside quotes to one blank, and removes those around lines.

    >>> single_blanks('  1  "New  York" ')
    '1 "New  York"'
    """
    return "\n".join(BLANKS.sub(lambda found: found[1] or " ", line).strip(" ") for line in text.split("\n"))


def is_aligned(head: str, records: list[tuple[int, list[str]]], quote: str) -> bool:
    """Whether blanks align the columns: all lines split evenly at runs of blanks, except an indented header without a
    name for row names, and into ``records``, at each blank, less evenly or into columns of which one but the last is
    always empty.
    """
    single = single_blanks(head)
    split = head_records(single, " ", quote)
    indented = (
        len(split) > 2 and len(split[0][1]) == usual_width(split) - 1 and head.split("\n")[split[0][0]].startswith(" ")
    )
    if single == head or evenness(split[indented:]) < 1:
        return False
    return evenness(records) < 1 or (
        len(records) > 1 and not all(map(any, zip(*(cells[:-1] for _, cells in records), strict=True)))
    )


def usual_width(records: list[tuple[int, list[str]]]) -> int:
    """Returns the most frequent number of cells in a record, the larger in a tie; 1 where most records have one cell."""  # noqa: E501
    counts = Counter(len(record) for _, record in records)
    several = {width: count for width, count in counts.items() if width > 1}
    if not several or (counts[1] > sum(several.values()) and counts[1] > 3):
        return 1
    return max(several, key=lambda width: (several[width], width))


def evenness(records: list[tuple[int, list[str]]]) -> float:
    """Returns the share of records that have the usual number of cells."""
    width = usual_width(records)
    return sum(len(record) == width for _, record in records) / max(len(records), 1)
