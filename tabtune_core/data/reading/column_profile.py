"""Describes typed columns and reports what is odd about them: ids, constants, copies, missing values and their marks.

Fifth step of reading. In: how columns are typed, and their cells in ``batch``. Out: columns and findings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from tabtune_core.data.findings import Column, Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import among, places_by
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.sql import Connection, counts, unplanned
from tabtune_core.data.reading.words import MISSING_WORD, Typed
from tabtune_core.wording import few

ID_SHARE, NAMED_ID_SHARE, ID_ROWS = 0.98, 0.9, 20
"""Share of different values from which a column is an id; less is enough for whole numbers named id, as some repeat."""
ID_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|row|rownames|number|nummer|nr|code|unnamed: 0)$|[a-z](I[Dd]|Number|Code)$",
    re.IGNORECASE,
)
YEAR_NAME = re.compile(r"years?|yr", re.IGNORECASE)
SAME_WORD = r"trim(regexp_replace(nfc_normalize(lower(value)), '[\s\x{a0}\x{200b}\x{feff}]+', ' ', 'g'))"
OF_A_KIND = ("id-like", "free-text", "high-cardinality")
"""Findings that depend on the kind of a column: left out while a question asks for its kind."""
MANY_VALUES, MANY_MISSING, FEW_COPIES = 100, 0.5, 0.01
CONSECUTIVE = "coalesce(bool_and(value = floor(value)) AND max(value) - min(value) < 2 * count(value), false)"
"""SQL for whether values are whole numbers that fill more than half of their range, as row numbers do."""
SPOKEN_WORDS = 3
"""A value with this many words is free text, even if unique; it is not an id."""
LEAVE = "Leave it out, under Columns on the Data page."
ENCODE = "If its words tell something, choose encoded text under Columns (--encode-text), or category if they recur."
DROP_COPIES = "leave them out (the button on the Data page, --drop-copies on the command line)"
KEEP_OR_LEAVE = "Keep it if the presence of a value matters; else leave it out, under Columns on the Data page."
CODE = re.compile(r"(-(1|6+|7+|8+|9*[6-9]|[1-9]0+)|66+|77+|88+|9+[6-9])(\.(0+|9+))?")
"""Numbers that people write for a missing number."""
ENDS, SHORT, FEWEST_OF_A_SHORT_CODE, LEAST_ABOVE, STEPS = 5, 90, 3, 3, 3
"""How many of the smallest and largest numbers may be codes. One below SHORT must be this frequent; -1 only counts if
all others are LEAST_ABOVE or more. A negative one lies STEPS times the gap of the two smallest others below them.
"""
NAMED_MARKS, NAMED_COLUMNS, MOST_MARKS = 5, 2, 20
WORDS = f"list(DISTINCT cell) FILTER (WHERE {MISSING_WORD} OR ltrim(cell, '+') = '')"
"""SQL for the words of a column that may mean missing, and the signs of a scale."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Statistics over all values of a column."""

    filled: int
    unique: int
    consecutive: bool
    """Whether they are nearly consecutive whole numbers, as row numbers are."""
    content: int
    """A hash of all values and their rows."""
    marks: tuple[str, ...]
    """Cells that look like a code for missing."""
    spellings: tuple[tuple[str, ...], ...]
    """Groups of words that differ only in capitals or blanks, the most frequent first."""


def describe(
    connection: Connection, cells: Cells, typed: Sequence[Typed], facts: Sequence[Facts]
) -> tuple[tuple[Column, ...], list[Finding], list[Question]]:
    """Returns every column with its counts, and the findings and questions about them."""
    columns, findings, questions = list[Column](), list[Finding](), list[Question]()
    marks, seen = dict[str, tuple[str, ...]](), dict[int, str]()
    for name, kind, fact in zip(cells.names, typed, facts, strict=True):
        columns.append(Column(name, kind.kind, cells.rows - fact.filled, fact.unique, kind.examples))
        if kind.kind == "ignored":
            continue
        marks[name] = kind.marks or fact.marks
        of_column = column_findings(columns[-1], cells.rows, consecutive=fact.consecutive)
        findings += [*kind.findings, *(one for one in of_column if not (kind.marks and one.code in OF_A_KIND))]
        questions += kind.questions
        if fact.filled and fact.content in seen:
            message = f"{name!r} holds the same as {seen[fact.content]!r} in every row. Leave one of them out."
            findings.append(Finding("warning", "duplicate-columns", message, name))
        seen.setdefault(fact.content, name)
        if fact.spellings:
            shown = few([" and ".join(repr(shorten(word)) for word in words[:3]) for words in fact.spellings], 3)
            message = f"{name!r} has words that differ only in capitals or blanks: {shown}. Write them alike."
            findings.append(Finding("warning", "alike", message, name))
    return tuple(columns), [*findings, *row_findings(connection, cells)], [*marks_question(marks), *questions]


