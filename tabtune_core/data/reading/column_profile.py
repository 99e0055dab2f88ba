"""Describes typed columns and reports what is odd about them: ids, constants, copies, missing values.

Fifth step of reading. In: how columns are typed, and their cells in ``batch``. Out: columns and findings.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import duckdb

from tabtune_core.data.findings import Column, Finding, Question, Told, shorten
from tabtune_core.data.reading.batched_queries import among, places_by
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.missing_codes import WORDS, is_code, marks_question, missing_words, sentinels
from tabtune_core.data.reading.sql import counts, unplanned
from tabtune_core.data.reading.words import Typed

ID_SHARE, NAMED_ID_SHARE = 0.98, 0.9
"""Share of different values from which a column is an id; less is enough for whole numbers named id, as some repeat."""
ID_ROWS = 20
ID_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|row|rownames|number|nummer|nr|code|unnamed: 0)$|[a-z](I[Dd]|Number|Code)$",
    re.IGNORECASE,
)
YEAR_NAME = re.compile(r"years?|yr", re.IGNORECASE)
BARE_WORD = (
    r"regexp_replace(nfc_normalize(lower(value)), "
    r"'[\x{ad}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{feff}]', '', 'g')"
)
SAME_WORD = rf"trim(regexp_replace({BARE_WORD}, '[\s\x{{a0}}\x{{2028}}\x{{2029}}]+', ' ', 'g'))"
OF_A_KIND = ("id-like", "free-text", "high-cardinality")
"""Findings that depend on the kind of a column: left out while a question asks for its kind."""
MANY_VALUES = 100
MANY_MISSING = 0.5
CONSECUTIVE = "coalesce(bool_and(value = floor(value)) AND max(value) - min(value) < 2 * count(value), false)"
"""SQL for whether values are whole numbers that fill more than half of their range, as row numbers do."""
FEW_COPIES = 0.01
SPOKEN_WORDS = 3
"""A value with this many words is free text, even if unique; it is not an id."""
LEAVE = "Leave it out, under Columns on the Data page."
LEAVE_ONE = "Leave one of them out, under Columns on the Data page."
ENCODE = (
    "If its words are informative, choose encoded text for it, under Columns on the Data page (--encode-text on the "
    "command line), or category if they recur."
)
DROP_COPIES = "leave them out (the button on the Data page, --drop-copies on the command line)"
MAKE_CATEGORY = (
    "Most models fill such gaps with that value: choose category for it, under Columns on the Data page, if the "
    "presence of a value matters; else leave it out."
)
KEEP_OR_LEAVE = "Keep it if the presence of a value matters; else leave it out, under Columns on the Data page."


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
    alike: tuple[tuple[str, ...], ...]
    """Groups of words that differ only in capitals, blanks or invisible letters, the most frequent first."""


def describe(
    connection: duckdb.DuckDBPyConnection, cells: Cells, typed: Sequence[Typed], facts: Sequence[Facts]
) -> tuple[tuple[Column, ...], Told]:
    """Returns every column with its counts, and the findings and questions about them."""
    columns: list[Column] = []
    findings: list[Finding] = []
    questions: list[Question] = []
    marks: dict[str, tuple[str, ...]] = {}
    seen: dict[int, str] = {}
    for name, kind, fact in zip(cells.names, typed, facts, strict=True):
        columns.append(Column(name, kind.kind, cells.rows - fact.filled, fact.unique, kind.examples))
        if kind.kind == "ignored":
            continue
        marks[name] = kind.marks or fact.marks
        of_column = column_findings(columns[-1], cells.rows, consecutive=fact.consecutive)
        findings += [*kind.findings, *(one for one in of_column if not (kind.marks and one.code in OF_A_KIND))]
        questions += kind.questions
        if fact.filled and fact.content in seen:
            message = f"{name!r} holds the same as {seen[fact.content]!r} in every row. {LEAVE_ONE}"
            findings.append(Finding("warning", "duplicate-columns", message, name))
        seen.setdefault(fact.content, name)
        if fact.alike:
            findings.append(alike_finding(name, fact.alike))
    of_marks, about_marks = marks_question(marks)
    return tuple(columns), ([*of_marks, *findings, *row_findings(connection, cells)], [*about_marks, *questions])


def facts_of(connection: duckdb.DuckDBPyConnection, typed: Sequence[Typed]) -> list[Facts]:
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
        words = alike(connection, values) if kind in ("category", "boolean") else {}
        facts |= {
            row[0]: Facts(row[1], row[2], row[3], row[4], marks.get(row[0], ()), words.get(row[0], ())) for row in rows
        }
    return [facts[place] for place in range(len(typed))]


def alike(connection: duckdb.DuckDBPyConnection, values: str) -> dict[int, tuple[tuple[str, ...], ...]]:
    """Returns the words of each column that differ only in capitals, blanks, invisible letters or kinds of accents."""
    times = f"SELECT place, value, count(*) AS times FROM {values} WHERE value IS NOT NULL GROUP BY place, value"
    rows = connection.execute(
        f"SELECT place, list(value ORDER BY times DESC, value) FROM ({times}) "
        f"GROUP BY place, {SAME_WORD} HAVING count(*) > 1 ORDER BY place, sum(times) DESC, min(value)"
    ).fetchall()
    return {place: tuple(tuple(words) for _, words in group) for place, group in groupby(rows, key=itemgetter(0))}


def alike_finding(name: str, alike: Sequence[Sequence[str]]) -> Finding:
    """Reports words that probably mean the same."""
    shown = "; ".join(" and ".join(repr(shorten(word)) for word in words[:3]) for words in alike[:3])
    more = "; ..." * (len(alike) > 3)
    message = f"{name!r} has words that differ only in capitals, blanks or invisible letters ({shown}{more}). "
    return Finding("warning", "alike", f"{message}If they mean the same, write them alike in the file.", name)


def column_findings(column: Column, rows: int, *, consecutive: bool) -> Iterator[Finding]:
    """Yields the findings that follow from the counts of one column."""
    name = column.name
    filled = rows - column.missing
    if filled == 0:
        message = f"{name!r} has no value in any row: it tells a model nothing. {LEAVE}"
        yield Finding("warning", "all-missing", message, name)
        return
    if column.unique == 1:
        yield one_value(column)
    elif column.missing > rows * MANY_MISSING and column.kind != "text":
        message = f"{name!r} is missing in {column.missing / rows:.0%} of the rows. {KEEP_OR_LEAVE}"
        yield Finding("warning", "many-missing", message, name)
    words, numeric = column.kind in ("category", "text"), column.kind == "number"
    coded = ID_NAME.search(name) is not None and all(example.isdecimal() for example in column.examples)
    spoken = column.kind == "text" and all(len(example.split()) >= SPOKEN_WORDS for example in column.examples)
    timed = numeric and YEAR_NAME.fullmatch(name.strip())  # one row a year
    different = filled >= ID_ROWS and column.unique >= filled * (NAMED_ID_SHARE if coded else ID_SHARE)
    if different and not spoken and not timed and (words or consecutive or (numeric and coded)):
        seen = f"{column.unique:,} different values in {filled:,} rows"
        unseen = column.kind == "text"
        effect = ". No model sees it: nothing to do." if unseen else f": a model can only memorize it. {LEAVE}"
        yield Finding("info" if unseen else "warning", "id-like", f"{name!r} has {seen}, as an id has{effect}", name)
    elif column.kind == "text":
        message = f"{name!r} is read as free text, which no model sees. {ENCODE}"
        yield Finding("info", "free-text", message, name)
    elif words and column.unique > MANY_VALUES:
        message = f"{name!r} has {column.unique:,} different words. Group rare ones in the file."
        yield Finding("info", "high-cardinality", message, name)


def one_value(column: Column) -> Finding:
    """Reports a column of one value, with or without missing cells."""
    same = f"{column.name!r} is {column.examples[0]!r} in every row"
    if not column.missing:
        return Finding("warning", "constant", f"{same}. It tells a model nothing. {LEAVE}", column.name)
    advice = KEEP_OR_LEAVE if column.kind in ("category", "boolean") else MAKE_CATEGORY
    message = f"{same} but the {column.missing:,} where it is missing. {advice}"
    return Finding("warning", "one-value", message, column.name)


def row_findings(connection: duckdb.DuckDBPyConnection, cells: Cells) -> list[Finding]:
    """Reports rows that occur more than once."""
    everything = ", ".join(f"c{place}" for place in range(len(cells.names)))
    with unplanned(connection):
        (different,) = counts(connection, f"count(DISTINCT hash({everything}))")
    repeated = cells.rows - different
    if not repeated:
        return []
    copies = "1 row is a copy of an earlier one" if repeated == 1 else f"{repeated:,} rows are copies of an earlier one"
    message = (
        f"{copies}. If copies are used for training and for testing, scores are too good: {DROP_COPIES}, unless real."
    )
    return [Finding("info" if repeated < cells.rows * FEW_COPIES else "warning", "duplicate-rows", message)]
