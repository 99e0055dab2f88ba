"""Describes typed columns and reports what is odd about them: ids, constants, copies, missing values.

Fifth step of reading. In: how columns are typed, and the cells of a group of them in ``batch``. Out: columns and findings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb
import pandas as pd

from tabtune_core.data.findings import Column, Finding, Question, not_asked, shorten
from tabtune_core.data.reading.batched_queries import among, places_by, quoted
from tabtune_core.data.reading.cells import BLANK, Cells
from tabtune_core.data.reading.number_formats import GROUPED, SURE_POINT
from tabtune_core.data.reading.row_marks import LEAST_SURE
from tabtune_core.data.reading.sql import counts, first_row, unplanned
from tabtune_core.data.reading.words import FEW_VALUES, MISSING_WORD, Typed
from tabtune_core.wording import counted

ID_SHARE, NAMED_ID_SHARE = 0.98, 0.9
"""Share of different values, of the filled cells, from which a column is an id; less is enough if its name says id and its values are
whole numbers, since some ids come twice."""
ID_ROWS = 20
ID_NAME = re.compile(
    r"(^|[_\W])(id|uuid|guid|key|index|row|rownames|number|nummer|nr|code|unnamed: 0)$|[a-z](I[Dd]|Number|Code)$", re.IGNORECASE
)
YEAR_NAME = re.compile(r"years?|yr", re.IGNORECASE)
BARE_WORD = r"regexp_replace(nfc_normalize(lower(value)), '[\x{ad}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{feff}]', '', 'g')"
SAME_WORD = rf"trim(regexp_replace({BARE_WORD}, '[\s\x{{a0}}\x{{2028}}\x{{2029}}]+', ' ', 'g'))"
OF_A_KIND = ("id-like", "free-text", "high-cardinality", "recurring-words")
"""Findings that depend on the kind of a column: left out while a question asks for its kind."""
RECURRING = 0.1
BARE_NUMBER = re.compile(r"^[^\d+-]+|\D+$")
"""What stands around a number, such as a currency or a unit."""
COMMA_BETWEEN = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(,\d{3})+(?![\d.,])")
COMMA_DECIMAL = re.compile(r"(?<!\d)(0,\d{3}|\d*,(\d{1,2}|\d{4,}|\d{3}[eE][+-]?\d+))(?!\d)")
SURE_COMMA_BETWEEN = re.compile(r"\d,\d{2,3}[.,]\d")
MANY_VALUES = 100
MANY_MISSING = 0.5
CONSECUTIVE = "coalesce(bool_and(value = floor(value)) AND max(value) - min(value) < 2 * count(value), false)"
"""SQL for whether values are whole numbers that fill more than half of their range, as row numbers do."""
FEW_COPIES = 0.01
SPOKEN_WORDS = 3
"""A value with this many words is free text, even if unique; it is not an id."""
LEAVE = "Leave it out, under Columns on the Data page."
ENCODE = "If its words are informative, choose encoded text for it, under Columns on the Data page (--encode-text on the command line)."
LEAVE_CONSTANT = f"It tells a model nothing. {LEAVE}"
DROP_COPIES = "leave them out (the button on the Data page, --drop-copies on the command line)"
MAKE_CATEGORY = (
    "Most models fill such gaps with that value and learn nothing from it: choose category for it, under Columns on the Data page, if the "
    "presence of a value matters; else leave it out."
)
KEEP_OR_LEAVE = "Keep it if the presence of a value matters; else leave it out, under Columns on the Data page."
NEGATIVE_CODE, POSITIVE_CODE = re.compile(r"-(1|7+|8+|9+|[1-9]0+)(\.(0+|9+))?"), re.compile(r"99+(\.(0+|9+))?")
"""Numbers that people write for a missing number."""
NO_DATES = ("0001-01-01", "1753-01-01", "1899-12-30", "1899-12-31", "1900-01-01", "1970-01-01", "2099-12-31", "2999-12-31", "9999-12-31")
"""Dates that programs and people write for a missing date or for no end; codes only if YEARS_APART from the other dates."""
YEARS_APART = 20
ENDS = 5
"""How many of the smallest and of the largest different numbers of a column may be such codes."""
SHORT, FEWEST_OF_A_SHORT_CODE, LEAST_ABOVE, STEPS = 90, 3, 3, 3
"""A code with an absolute value below SHORT must occur this often, beside three other numbers. -1 is a code only if all other numbers are
at least LEAST_ABOVE. A negative code is far enough from numbers of 0 or more if it lies STEPS times the gap between the two smallest of
them below."""
TWO_LETTERS, FEWEST_CODES = re.compile("[A-Z]{2}"), 3
NAMED_MARKS, NAMED_COLUMNS, MOST_MARKS = 5, 2, 20


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
) -> tuple[tuple[Column, ...], list[Finding], list[Question]]:
    """Returns every column with its counts, and the findings and questions about them."""
    columns: list[Column] = []
    findings: list[Finding] = []
    questions: list[Question] = []
    seen: dict[int, str] = {}
    for name, kind, fact in zip(cells.names, typed, facts, strict=True):
        columns.append(Column(name, kind.kind, cells.rows - fact.filled, fact.unique, kind.examples))
        found = column_findings(columns[-1], cells.rows, consecutive=fact.consecutive)
        findings += [*kind.findings, *(finding for finding in found if not (kind.questions and finding.code in OF_A_KIND))]
        questions += kind.questions
        if kind.kind == "ignored":
            continue
        if fact.filled and fact.content in seen:
            twin = seen[fact.content]
            message = f"{name!r} holds the same as {twin!r} in every row. Leave one of them out, under Columns on the Data page."
            findings.append(Finding("warning", "duplicate-columns", message, name))
        seen.setdefault(fact.content, name)
        if fact.alike:
            findings.append(alike_finding(name, fact.alike))
        if fact.marks and not kind.questions:
            shown = " and ".join(map(repr, fact.marks))
            if kind.kind in ("category", "text"):
                message = f"{name!r} holds {shown}, which may mean missing; it is read as a word like the others."
                finding = Finding("info", "missing-words", message, name)
            else:
                others, one = ("values", "number") if kind.kind == "number" else ("dates", "date")
                message = f"{name!r} holds {shown} far from its other {others}, as a code for missing would be; it is read as a {one}."
                finding = Finding("warning", "sentinel-missing", message, name)
            findings.append(finding)
            questions.append(Question(finding.code, f"{message} If it means missing, say so.", "missing_marks", fact.marks))
    return tuple(columns), findings + row_findings(connection, cells), questions


def as_one_question(findings: list[Finding], questions: list[Question]) -> tuple[list[Finding], list[Question]]:
    """Merges the questions about marks that may mean missing, in all columns, into one question."""
    several = [question for question in questions if question.field == "missing_marks"]
    if len(several) < 2:
        return findings, questions
    where: dict[str, list[str]] = {}
    for question in several:
        column = next((finding.column for finding in findings if question.message.startswith(finding.message)), None)
        for mark in question.options:
            where.setdefault(mark, []).append(repr(column) if column else "the first row")
    many = sorted(where, key=lambda mark: -len(where[mark]))
    shown = [f"{mark!r} in {_and_more(where[mark], NAMED_COLUMNS)}" for mark in many]
    message = f"Some cells may mean missing, and are read as they stand: {_and_more(shown, NAMED_MARKS, '; ')}."
    offer = (
        f"{message} The marks that you choose become missing in every column, and a column with only numbers besides them becomes numeric."
    )
    question = Question("missing-marks", offer, "missing_marks", tuple(many[:MOST_MARKS]))
    kept = [*not_asked(findings, several), Finding("warning", "missing-marks", message)]
    return kept, [question, *(other for other in questions if other not in several)]


def _and_more(names: Sequence[str], most: int, mark: str = ", ") -> str:
    more = f"{mark}and {len(names) - most:,} more" if len(names) > most else ""
    return mark.join(names[:most]) + more


DATED = ("date", "datetime")
NO_DATE = f"(value::DATE IN ({', '.join(f'DATE {quoted(day)}' for day in NO_DATES)}))"
CODED = {
    "number": "[min(value), max(value)]",
    **dict.fromkeys(("category", "text"), f"list(DISTINCT cell) FILTER (WHERE {MISSING_WORD})"),
    **dict.fromkeys(
        DATED,
        f"{{'marks': list(DISTINCT {{'cell': cell, 'year': year(value)}}) FILTER (WHERE {NO_DATE}), "
        f"'low': min(year(value)) FILTER (WHERE NOT {NO_DATE}), 'high': max(year(value)) FILTER (WHERE NOT {NO_DATE})}}",
    ),
}
"""SQL for the cells that may be codes for missing, by kind."""


def facts_of(connection: duckdb.DuckDBPyConnection, typed: Sequence[Typed]) -> list[Facts]:
    """Computes the facts of each column of ``batch``, in their order."""
    found: dict[int, Facts] = {}
    for (value, kind), places in places_by(enumerate((kind.value, kind.kind) for kind in typed)).items():
        number = kind == "number"
        terms = (
            "count(value)",
            "count(DISTINCT value)",
            CONSECUTIVE if number else "false",
            "sum(hash(value)::HUGEINT * (number + 1))",
            CODED.get(kind, "NULL"),
        )
        # a subquery computes the value once for all terms
        values = f"(SELECT place, number, cell, {value} AS value FROM batch WHERE {among(places)})"
        rows = connection.execute(f"SELECT place, {', '.join(terms)} FROM {values} GROUP BY place").fetchall()
        coded = [row[0] for row in rows if any(map(is_code, row[5]))] if number else []
        marks = sentinels(connection, values, coded) if coded else {}
        if not number:
            marks = {row[0]: far_dates(row[5]) if kind in DATED else missing_words(row[5] or (), row[2]) for row in rows}
        words = alike(connection, values) if kind in ("category", "boolean") else {}
        found |= {row[0]: Facts(row[1], row[2], row[3], row[4], marks.get(row[0], ()), words.get(row[0], ())) for row in rows}
    return [found[place] for place in range(len(typed))]


def doubtful_points(
    connection: duckdb.DuckDBPyConnection, typed: Sequence[Typed], samples: Sequence[Sequence[str]], *, semicolons: bool
) -> dict[int, str] | None:
    """Returns a cell of each number column of ``batch`` whose points may all separate thousands, or None if some point must be decimal.

    Without ``semicolons`` between cells, a column is in doubt only if it also holds numbers without a point: 1.652 beside 607.
    """
    pointed = {
        place: [cell for cell in samples[place] if "." in cell]
        for place, kind in enumerate(typed)
        if kind.kind == "number" and not kind.decimal_comma
    }
    if any(SURE_POINT.fullmatch(BARE_NUMBER.sub("", cell)) for cells in pointed.values() for cell in cells):
        return None
    places = [place for place, cells in pointed.items() if cells and typed[place].decimal_comma is None]
    if not places:
        return {}
    number = f"regexp_replace(cell, {quoted(BARE_NUMBER.pattern)}, '', 'g')"
    values = f"(SELECT place, cell, {number} AS number FROM batch WHERE {among(places)})"
    rows = connection.execute(
        f"SELECT place, max(cell) FILTER (contains(number, '.')) FROM {values} WHERE number != '' GROUP BY place "
        f"HAVING bool_and(regexp_full_match(number, {quoted(GROUPED)})) AND bool_or(contains(number, '.')) "
        f"AND ({semicolons} OR bool_or(NOT contains(number, '.')))"
    )
    return dict(rows.fetchall())


def points_question(doubts: Mapping[str, str]) -> tuple[list[Finding], list[Question]]:
    """Asks in which columns points separate thousands; ``doubts`` are the columns, each with a cell."""
    listed = ", ".join(f"{shown!r} in {name!r}" for name, shown in [*doubts.items()][:3]) + (", ..." if len(doubts) > 3 else "")
    message = f"All points in numbers have three digits after them, such as {listed}. They were read as decimal points."
    question = Question("point", f"{message} If they separate thousands, say so.", "decimal_commas", tuple(doubts))
    return [Finding("warning", "point", message)], [question]


def commas_decide(marked: Mapping[str, tuple[bool | None, Sequence[str]]]) -> bool:
    """Whether sure decimal commas tell how other numbers are meant: they are not too few for that, and no comma must separate thousands.

    ``marked`` are the columns of numbers with a comma or point: whether the comma was read as decimal, and the cells.
    """
    sure = sum(COMMA_DECIMAL.search(cell) is not None for decimal, cells in marked.values() if decimal for cell in cells)
    others = (cell for decimal, cells in marked.values() if decimal is False for cell in cells)
    enough = sure > LEAST_SURE * sum(len(cells) for _, cells in marked.values())
    return enough and not any(map(SURE_COMMA_BETWEEN.search, others))


def commas_finding(commas: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Warns if all numbers with a decimal comma may have thousands; ``commas`` are the columns, each with its cells that hold a comma."""
    shown = {name: next(filter(COMMA_BETWEEN.search, cells), None) for name, cells in commas.items()}
    doubts = [f"{cell!r} in {name!r}" for name, cell in shown.items() if cell]
    if not doubts or any(COMMA_DECIMAL.search(cell) for cells in commas.values() for cell in cells):
        return []
    listed = ", ".join(doubts[:3]) + (", ..." if len(doubts) > 3 else "")
    message = f"All commas in numbers have three digits after them, such as {listed}. They were read as decimal commas. "
    way_out = (
        "If they separate thousands, remove the column from 'Columns with decimal commas' under Reading choices; "
        "on the command line, use --thousands-comma."
    )
    return [Finding("warning", "comma", message + way_out)]