def facts_of(connection: Connection, typed: Sequence[Typed]) -> list[Facts]:
    """Computes the facts of each column of ``batch``, in their order."""
    facts: dict[int, Facts] = {}
    for (value, kind), places in places_by(enumerate((kind.value, kind.kind) for kind in typed)).items():
        number, worded = kind == "number", kind in ("category", "text")
        # a subquery computes the value once for all terms
        values = f"(SELECT place, number, cell, {value} AS value FROM batch WHERE {among(places)})"
        coded = "[min(value), max(value)]" if number else WORDS if worded else "NULL"
        rows = connection.execute(
            f"SELECT place, count(value), count(DISTINCT value), {CONSECUTIVE if number else 'false'}, "
            f"sum(hash(value)::HUGEINT * (number + 1)), {coded} FROM {values} GROUP BY place"
        ).fetchall()
        if number:
            ends = [row[0] for row in rows if any(map(is_code, row[5]))]
            marks = sentinels(connection, values, ends) if ends else {}
        else:
            marks = {row[0]: missing_words(row[5] or (), row[2]) for row in rows}
        words = spellings(connection, values) if kind in ("category", "boolean") else {}
        facts |= {
            row[0]: Facts(row[1], row[2], row[3], row[4], marks.get(row[0], ()), words.get(row[0], ())) for row in rows
        }
    return [facts[place] for place in range(len(typed))]


def spellings(connection: Connection, values: str) -> dict[int, tuple[tuple[str, ...], ...]]:
    """Returns the words of each column that differ only in capitals, blanks or kinds of accents."""
    times = f"SELECT place, value, count(*) AS times FROM {values} WHERE value IS NOT NULL GROUP BY place, value"
    rows = connection.execute(
        f"SELECT place, list(value ORDER BY times DESC, value) FROM ({times}) "
        f"GROUP BY place, {SAME_WORD} HAVING count(*) > 1 ORDER BY place, sum(times) DESC, min(value)"
    ).fetchall()
    return {place: tuple(tuple(words) for _, words in group) for place, group in groupby(rows, key=itemgetter(0))}


def column_findings(column: Column, rows: int, *, consecutive: bool) -> Iterator[Finding]:
    """Yields the findings that follow from the counts of one column."""
    name, filled = column.name, rows - column.missing
    if filled == 0:
        message = f"{name!r} has no value in any row: it tells a model nothing. {LEAVE}"
        yield Finding("warning", "all-missing", message, name)
        return
    if column.unique == 1 and not column.missing:
        message = f"{name!r} is {column.examples[0]!r} in every row. It tells a model nothing. {LEAVE}"
        yield Finding("warning", "constant", message, name)
    elif column.unique == 1:
        message = f"{name!r} is {column.examples[0]!r}, or missing in {column.missing:,} rows. {KEEP_OR_LEAVE}"
        yield Finding("warning", "one-value", message, name)
    elif column.missing > rows * MANY_MISSING and column.kind != "text":
        message = f"{name!r} is missing in {column.missing / rows:.0%} of the rows. {KEEP_OR_LEAVE}"
        yield Finding("warning", "many-missing", message, name)
    words, numeric = column.kind in ("category", "text"), column.kind == "number"
    coded = ID_NAME.search(name) is not None and all(example.isdecimal() for example in column.examples)
    spoken = column.kind == "text" and all(len(example.split()) >= SPOKEN_WORDS for example in column.examples)
    timed = numeric and YEAR_NAME.fullmatch(name.strip())  # one row a year
    different = filled >= ID_ROWS and column.unique >= filled * (NAMED_ID_SHARE if coded else ID_SHARE)
    if different and not spoken and not timed and (words or consecutive or (numeric and coded)):
        unseen = column.kind == "text"
        effect = ". No model sees it: nothing to do." if unseen else f": a model can only memorize it. {LEAVE}"
        message = f"{name!r} has {column.unique:,} different values in {filled:,} rows, as an id has{effect}"
        yield Finding("info" if unseen else "warning", "id-like", message, name)
    elif column.kind == "text":
        message = f"{name!r} is read as free text, which no model sees. {ENCODE}"
        yield Finding("info", "free-text", message, name)
    elif words and column.unique > MANY_VALUES:
        message = f"{name!r} has {column.unique:,} different words. Group rare ones in the file."
        yield Finding("info", "high-cardinality", message, name)


