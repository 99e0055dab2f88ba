"""Finds the layout of a text file: separator, quotes, first line, width, header.

Second step of reading. DuckDB's sniffer finds the separator and the header; the width and the first line are counted
here, because the sniffer takes lines that are too long or too short for titles.
"""

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice, pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path
from statistics import median_low

import duckdb

from tabtune_core.data.findings import SET_SEPARATOR, Finding, ReadingChoices
from tabtune_core.data.reading.misfits import Dialect, Lines, find_misfits, refuse_open_quote
from tabtune_core.data.reading.sql import first_row
from tabtune_core.errors import LayoutError, TableError

HEAD_CHARACTERS = 1 << 18
LONGEST_LINE_CHARACTERS = 1 << 24
"""Limit for the first line; that of a table with 5,000 columns is far shorter."""
HEAD_LINES = 5_000
SNIFFED_LINES, SNIFFED_CHARACTERS = 20_480, 1 << 22
"""DuckDB's default number of lines, limited in characters for wide tables: its sniffer tries every layout on all of their cells."""
MAX_COLUMNS = 5_000
MOSTLY = 0.5
SEPARATORS = ";\t|, "
SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\n', re.IGNORECASE)
"""The line by which Excel names the separator."""
YEAR = re.compile(r"(19\d|20\d)\d|2100")
MANY_YEARS = 5
"""From this many rising years, the line is a header, whatever the gaps between them and however many names it has."""
NO_NAMES = ("na", "nan", "null", "none")
"""Words in a first row of cells."""
NO_NUMBERS = ["", "?", "-", ".", "..", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"]
"""Marks of a missing number: one of them in the first line does not make it a header."""
MANY_PLACES = 4
"""From this many numbers that count the columns, the line is a header."""
LINES_AHEAD = 100
"""Most lines of a cell in quotes in a row that starts with MARK."""
MARK = "#"
"""The start of a comment line or, in files of some programs, of the header."""
NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?\s*")
BLANKS = re.compile(r'("[^"]*")| +')
RULE = re.compile(r"[ |+:]*[-=]{3}[-=|+: ]*")
"""A line that a program draws between rows, of dashes and bars."""
PARTED = re.compile(r".*[-=] ?[|+ ] ?:?[-=].*")
"""A drawn line in which bars or blanks part the columns."""
ROWS_TOLD = re.compile(r"\(\d+ rows?( affected)?\)|\d+ rows? in set.*")
"""The line in which such programs count the rows."""
DRAWN = "drawn-lines"
"""The finding about both."""
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
        delimiter = next((mark for mark in ";\t| " if separates(head if mark != " " else single_blanks(head), mark, quote)), ",")
    records = head_records(head, delimiter, quote)
    if choices.delimiter is None and usual_width(records) < 2:
        tried = [(separator, head_records(head, separator, quote)) for separator in SEPARATORS]
        delimiter, records = max(tried, key=lambda pair: (usual_width(pair[1]) > 1, evenness(pair[1])))
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
            f"The file has one column{asked}: {start[:60]!r}. A table needs a column to predict and at least one to predict "
            f"from. If the cells are separated by another character, {SET_SEPARATOR}."
        )
    skip, first = first_record(records, width)
    free = choices.header is None and choices.header_lines is None  # a table that was read before keeps its names
    together = names_above(records, skip, first) if free or choices.header_lines == 2 else None
    skip, first = together or (skip, first)
    if evenness(split) < MOSTLY:
        raise LayoutError(
            f"Split at {delimiter!r}, only {evenness(split):.0%} of the first {len(split):,} lines have the most frequent number of cells, "
            f"{width}. Correct the file, or {SET_SEPARATOR}."
        )
    numbers = any(NUMBER.fullmatch(cell) for _, record in records for cell in record)
    # in a table of words, the line below it is a row only if one of its cells recurs
    marked = numbers or (skip == 1 and start[1:2] != " " and any({*first} & {*record} for before, record in records if before > skip))
    above = marked_header(start.split("\n")[:skip], delimiter, quote, width) if marked else None
    skip, first = above or (skip, first)
    below = [record for before, record in records if before > skip]
    dialect = Dialect(delimiter, quote, escape, skip, max(width, len(first)), False, 0)
    header = (
        choices.header if choices.header is not None else bool(above or together) or has_header(connection, sniffed, dialect, first, below)
    )
    lines = 2 if together and header else None
    dialect = replace(dialect, skip=blank + skip, header=header, short_header=header * max(width - len(first), 0), header_lines=lines)
    numbered = 2 * sum(NUMBER.fullmatch(record[0]) is not None for _, record in records) > len(records)
    return replace(dialect, comments=blank_comments(path, dialect, header_marked=bool(above), numbered=numbered))