def alike(connection: duckdb.DuckDBPyConnection, values: str) -> dict[int, tuple[tuple[str, ...], ...]]:
    """Returns the words of each column that differ only in capitals, blanks, letters of no width or the encoding of accents."""
    times = f"SELECT place, value, count(*) AS times FROM {values} WHERE value IS NOT NULL GROUP BY place, value"
    rows = connection.execute(
        f"SELECT place, list(value ORDER BY times DESC, value) FROM ({times}) "
        f"GROUP BY place, {SAME_WORD} HAVING count(*) > 1 ORDER BY place, sum(times) DESC, min(value)"
    ).fetchall()
    return {place: tuple(tuple(words) for _, words in group) for place, group in groupby(rows, key=itemgetter(0))}


def alike_finding(name: str, alike: Sequence[Sequence[str]]) -> Finding:
    """Reports words that probably mean the same."""
    shown = "; ".join(" and ".join(repr(shorten(word)) for word in words[:3]) for words in alike[:3]) + ("; ..." if len(alike) > 3 else "")
    message = f"{name!r} has words that differ only in capitals, blanks or invisible letters ({shown}) and count as different values. "
    return Finding("warning", "alike", f"{message}If they mean the same, write them alike in the file.", name)


def column_findings(column: Column, rows: int, *, consecutive: bool) -> Iterator[Finding]:
    """Yields the findings that follow from the counts of one column."""
    name = column.name
    filled = rows - column.missing
    if column.kind == "ignored":
        return
    if filled == 0:
        yield Finding("warning", "all-missing", f"{name!r} has no value in any row: it tells a model nothing. {LEAVE}", name)
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
        if column.kind == "text":
            yield Finding("info", "id-like", f"{name!r} has {seen}, as an id has. No model sees it: nothing to do.", name)
        else:
            yield Finding("warning", "id-like", f"{name!r} has {seen}, as an id has: a model can only memorize it. {LEAVE}", name)
    elif column.kind == "text":
        message = f"{name!r} is read as free text, which no model sees. {ENCODE} If its words recur and mean something, choose category."
        yield Finding("info", "free-text", message, name)
    elif words and column.unique > MANY_VALUES:
        message = f"{name!r} has {column.unique:,} different words; a model sees little of what they mean. Group rare ones in the file."
        yield Finding("info", "high-cardinality", message, name)
    elif column.kind == "category" and column.unique > max(FEW_VALUES, filled * RECURRING):
        message = (
            f"{name!r} has {column.unique:,} different words in {filled:,} rows and is read as a category, as they recur. Nothing to do."
        )
        yield Finding("info", "recurring-words", message, name)