def row_findings(connection: Connection, cells: Cells) -> list[Finding]:
    """Reports rows that occur more than once."""
    everything = ", ".join(f"c{place}" for place in range(len(cells.names)))
    with unplanned(connection):
        (different,) = counts(connection, f"count(DISTINCT hash({everything}))")
    if not (repeated := cells.rows - different):
        return []
    copies = "1 row is a copy of an earlier one" if repeated == 1 else f"{repeated:,} rows are copies of an earlier one"
    message = f"{copies}. Copies in training and test rows make scores too good: {DROP_COPIES}, unless real."
    return [Finding("info" if repeated < cells.rows * FEW_COPIES else "warning", "duplicate-rows", message)]


def marks_question(marks: Mapping[str, Sequence[str]]) -> Iterator[Question]:
    """Asks which of the ``marks``, by column, mean missing."""
    where: dict[str, list[str]] = {}
    for column, of_column in marks.items():
        for mark in of_column:
            where.setdefault(mark, []).append(repr(column))
    if where:
        many = sorted(where, key=lambda mark: -len(where[mark]))
        shown = few([f"{mark!r} in {few(where[mark], NAMED_COLUMNS)}" for mark in many], NAMED_MARKS)
        message = f"Some cells may mean missing, and are read as they stand: {shown}."
        offer = "Chosen marks become missing in every column; a column with only numbers besides them becomes numeric."
        yield Question("missing_marks", f"{message} {offer}", tuple(many[:MOST_MARKS]))


def missing_words(words: Sequence[str], unique: int) -> tuple[str, ...]:
    """Returns the words of a column that may mean missing; none if there is only one other, as in "none" and "some".

    >>> missing_words(["--", "none"], 4), missing_words(["--", "+", "++", "none"], 6)  # the signs are a scale
    (('--', 'none'), ('none',))
    """
    signs = {sign for word in words if "+" in word for sign in (word, word.replace("+", "-"))}
    marks = sorted({*words} - signs)
    return tuple(marks) if unique - len(marks) >= 2 else ()


def is_code(value: float | None) -> bool:
    """Whether a number looks like a code for missing.

    >>> list(map(is_code, (-200, -999.0, 9999.9, 98, -3, 12, None)))
    [True, True, True, True, False, False, False]
    """
    return value is not None and CODE.fullmatch(f"{value:.10g}") is not None


def sentinels(connection: Connection, values: str, places: list[int]) -> dict[int, tuple[str, ...]]:
    """Returns the cells of number columns that look like codes for missing, such as -999: far away, or negative."""
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
    others = [value for value, *_ in numbers if not is_code(value)]
    if len(others) < 2:
        return
    low, second, high = others[0], others[1], others[-1]
    codes = [number for number in numbers if is_code(number[0])]
    for side in ([one for one in codes[::-1] if one[0] < low], [one for one in codes if one[0] > high]):
        asked = False
        for value, times, cells in side if len(side) < ENDS else []:  # from the others outwards
            gap, short = max(low - value, value - high), abs(value) < SHORT
            far = gap > high - low or (value < 0 <= low and gap > STEPS * (second - low))
            often = times >= (FEWEST_OF_A_SHORT_CODE if short else 1 if asked or (value <= -999 and low >= 0) else 2)
            if far and often and len(others) > 1 + short and not (value == -1 and low < LEAST_ABOVE):
                asked = True
                yield from cells
            else:  # a number like the others
                low, high = min(low, value), max(high, value)
