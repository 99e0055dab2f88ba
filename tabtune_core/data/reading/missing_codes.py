"""Finds the words and numbers that people write for a missing value, and asks about all of them at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb

from tabtune_core.data.findings import Finding, Question, Told
from tabtune_core.data.reading.batched_queries import among
from tabtune_core.data.reading.words import MISSING_WORD

CODE = re.compile(r"(-(1|6+|7+|8+|9*[6-9]|[1-9]0+)|66+|77+|88+|9+[6-9])(\.(0+|9+))?")
"""Numbers that people write for a missing number."""
ENDS = 5
"""How many of the smallest and of the largest different numbers of a column may be such codes."""
SHORT, FEWEST_OF_A_SHORT_CODE, LEAST_ABOVE, STEPS = 90, 3, 3, 3
"""A code below SHORT must occur this often, beside three other numbers; -1 only if all others are LEAST_ABOVE or more.
A negative code lies STEPS times the gap between the two smallest of the numbers below them, if those are 0 or more.
"""
NAMED_MARKS, NAMED_COLUMNS, MOST_MARKS = 5, 2, 20
WORDS = f"list(DISTINCT cell) FILTER (WHERE {MISSING_WORD} OR ltrim(cell, '+') = '')"
"""SQL for the words of a column that may mean missing, and the signs of a scale."""


def marks_question(marks: Mapping[str, Sequence[str]]) -> Told:
    """Asks which of the ``marks``, by column, mean missing."""
    where: dict[str, list[str]] = {}
    for column, found in marks.items():
        for mark in found:
            where.setdefault(mark, []).append(repr(column))
    if not where:
        return [], []
    many = sorted(where, key=lambda mark: -len(where[mark]))
    shown = [f"{mark!r} in {_and_more(where[mark], NAMED_COLUMNS)}" for mark in many]
    message = f"Some cells may mean missing, and are read as they stand: {_and_more(shown, NAMED_MARKS, '; ')}."
    offer = (
        "The marks that you choose become missing in every column, and a column with only numbers besides them "
        "becomes numeric."
    )
    question = Question("missing-marks", f"{message} {offer}", "missing_marks", tuple(many[:MOST_MARKS]))
    return [Finding("warning", "missing-marks", message)], [question]


def _and_more(names: Sequence[str], most: int, mark: str = ", ") -> str:
    more = f"{mark}and {len(names) - most:,} more" if len(names) > most else ""
    return mark.join(names[:most]) + more


def missing_words(words: Sequence[str], unique: int) -> tuple[str, ...]:
    """Returns the words of a column that may mean missing; none if there is only one other, as in "none" and "some".

    >>> missing_words(["--", "none"], 4), missing_words(["--", "+", "++", "none"], 6)  # the signs are a scale
    (('--', 'none'), ('none',))
    """
    signs = {sign for word in words if "+" in word for sign in (word, word.replace("+", "-"))}
    found = sorted({*words} - signs)
    return tuple(found) if unique - len(found) >= 2 else ()


def is_code(value: float | None) -> bool:
    """Whether a number looks like a code for missing.

    >>> list(map(is_code, (-200, -999.0, 9999.9, 98, -3, 12, None)))
    [True, True, True, True, False, False, False]
    """
    return value is not None and CODE.fullmatch(f"{value:.10g}") is not None


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
    below, above = [one for one in codes[::-1] if one[0] < low], [one for one in codes if one[0] > high]
    for side in (below, above):
        found = False
        for value, times, cells in side if len(side) < ENDS else []:  # from the others outwards
            gap, short = max(low - value, value - high), abs(value) < SHORT
            apart = gap > high - low or (value < 0 <= low and gap > STEPS * (second - low))
            often = times >= (FEWEST_OF_A_SHORT_CODE if short else 1 if found or (value <= -999 and low >= 0) else 2)
            if apart and often and len(others) > 1 + short and not (value == -1 and low < LEAST_ABOVE):
                found = True
                yield from cells
            else:  # a number like the others
                low, high = min(low, value), max(high, value)