def with_formulas(findings: Sequence[Finding]) -> list[Finding]:
    """Returns the findings on the columns of a sheet that has formulas without a saved result."""
    why = "has no value in any row, as its formulas may have no saved result"
    return [replace(one, message=f"{one.column!r} {why}.") if one.code == "all-missing" else one for one in findings]


def one_value(column: Column) -> Finding:
    """Reports a column of one value, with or without missing cells."""
    told = f"{column.name!r} is {column.examples[0]!r} in every row"
    if not column.missing:
        return Finding("warning", "constant", f"{told}. {LEAVE_CONSTANT}", column.name)
    advice = KEEP_OR_LEAVE if column.kind in ("category", "boolean") else MAKE_CATEGORY
    return Finding("warning", "one-value", f"{told} but the {column.missing:,} where it is missing. {advice}", column.name)


def row_findings(connection: duckdb.DuckDBPyConnection, cells: Cells) -> list[Finding]:
    """Reports rows that occur more than once."""
    everything = ", ".join(f"c{place}" for place in range(len(cells.names)))
    with unplanned(connection):
        (different,) = counts(connection, f"count(DISTINCT hash({everything}))")
    repeated = cells.rows - different
    if not repeated:
        return []
    copies = "1 row is a copy of an earlier one" if repeated == 1 else f"{repeated:,} rows are copies of an earlier one"
    message = f"{copies}. If one is used for training and the other for testing, scores are too good: {DROP_COPIES}, unless they are real."
    return [Finding("info" if repeated < cells.rows * FEW_COPIES else "warning", "duplicate-rows", message)]