def without_marked(start: str) -> str:
    """Empties the lines that start with a ``#`` outside quotes, unless most lines do."""
    lines, marked, inside = start.split("\n"), [], False
    for line in lines:
        marked.append(line.startswith(MARK) and not inside)
        inside ^= not marked[-1] and line.count('"') % 2 == 1
    return start if 2 * sum(marked) > len(lines) else "\n".join("" if hidden else line for hidden, line in zip(marked, lines, strict=True))


def marked_header(above: list[str], delimiter: str, quote: str, width: int) -> tuple[int, list[str]] | None:
    """Finds a header marked with ``#``: the last line above the first row that has as many cells as a row, none of them a number.

    Returns the number of lines before it, and its cells.
    """
    for before, line in reversed([*enumerate(above)]):
        cells = next(csv.reader([line], delimiter=delimiter, quotechar=quote), [])
        if line.startswith(MARK) and len(cells) == width and not any(map(NUMBER.fullmatch, cells)):
            return before, cells
    return None


def blank_comments(path: Path, dialect: Dialect, *, header_marked: bool, numbered: bool) -> Lines:
    """Empties the comments of a file, and removes the ``#`` of a header; returns the lines of the comments.

    A comment is a line that starts with a ``#`` outside quotes and has too few or too many cells for a row. If rows are ``numbered`` (begin
    with a number), a line with a number after the mark is also a comment: a row that was commented out.
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
                while "".join((line, *ahead)).count(dialect.quote) % 2 and len(ahead) < LINES_AHEAD and (more := next(lines, "")):
                    ahead.append(more)  # a cell in quotes may hold line breaks
                cells = [line]
                with suppress(csv.Error):  # a cell over csv's size limit
                    cells = next(csv.reader([line, *ahead], delimiter=dialect.delimiter, quotechar=dialect.quote), [line])
                if header_marked and number == dialect.skip + 1:
                    line = line.lstrip(MARK + " ")
                elif len(cells) != dialect.width or (numbered and NUMBER.fullmatch(cells[0].lstrip(MARK))):
                    comments.add(number)
                    line = "\n"
            inside ^= line.count(dialect.quote) % 2 == 1
            kept.write(line)
    whole.unlink()
    return comments


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
            raise TableError("The first line is longer than 16 million letters: this is not a table of text, or its line ends were lost.")
    return blank + lead.count("\n"), head[:SNIFFED_CHARACTERS]


def write_start(start: str, path: Path) -> None:
    """Writes the first lines for DuckDB's sniffer, with lines of MAX_COLUMNS cells or more emptied: they would take it minutes."""
    lines = start.split("\n")[:SNIFFED_LINES]
    if len(start) == SNIFFED_CHARACTERS and len(lines) > 1:
        del lines[-1]  # it may be incomplete
    crowded = [max(map(line.count, SEPARATORS.strip())) >= MAX_COLUMNS for line in lines]
    text = "\n".join("" if many else line for many, line in zip(crowded, lines, strict=True))
    path.write_text(text + "\n", encoding="utf-8", newline="\n")


def sniff(connection: duckdb.DuckDBPyConnection, path: Path, **given: str | int | list[str]) -> tuple[str, str, str, bool] | None:
    """Returns the delimiter, quote, escape and header that DuckDB detects; None where it finds no layout."""
    options = {"null_padding": True, "ignore_errors": True, "sample_size": SNIFFED_LINES, "comment": "", **given}
    names = "".join(f", {name}=?" for name in options)
    try:
        query = f"SELECT Delimiter, Quote, Escape, HasHeader FROM sniff_csv(?{names})"
        row = first_row(connection, query, [str(path), *options.values()])
    except duckdb.Error:
        return None
    delimiter, quote, escape = ("" if mark in ("(empty)", "\0") else mark for mark in row[:3])
    return delimiter or ",", quote, escape, row[3]


