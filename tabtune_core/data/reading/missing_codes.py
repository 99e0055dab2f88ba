"""Finds the words, numbers and dates that people write for a missing value."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb
import pandas as pd

from tabtune_core.data.findings import Column, Finding, Question, Told, not_asked
from tabtune_core.data.reading.batched_queries import among, quoted
from tabtune_core.data.reading.cells import BLANK, Cells
from tabtune_core.data.reading.sql import first_row
from tabtune_core.data.reading.words import MISSING_WORD
from tabtune_core.wording import counted

CODE = re.compile(r"(-(1|6+|7+|8+|9*[6-9]|[1-9]0+)|66+|77+|88+|9+[6-9])(\.(0+|9+))?")
"""Numbers that people write for a missing number."""
FULL = {2.0**bits - 1 for bits in (15, 16, 31, 32, 63)}
"""The largest whole numbers of the types of programs, which some write instead; others write a power of ten above
BEYOND.
"""
BEYOND = 1e19
NO_DATES = (
    "0001-01-01",
    "1753-01-01",
    "1899-12-30",
    "1899-12-31",
    "1900-01-01",
    "1970-01-01",
    "2099-12-31",
    "2999-12-31",
    "9999-12-31",
)
"""Dates that programs and people write for a missing date or for no end; codes only if YEARS_APART from the other
dates.
"""
YEARS_APART = 20
ENDS = 5
"""How many of the smallest and of the largest different numbers of a column may be such codes."""
SHORT, FEWEST_OF_A_SHORT_CODE, LEAST_ABOVE, STEPS = 90, 3, 3, 3
"""A code with an absolute value below SHORT must occur this often, beside three other numbers. -1 is a code only if all
other numbers are at least LEAST_ABOVE. A negative code is far enough from numbers of 0 or more if it lies STEPS times
the gap between the two smallest of them below.
"""
TWO_LETTERS, FEWEST_CODES = re.compile("[A-Z]{2}"), 3
REGIONS = {"EMEA", "APAC", "LATAM", "AMER", "AMEA", "MENA", "ANZ", "JAPAC", "SEA", "DACH", "CALA", "EUR", "ASIA"}
"""Names beside which NA is North America."""
NAMED_MARKS, NAMED_COLUMNS, MOST_MARKS = 5, 2, 20


def as_one_question(told: Told) -> Told:
    """Merges the questions about marks that may mean missing, in all columns, into one question."""
    findings, questions = told
    several = [question for question in questions if question.field == "missing_marks"]
    if len(several) < 2:
        return told
    where: dict[str, list[str]] = {}
    for question in several:
        column = next((finding.column for finding in findings if question.message.startswith(finding.message)), None)
        for mark in question.options:
            where.setdefault(mark, []).append(repr(column) if column else "the first row")
    many = sorted(where, key=lambda mark: -len(where[mark]))
    shown = [f"{mark!r} in {_and_more(where[mark], NAMED_COLUMNS)}" for mark in many]
    message = f"Some cells may mean missing, and are read as they stand: {_and_more(shown, NAMED_MARKS, '; ')}."
    offer = (
        "The marks that you choose become missing in every column, and a column with only numbers besides them "
        "becomes numeric."
    )
    question = Question("missing-marks", f"{message} {offer}", "missing_marks", tuple(many[:MOST_MARKS]))
    kept = [*not_asked(findings, several), Finding("warning", "missing-marks", message)]
    return kept, [question, *(other for other in questions if other not in several)]


def _and_more(names: Sequence[str], most: int, mark: str = ", ") -> str:
    more = f"{mark}and {len(names) - most:,} more" if len(names) > most else ""
    return mark.join(names[:most]) + more


DATED = ("date", "datetime")
NO_DATE = f"(value::DATE IN ({', '.join(f'DATE {quoted(day)}' for day in NO_DATES)}))"
CODED = {
    "number": "[min(value), max(value)]",
    **dict.fromkeys(
        ("category", "text"), f"list(DISTINCT cell) FILTER (WHERE {MISSING_WORD} OR ltrim(cell, '+') = '')"
    ),
    **dict.fromkeys(
        DATED,
        f"{{'marks': list(DISTINCT {{'cell': cell, 'year': year(value)}}) FILTER (WHERE {NO_DATE}), "
        f"'low': min(year(value)) FILTER (WHERE NOT {NO_DATE}), 'high': max(year(value)) FILTER (WHERE NOT "
        f"{NO_DATE})}}",
    ),
}
"""SQL for the cells that may be codes for missing, by kind."""


def missing_words(words: Sequence[str], unique: int) -> tuple[str, ...]:
    """Returns the words of a column that may mean missing; empty if there is only one other word, as in "none" and
    "some".

    >>> missing_words(["--", "none"], 4), missing_words(["--", "+", "++", "none"], 6)  # the signs are a scale
    (('--', 'none'), ('none',))
    """
    signs = {sign for word in words if "+" in word for sign in (word, word.replace("+", "-"))}
    found = sorted({*words} - signs)
    return tuple(found) if unique - len(found) >= 2 else ()


def missing_codes(
    connection: duckdb.DuckDBPyConnection, cells: Cells, columns: Sequence[Column], frame: pd.DataFrame
) -> list[Finding]:
    """Reports NA that was read as missing among codes of countries, continents and sales regions.

    A file that writes NA in columns of numbers, too, means missing by it.
    """
    found = {}
    for place, column in enumerate(columns):
        if cells.source and column.kind == "category" and column.missing and column.unique >= FEWEST_CODES:
            codes = sorted(frame[column.name].dropna().unique())
            if all(map(TWO_LETTERS.fullmatch, codes)) or REGIONS.intersection(codes):
                found[place] = ", ".join(codes[:3])
    if not found:
        return []
    rows, parameters = cells.source  # type: ignore[misc]
    numbers = [place for place, column in enumerate(columns) if column.kind == "number" and column.missing]
    terms = ", ".join(f"count(*) FILTER (trim(c{place}, {BLANK}) = 'NA')" for place in (*found, *numbers))
    written = first_row(connection, f"SELECT {terms} {rows}", parameters)
    if any(written[len(found) :]):
        return []
    return [
        Finding(
            "warning",
            "missing-codes",
            f"{cells.names[place]!r} holds codes ({codes}, ...) and {counted(times, 'cell')} NA, read as missing. "
            "If NA is a code too, as for Namibia or North America, write it in another way in the file.",
            cells.names[place],
        )
        for (place, codes), times in zip(found.items(), written[: len(found)], strict=True)
        if times
    ]


def far_dates(found: dict[str, Any]) -> tuple[str, ...]:
    """Returns the cells among the ``marks`` that lie far from the other dates, whose first and last years are ``low``
    and ``high``.
    """
    if found["low"] is None:
        return ()
    near = range(found["low"] - YEARS_APART, found["high"] + YEARS_APART + 1)
    return tuple(sorted(mark["cell"] for mark in found["marks"] or () if mark["year"] not in near))


def is_code(value: float | None) -> bool:
    """Whether a number looks like a code for missing.

    >>> list(map(is_code, (-200, -999.0, 9999.9, 98, 9.9e37, -32768, -3, 12, None)))
    [True, True, True, True, True, True, False, False, False]
    """
    if value is None:
        return False
    return (
        CODE.fullmatch(f"{value:.10g}") is not None
        or abs(value) > BEYOND
        or bool(FULL.intersection((value, -value, -value - 1)))
    )


def sentinels(connection: duckdb.DuckDBPyConnection, values: str, places: list[int]) -> dict[int, tuple[str, ...]]:
    """Returns the cells of number columns that look like codes for missing, such as -999: far from all other numbers
    and repeated, or the only negative number.
    """
    ends = connection.execute(
        f"SELECT place, value, count(*), list(DISTINCT cell ORDER BY cell) FROM {values} "
        f"WHERE {among(places)} AND value IS NOT NULL GROUP BY place, value "
        f"QUALIFY row_number() OVER (PARTITION BY place ORDER BY value) <= {ENDS} "
        f"OR row_number() OVER (PARTITION BY place ORDER BY value DESC) <= {ENDS} ORDER BY place, value"
    ).fetchall()
    return {
        place: tuple(_codes([numbers for _, *numbers in group])) for place, group in groupby(ends, key=itemgetter(0))
    }


def _codes(numbers: list[list[Any]]) -> Iterator[str]:
    """Yields codes for missing; ``numbers`` are the smallest and largest values, each with its count and its cells."""
    coded = [is_code(value) for value, *_ in numbers]
    others = [value for (value, *_), code in zip(numbers, coded, strict=True) if not code]
    if len(others) < 2:
        return
    low, second, high = others[0], others[1], others[-1]
    codes = [number for number, code in zip(numbers, coded, strict=True) if code]
    for side in (
        [number for number in codes[::-1] if number[0] < low],
        [number for number in codes if number[0] > high],
    ):
        found = False
        for value, times, cells in (
            side if len(side) < ENDS else []
        ):  # from the others outwards; beside so many codes, these are not known
            gap, short = max(low - value, value - high), abs(value) < SHORT
            apart = gap > high - low or (value < 0 <= low and gap > STEPS * (second - low))
            often = times >= (FEWEST_OF_A_SHORT_CODE if short else 1 if found or (value <= -999 and low >= 0) else 2)
            if apart and often and len(others) > 1 + short and not (value == -1 and low < LEAST_ABOVE):
                found = True
                yield from cells
            else:  # a number like the others
                low, high = min(low, value), max(high, value)