def missing_words(words: Sequence[str], unique: int) -> tuple[str, ...]:
    """Returns the words of a column that may mean missing; empty if there is only one other word, as in "none" and "some"."""
    return tuple(sorted(words)) if unique - len(words) >= 2 else ()


def missing_codes(connection: duckdb.DuckDBPyConnection, cells: Cells, columns: Sequence[Column], frame: pd.DataFrame) -> list[Finding]:
    """Reports NA that was read as missing among two-letter codes, such as those of countries and continents.

    A file that writes NA in columns of numbers, too, means missing by it.
    """
    found = {}
    for place, column in enumerate(columns):
        if cells.source and column.kind == "category" and column.missing and column.unique >= FEWEST_CODES:
            codes = sorted(frame[column.name].dropna().unique())
            if all(map(TWO_LETTERS.fullmatch, codes)):
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
            f"{cells.names[place]!r} holds codes of two letters ({codes}, ...) and {counted(times, 'cell')} NA, read as missing. "
            "If NA is a code too, as for Namibia or North America, write it in another way in the file.",
            cells.names[place],
        )
        for (place, codes), times in zip(found.items(), written[: len(found)], strict=True)
        if times
    ]


def far_dates(found: dict[str, Any]) -> tuple[str, ...]:
    """Returns the cells among the ``marks`` that lie far from the other dates, whose first and last years are ``low`` and ``high``."""
    if found["low"] is None:
        return ()
    near = range(found["low"] - YEARS_APART, found["high"] + YEARS_APART + 1)
    return tuple(sorted(mark["cell"] for mark in found["marks"] or () if mark["year"] not in near))