def head_records(head: str, delimiter: str, quote: str) -> list[tuple[int, list[str]]]:
    """Returns the non-blank records at the start of a file, each with the number of lines before it."""
    reader = csv.reader(io.StringIO(head), delimiter=delimiter, quotechar=quote)
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
    """Whether ``mark`` separates cells although DuckDB found ',': all lines except notes split evenly at it, while at ',' some do not or
    only decimal numbers are split.
    """
    records = head_records(head, mark, quote)
    width = usual_width(records)
    whole = [len(record) == width for _, record in records]
    table = records[whole.index(True) : len(whole) - whole[::-1].index(True)] if width > 1 else []
    cells = [cell for _, record in table for cell in record if "," in cell]
    if not cells or not all(len(record) == width for _, record in table):
        return False
    if not whole[0] and "," in "".join(table[0][1]):  # the line above is not a note but a header without the mark
        return False
    decimals = whole[0] and all(map(DECIMAL_COMMA.fullmatch, cells))
    if mark == " ":  # which may stand in a cell: only below a header without numbers
        return decimals and not any(map(NUMBER.fullmatch, records[0][1]))
    return decimals or evenness(head_records(head, ",", quote)) < 1


def single_blanks(text: str) -> str:
    """Shortens runs of blanks outside quotes to one blank, and removes those around lines.

    >>> single_blanks('  1  "New  York" ')
    '1 "New  York"'
    """
    return "\n".join(BLANKS.sub(lambda found: found[1] or " ", line).strip(" ") for line in text.split("\n"))


def is_aligned(head: str, records: list[tuple[int, list[str]]], quote: str) -> bool:
    """Whether blanks align the columns: all lines split evenly at runs of blanks, and into ``records``, at each blank, less evenly or into
    columns of which one but the last is always empty.
    """
    single = single_blanks(head)
    if single == head or evenness(head_records(single, " ", quote)) < 1:
        return False
    return evenness(records) < 1 or (len(records) > 1 and not all(map(any, zip(*(cells[:-1] for _, cells in records), strict=True))))


