"""What each column of text cells holds, decided over all of its cells.

Fourth step of reading. In: the table ``cells`` of a connection. Out: a kind, and the SQL that turns a cell into a value
of it. Every pattern and format is a constant of this file.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from tabtune_core.data.database import counts, first_row
from tabtune_core.data.findings import Finding, Kind, Question

SAMPLE_CELLS = 2_000
LARGEST_EXACT = 2**53  # above it not every integer is a float64, so two ids could become one
FEW_VALUES = 20
CATEGORY_SHARE = 0.1
STRAY_SHARE = 0.1
STRAY_WORDS = 3
BOOLEAN_WORDS = (frozenset({"true", "false"}), frozenset({"yes", "no"}), frozenset({"t", "f"}), frozenset({"y", "n"}))
SENTINELS = (-9999.0, -999.0, -99.0, 999.0, 9999.0, 99999.0)

BARE = r"regexp_replace({cell}, '^([+-]?)\s*[$€£¥₹]\s*|\s*([$€£¥₹%]|USD|EUR|GBP|CHF)$', '\1', 'g')"


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A way to write numbers."""

    code: str
    message: str
    pattern: str
    """Regular expression of a whole cell."""

    value: str
    """SQL for the cell as a plain number, with "{cell}" in it."""


GAP = "[ \u00a0\u202f]"
POINTS = NumberFormat(
    "decimal-comma",
    "Numbers with a decimal comma",
    rf"[+-]?(\d+|\d{{1,3}}((\.|{GAP})\d{{3}})+)(,\d+)?",
    f"replace(replace(regexp_replace({{cell}}, '{GAP}', '', 'g'), '.', ''), ',', '.')",
)
COMMAS = NumberFormat(
    "thousands",
    "Numbers with commas between thousands",
    r"[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?",
    "replace({cell}, ',', '')",
)
BLANKS = NumberFormat(
    "thousands",
    "Numbers with blanks or apostrophes between thousands",
    rf"[+-]?(\d+|\d{{1,3}}(({GAP}|['\u2019])\d{{3}})+)(\.\d+)?",
    f"regexp_replace({{cell}}, '{GAP}|''|\u2019', '', 'g')",
)
SIGNS = NumberFormat("units", "Numbers", r"[+-]?(\d+\.?\d*|\.\d+)", "{cell}")