def is_code(value: float | None) -> bool:
    """Whether a number looks like a code for missing.

    >>> list(map(is_code, (-200, -999.0, 9999.9, -3, 12, None)))
    [True, True, True, False, False, False]
    """
    text = "" if value is None else f"{value:.10g}"
    return bool(NEGATIVE_CODE.fullmatch(text) or POSITIVE_CODE.fullmatch(text))


def sentinels(connection: duckdb.DuckDBPyConnection, values: str, places: list[int]) -> dict[int, tuple[str, ...]]:
    """Returns the cells of number columns that look like codes for missing, such as -999: far from all other numbers and repeated, or the
    only negative number.
    """
    ends = connection.execute(
        f"SELECT place, value, count(*), list(DISTINCT cell ORDER BY cell) FROM {values} "
        f"WHERE {among(places)} AND value IS NOT NULL GROUP BY place, value "
        f"QUALIFY row_number() OVER (PARTITION BY place ORDER BY value) <= {ENDS} "
        f"OR row_number() OVER (PARTITION BY place ORDER BY value DESC) <= {ENDS} ORDER BY place, value"
    ).fetchall()
    return {place: tuple(_codes([numbers for _, *numbers in group])) for place, group in groupby(ends, key=itemgetter(0))}


def _codes(numbers: list[list[Any]]) -> Iterator[str]:
    """Yields codes for missing; ``numbers`` are the smallest and largest values, each with its count and its cells."""
    coded = [is_code(value) for value, *_ in numbers]
    others = [value for (value, *_), code in zip(numbers, coded, strict=True) if not code]
    if len(others) < 2:
        return
    low, second, high = others[0], others[1], others[-1]
    codes = [number for number, code in zip(numbers, coded, strict=True) if code]
    for side in ([number for number in codes[::-1] if number[0] < low], [number for number in codes if number[0] > high]):
        for value, times, cells in side:  # from the others outwards: behind a number that is not a code, none is
            gap, short = max(low - value, value - high), abs(value) < SHORT
            apart = gap > high - low or (value < 0 <= low and gap > STEPS * (second - low))
            often = times >= (FEWEST_OF_A_SHORT_CODE if short else 1 if value <= -999 and low >= 0 else 2) and len(others) > 1 + short
            if not (apart and often and (value != -1 or low >= LEAST_ABOVE)):
                break
            yield from cells