def erase_rules(path: Path, delimiter: str | None) -> list[Finding]:
    """Empties the lines that a program draws between rows and that in which it counts them, and removes the bars around rows.

    Does so only where bars or blanks part the columns, and outside quotes; returns what was found.
    """
    if delimiter not in (None, "|", " "):
        return []
    with path.open(encoding="utf-8") as text:
        start = text.read(HEAD_CHARACTERS)
    lines = [line.strip() for line in start.split("\n")[: None if len(start) < HEAD_CHARACTERS else -1]]
    drawn = [line for line in lines if RULE.fullmatch(line)]
    rows = [line for line in lines if "|" in line and not RULE.fullmatch(line)]
    framed = bool(rows) and all(re.fullmatch(r"\|.*\|", line) for line in rows)
    if not drawn or not (framed or any(map(PARTED.fullmatch, drawn))):
        return []
    erased, inside, number = Lines(), False, 0

    def bare(line: str) -> str:
        nonlocal inside, number
        text, within = line.strip(), inside
        inside, number = inside ^ (line.count('"') % 2 == 1), number + 1
        if within:
            return line
        if RULE.fullmatch(text) or ROWS_TOLD.fullmatch(text):
            erased.add(number)
            return "\n"
        return f"{text[1:-1]}\n" if framed and re.fullmatch(r"\|.*\|", text) else line

    rewrite(path, bare)
    return [Finding("info", DRAWN, f"Drawn between rows, or counting them, and left out: {erased}.")]


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Writes a file with each line changed."""
    whole = path.with_name("before.csv")
    path.rename(whole)
    with whole.open(encoding="utf-8", newline="\n") as lines, path.open("w", encoding="utf-8", newline="\n") as kept:
        kept.writelines(map(change, lines))
    whole.unlink()


def usual_width(records: list[tuple[int, list[str]]]) -> int:
    """Returns the most frequent number of cells in a record, the larger in a tie; 1 where most records have one cell."""
    counts = Counter(len(record) for _, record in records)
    several = {width: count for width, count in counts.items() if width > 1}
    if not several or (counts[1] > sum(several.values()) and counts[1] > 3):
        return 1
    return max(several, key=lambda width: (several[width], width))


def evenness(records: list[tuple[int, list[str]]]) -> float:
    """Returns the share of records that have the usual number of cells."""
    width = usual_width(records)
    return sum(len(record) == width for _, record in records) / max(len(records), 1)


def first_record(records: list[tuple[int, list[str]]], width: int) -> tuple[int, list[str]]:
    """Finds the first line of the table: as wide as a row, one cell short or without the cells that are empty in each row, and at least
    half filled.
    """
    filled_width = max(place for _, record in records for place, cell in enumerate(record, 1) if len(record) == width and cell.strip())
    fill = [sum(bool(cell.strip()) for cell in record) for _, record in records]
    usual = width - 1 if max(fill) >= width - 1 else median_low(fill)  # a note beside the table may widen it
    for before, record in records:
        filled = sum(bool(cell.strip()) for cell in record)
        if len(record) >= max(min(width - 1, filled_width), 2) and filled * 2 > min(usual, width - 1):
            below = next((row for start, row in records if start > before), ())
            # else a title with as many cells as names, some of which may be years
            if len(record) >= width - 1 or any(NUMBER.fullmatch(cell) and not YEAR.fullmatch(cell) for cell in below):
                return before, record
    return records[0]


def names_above(records: list[tuple[int, list[str]]], skip: int, parts: list[str]) -> tuple[int, list[str]] | None:
    """Returns the record above the first line of the table if it holds questions and that line their parts: where the line has no name,
    the record has one, and it has others.
    """
    above = next(((before, record) for before, record in reversed(records) if before < skip), None)
    if above is None or len(above[1]) < len(parts):
        return None
    pairs = [(name.strip(), part.strip()) for name, part in zip(above[1], parts, strict=False)]
    both, unnamed = sum(bool(name and part) for name, part in pairs), sum(not name for name, _ in pairs)
    return above if all(map(any, pairs)) and "" in [part for _, part in pairs] and min(both, unnamed) > 1 else None


def names_numbers(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether each column of numbers begins with a word, there is one, and no word of the first line recurs in its column.

    >>> names_numbers(["who", "days"], [["Ann", "3"], ["Bob", ""], ["Cy", "12"]]), names_numbers(["Ann", "3"], [["Bob", "12"]])
    (True, False)
    """
    if len(first) > 2 and not first[0].strip():  # pandas and R write an empty name for their index
        first, below = first[1:], [record[1:] for record in below]
    columns = [[record[place].strip() for record in below if place < len(record)] for place in range(len(first))]
    if any(cell.strip() and cell.strip() in column for cell, column in zip(first, columns, strict=True)):
        return False
    filled = [[cell for cell in column if cell] for column in columns]
    of_numbers = [
        cell.strip()
        for cell, column in zip(first, filled, strict=True)
        if len(column) > 1 and sum(map(bool, map(NUMBER.fullmatch, column))) >= MOSTLY * len(column)
    ]
    return bool(of_numbers) and all(re.search(r"[^\W\d_]{2}", cell) and cell.lower() not in NO_NAMES for cell in of_numbers)


def has_header(connection: duckdb.DuckDBPyConnection, path: Path, dialect: Dialect, first: list[str], below: list[list[str]]) -> bool:
    """Whether the first line is a header: DuckDB says so, or it has consecutive years, numbers that count the columns, or no digits, or
    names of columns of numbers.
    """
    if len(first) < dialect.width - 1:  # DuckDB may take a line that is too short for a title
        lines = path.read_text(encoding="utf-8").split("\n")
        lines[dialect.skip] += dialect.delimiter * (dialect.width - len(first))
        path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    found = sniff(connection, path, delim=dialect.delimiter, quote=dialect.quote, skip=dialect.skip, nullstr=NO_NUMBERS)
    if (found is not None and found[3]) or names_numbers(first, below):
        return True
    cells = [cell.strip() for cell in first]
    places = cells[1:] if not cells[0] else cells  # pandas writes an empty name for its index
    if len(places) >= MANY_PLACES and any(places == [str(start + place) for place in range(len(places))] for start in (0, 1)):
        return True
    others = [cell for cell in cells if not YEAR.fullmatch(cell)]
    steps = {int(later) - int(earlier) for earlier, later in pairwise(filter(YEAR.fullmatch, cells))}
    if steps == {1} and len([*filter(None, others)]) <= 2:
        return True
    if len(cells) - len(others) >= MANY_YEARS and min(steps) > 0 and not any(map(NUMBER.fullmatch, others)):
        return True
    return found is None and not any(character.isdigit() for cell in first for character in cell)