CERTAIN_DATES = ("%Y%m%dT%H%M%S", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%Y.%m.%d")
DAY_DATES = tuple(f"%d{mark}%m{mark}{year}{time}" for time in ("", " %H:%M", " %H:%M:%S") for mark in "/.-" for year in ("%Y", "%y"))


@dataclass(frozen=True, slots=True)
class Typed:
    """The kind of a column, and how its cells become values."""

    kind: Kind
    value: str
    """SQL over the table ``cells``."""

    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()
    ambiguous_date: bool = False
    """Whether every date of it can be read both ways."""


def type_column(
    connection: duckdb.DuckDBPyConnection, cell: str, name: str, *, delimiter: str, day_first: bool | None, asked: Kind | None
) -> Typed:
    """Decides what the column ``cell`` of the table ``cells`` holds; ``asked`` is the person's own word for it."""
    first_cells = f"SELECT {cell} FROM cells WHERE {cell} IS NOT NULL LIMIT {SAMPLE_CELLS}"
    rows = connection.execute(f"SELECT DISTINCT {cell} FROM ({first_cells})").fetchall()
    sample = [row[0] for row in rows]
    if asked == "date" or (asked is None and sample):
        dated = as_date(connection, cell, name, sample, day_first, forced=asked == "date")
        if dated is not None:
            return dated
    if asked == "number" or (asked is None and sample):
        number = as_number(connection, cell, name, sample, delimiter, forced=asked == "number")
        if number.kind == "number" or number.findings:
            return number
    if asked is not None:
        return Typed(asked, cell)
    return as_words(connection, cell)


def as_words(connection: duckdb.DuckDBPyConnection, cell: str) -> Typed:
    """Boolean for two words that say yes and no, category for few different values, text for many."""
    filled, unique = counts(connection, f"count({cell})", f"count(DISTINCT {cell})")
    if unique == 2:
        words = connection.execute(f"SELECT DISTINCT lower({cell}) FROM cells WHERE {cell} IS NOT NULL").fetchall()
        if frozenset(word for (word,) in words) in BOOLEAN_WORDS:
            return Typed("boolean", cell)
    return Typed("category" if unique <= max(FEW_VALUES, filled * CATEGORY_SHARE) else "text", cell)


def as_number(connection: duckdb.DuckDBPyConnection, cell: str, name: str, sample: list[str], delimiter: str, *, forced: bool) -> Typed:
    """A number where every cell is one; text, with the reason, for ids that a number would change or words among numbers."""
    plain = f"(CASE WHEN NOT contains({cell}, '_') THEN TRY_CAST({cell} AS DOUBLE) END)"
    filled, unread, zeros, large, infinite = counts(
        connection,
        f"count({cell})",
        f"count(*) FILTER ({cell} IS NOT NULL AND {plain} IS NULL)",
        rf"count(*) FILTER (regexp_matches({cell}, '^[+-]?0\d'))",
        rf"count(*) FILTER (length({cell}) >= 16 AND abs({plain}) > {LARGEST_EXACT} AND regexp_full_match({cell}, '[+-]?\d+'))",
        f"count(*) FILTER (isinf({plain}))",
    )
    finite = f"(CASE WHEN isfinite({plain}) THEN {plain} END)"
    if not forced and unread == 0 and (zeros or large):
        what = "numbers with leading zeros" if zeros else "whole numbers too long to be exact as numbers"
        return Typed(words_kind(connection, cell), cell, (Finding("info", "kept-as-text", f"{name!r} holds {what}: kept as text.", name),))
    if unread == 0:
        return Typed("number", finite, infinite_finding(name, infinite))
    style = number_format(connection, cell, sample, delimiter)
    if style is not None:
        return style_typed(name, cell, sample, *style)
    if forced:
        message = f"{name!r} is read as numbers, as asked; {unread:,} of {filled:,} cells are none and became missing."
        return Typed("number", finite, (Finding("warning", "not-numbers", message, name), *infinite_finding(name, infinite)))
    return stray_words(connection, cell, name, unread, filled, plain)


def infinite_finding(name: str, infinite: int) -> tuple[Finding, ...]:
    """Says that infinite values became missing, where there are any."""
    if not infinite:
        return ()
    return (Finding("warning", "infinite", f"{name!r} holds {infinite:,} infinite values; they were read as missing.", name),)


def number_format(connection: duckdb.DuckDBPyConnection, cell: str, sample: list[str], delimiter: str) -> tuple[NumberFormat, bool] | None:
    """The first format that every cell has, and whether a currency or percent sign stands by the numbers."""
    # "1,234" alone does not say what its comma is; a file that separates cells by ";" does so to keep commas for decimals
    comma_first = (POINTS, COMMAS) if delimiter == ";" else (COMMAS, POINTS)
    for signs in (False, True):
        text = BARE if signs else "{cell}"
        for style in (*((SIGNS,) if signs else ()), *comma_first, BLANKS):
            if holds(connection, cell, f"regexp_full_match({text}, $pattern)", sample, pattern=style.pattern):
                return style, signs
    return None


def style_typed(name: str, cell: str, sample: list[str], style: NumberFormat, signs: bool) -> Typed:
    """A number column in a format other than the plain one."""
    text = BARE.format(cell=cell) if signs else cell
    beside = " and a currency or percent sign" if signs else ""
    message = f"{style.message}{beside} in {name!r}, such as {sample[0]!r}, were read as numbers"
    scale = "; 12% became 12" if any(value.endswith("%") for value in sample) else ""
    value = f"TRY_CAST({style.value.format(cell=text)} AS DOUBLE)"
    return Typed("number", value, (Finding("info", style.code, f"{message}{scale}.", name),))


def stray_words(connection: duckdb.DuckDBPyConnection, cell: str, name: str, unread: int, filled: int, plain: str) -> Typed:
    """Text; where it is numbers but for a few words, asks whether those mean missing."""
    kind = words_kind(connection, cell)
    if unread > filled * STRAY_SHARE:
        return Typed(kind, cell)
    unread_cells = f"SELECT {cell} FROM cells WHERE {cell} IS NOT NULL AND {plain} IS NULL"
    query = f"{unread_cells} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {STRAY_WORDS + 1}"
    words = tuple(word for (word,) in connection.execute(query).fetchall())
    if len(words) > STRAY_WORDS:
        return Typed(kind, cell)
    shown = ", ".join(repr(word) for word in words)
    message = f"{name!r} holds numbers in {filled - unread:,} cells and {shown} in {unread:,}; it is read as {kind}."
    offer = f"{message} If these words mean missing, say so and the column becomes a number."
    question = Question("mixed-numbers", offer, "missing_marks", words)
    return Typed(kind, cell, (Finding("warning", "mixed-numbers", message, name),), (question,))


def words_kind(connection: duckdb.DuckDBPyConnection, cell: str) -> Kind:
    """The kind of a column whose cells stay words."""
    return as_words(connection, cell).kind


def as_date(
    connection: duckdb.DuckDBPyConnection, cell: str, name: str, sample: list[str], day_first: bool | None, *, forced: bool
) -> Typed | None:
    """A date where every cell is one; None for anything else. Where day and month can be swapped in all cells, asks."""
    if not forced and not all(6 <= len(value) <= 40 and any(map(str.isdecimal, value)) for value in sample):
        return None
    standard = f"TRY_CAST({cell} AS TIMESTAMP)"
    fitting = [standard] if holds(connection, cell, "TRY_CAST({cell} AS TIMESTAMP) IS NOT NULL", sample) else []
    if not fitting:
        formats = (*CERTAIN_DATES, *DAY_DATES, *map(month_first, DAY_DATES))
        dated = {style: f"{strptime('{cell}', style)} IS NOT NULL" for style in formats}
        fitting = [strptime(cell, style) for style, condition in dated.items() if holds(connection, cell, condition, sample)]
    if not fitting:
        if not forced:
            return None
        message = f"{name!r} is read as dates, as asked; cells that are not written as 2025-12-31 became missing."
        return Typed("date", standard, (Finding("warning", "not-dates", message, name),))
    finding = Finding("info", "date", f"{name!r} holds dates.", name)
    by_day, by_month = (next((value for value in fitting if start in value), None) for start in ("'%d", "'%m"))
    if by_day is None or by_month is None:
        return Typed("date", fitting[0], (finding,))
    used = by_month if day_first is False else by_day
    if day_first is not None:
        return Typed("date", used, (finding,), ambiguous_date=True)
    message = f"{name!r} holds dates such as {sample[0]!r} that can be read day first or month first; read day first."
    question = Question("day-first", f"{message} Choose month first if that is meant.", "day_first", ("true", "false"))
    return Typed("date", used, (Finding("warning", "ambiguous-date", message, name),), (question,), ambiguous_date=True)


def month_first(style: str) -> str:
    """The same format with day and month swapped."""
    return style.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")


def strptime(cell: str, style: str) -> str:
    """SQL for a date in one format; years of two digits must not pass for years of four."""
    digits = "\\d{4}" if "%Y" in style else ""
    guard = f"regexp_matches({cell}, '{digits}')" if digits else "true"
    return f"CASE WHEN {guard} THEN TRY_STRPTIME({cell}, '{style}') END"


def holds(connection: duckdb.DuckDBPyConnection, cell: str, condition: str, sample: Iterable[str], **parameters: str) -> bool:
    """Whether a condition, with "{cell}" in it, is true of every cell; the sample is tried first."""
    given = {"sample": list(sample)} | parameters
    query = f"SELECT coalesce(bool_and({condition.replace('{cell}', 'c')}), false) FROM unnest($sample) AS sample(c)"
    if first_row(connection, query, given) != (True,):
        return False
    query = f"SELECT bool_and({condition.replace('{cell}', cell)}) FROM cells WHERE {cell} IS NOT NULL"
    return first_row(connection, query, parameters) == (True,)


def sentinels(connection: duckdb.DuckDBPyConnection, cell: str, value: str) -> tuple[str, ...]:
    """The cells of a number column that look like a code for missing: -999 and its kind, twice or more, far from all others."""
    numbers = connection.execute(
        f"SELECT v, count(*) AS times, any_value({cell}) FROM (SELECT {cell}, {value} AS v FROM cells) WHERE v IS NOT NULL GROUP BY v "
        "QUALIFY row_number() OVER (ORDER BY v) <= 2 OR row_number() OVER (ORDER BY v DESC) <= 2 ORDER BY v"
    ).fetchall()
    if len(numbers) < 4:
        return ()
    (low, low_times, low_cell), (second, *_), *_, (last_but_one, *_), (high, high_times, high_cell) = numbers
    found = []
    if low in SENTINELS and low_times > 1 and second - low > high - second:
        found.append(low_cell)
    if high in SENTINELS and high_times > 1 and high - last_but_one > last_but_one - low:
        found.append(high_cell)
    return tuple(found)
