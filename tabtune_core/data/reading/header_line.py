"""Finds the line of a text file that holds the names of the columns.

Part of the second step of reading. In: the records at the start of the file. Out: the place of the line, and whether it
holds names.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import duckdb

from tabtune_core.data.reading.misfits import Dialect
from tabtune_core.data.reading.sniffer import sniff

MOSTLY = 0.5
YEAR = re.compile(r"(19\d|20\d)\d|2100")
MANY_YEARS = 5
"""From this many rising years, the line is a header, whatever the gaps between them and however many names it has."""
NO_NAMES = ("na", "nan", "null", "none")
"""Words in a first row of cells."""
NO_NUMBERS = ["", "?", "-", ".", "..", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>"]
"""Marks of a missing number: one of them in the first line does not make it a header."""
MANY_PLACES = 4
"""From this many numbers that count the columns, the line is a header."""
FEWEST_CELLS_ABOVE = 10
"""Fewest cells, besides the first of each row, of another table above."""
NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?\s*")


def first_record(records: list[tuple[int, list[str]]], width: int) -> tuple[int, list[str]]:
    """Finds the first line of the table: as wide as a row, one cell short or without the cells that are empty in each
    row, and at least half filled.
    """
    records = records[records_above(records, width) :]
    filled_width = max(
        place for _, record in records for place, cell in enumerate(record, 1) if len(record) == width and cell.strip()
    )
    fill = [sum(bool(cell.strip()) for cell in record) for _, record in records]
    usual = width - 1 if max(fill) >= width - 1 else median_low(fill)  # a note beside the table may widen it
    for place, ((before, record), filled) in enumerate(zip(records, fill, strict=True), 1):
        if len(record) >= max(min(width - 1, filled_width), 2) and filled * 2 > min(usual, width - 1):
            below, *others = [row for _, row in records[place:]] or [[]]
            if filled == 1 and names_numbers(below, others):
                continue  # the title of a table of two columns
            # else a title with as many cells as names, some of which may be years
            if len(record) >= width - 1 or any(NUMBER.fullmatch(cell) and not YEAR.fullmatch(cell) for cell in below):
                return before, record
    return records[0]


def records_above(records: list[tuple[int, list[str]]], width: int) -> int:
    """Counts the records above the table that blank lines separate from it: those of blocks without a row, and those
    above a larger block that begins with names of its columns of numbers, unless they are single lines, which may hold
    names of the same columns.
    """
    ends = [before + 1 + sum(cell.count("\n") for cell in record) for before, record in records]
    gaps = [place for place in range(1, len(records)) if records[place][0] > ends[place - 1]]
    above, single = 0, True
    for start, end in pairwise([0, *gaps, len(records)]):
        block = [record for _, record in records[start:end]]
        wide = [place for place, record in enumerate(block) if len(record) == width]
        other = sum(len(record) == width for _, record in records[:start]) <= 2  # with more, rows of the same table
        named = (
            other
            and not single
            and 2 * start < end
            and wide[:1] in ([0], [1])
            and names_numbers(block[wide[0]], block[wide[0] + 1 :])
        )
        if above == start and not wide and (len(block) > 1 or len(block[0]) < width - 1):
            above = end
        else:
            above, single = start if named else above, (single or named) and wide == [*range(len(block))] == [0]
    return above if above < len(records) else 0


def rows_above(records: list[tuple[int, list[str]]], skip: int) -> int:
    """Counts the rows of another table in the first ``skip`` lines: many, with most of their cells filled, and a number
    in each.
    """
    rows = [record for before, record in records if before < skip and any(map(NUMBER.fullmatch, record))]
    widths = Counter(len(record) for record in rows if 2 * sum(map(bool, record)) > len(record))
    width, count = max(widths.items(), key=lambda pair: pair[1], default=(0, 0))
    return count if count > 2 and count * (width - 1) >= FEWEST_CELLS_ABOVE else 0


def names_above(records: list[tuple[int, list[str]]], skip: int, parts: list[str]) -> tuple[int, list[str]] | None:
    """Returns the record above the first line of the table if it holds questions and that line their parts: where the
    line has no name, the record has one, and it has others.
    """
    above = next(((before, record) for before, record in reversed(records) if before < skip), None)
    if above is None or len(above[1]) < len(parts):
        return None
    pairs = [(name.strip(), part.strip()) for name, part in zip(above[1], parts, strict=False)]
    both, unnamed = sum(bool(name and part) for name, part in pairs), sum(not name for name, _ in pairs)
    return above if all(map(any, pairs)) and "" in [part for _, part in pairs] and min(both, unnamed) > 1 else None


def names_numbers(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether each column of numbers begins with a word, there is one, and no word of the first line recurs in its
    column.

    >>> names_numbers(["who", "days"], [["Ann", "3"], ["Bob", ""], ["Cy", "12"]]), names_numbers(["Ann", "3"], [["Bob", "12"]])
    (True, False)
    """  # noqa: E501
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
    return bool(of_numbers) and all(
        re.search(r"[^\W\d_]{2}", cell) and cell.lower() not in NO_NAMES for cell in of_numbers
    )


def count_up(cells: list[str]) -> bool:
    """Whether cells are 0, 1, 2, ... or 1, 2, 3, ..."""
    return any(cells == [str(start + place) for place in range(len(cells))] for start in (0, 1))


def has_header(
    connection: duckdb.DuckDBPyConnection, path: Path, dialect: Dialect, first: list[str], below: list[list[str]]
) -> bool:
    """Whether the first line is a header: DuckDB says so, or it has consecutive years, numbers that count the columns,
    or no digits, or names of columns of numbers, or no name for a column that counts the rows.
    """
    if len(first) < dialect.width - 1:  # DuckDB may take a line that is too short for a title
        lines = path.read_text(encoding="utf-8").split("\n")
        lines[dialect.skip] += dialect.delimiter * (dialect.width - len(first))
        path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
    found = sniff(connection, path, delim=dialect.delimiter, quote=dialect.quote, skip=dialect.skip, nullstr=NO_NUMBERS)
    if (found is not None and found[3]) or names_numbers(first, below):
        return True
    cells, index = [cell.strip() for cell in first], [record[0].strip() for record in below]
    if not cells[0] and len(index) > 1 and count_up(index):
        return True  # pandas and R write no name for their index
    places = cells[1:] if not cells[0] else cells  # pandas writes an empty name for its index
    if len(places) >= MANY_PLACES and count_up(places):
        return True
    others = [cell for cell in cells if not YEAR.fullmatch(cell)]
    steps = {int(later) - int(earlier) for earlier, later in pairwise(filter(YEAR.fullmatch, cells))}
    if steps == {1} and len([*filter(None, others)]) <= 2:
        return True
    if len(cells) - len(others) >= MANY_YEARS and min(steps) > 0 and not any(map(NUMBER.fullmatch, others)):
        return True
    return found is None and not any(character.isdigit() for cell in first for character in cell)
