"""Types columns of numbers in the formats that people use: patterns (RE2) of a cell, and SQL for its number.

Part of the fourth step of reading. Ids that a float64 would change stay text; cells that are no numbers are reported.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sql import first_row
from tabtune_core.data.reading.words import MISSING_WORD, Typed, as_words
from tabtune_core.wording import number as in_words

MONEY = r"[$¢-¥฿₠-₿￠￡￥￦]|USD|EUR|GBP|CHF|CNY|INR|JPY|Rs\.?|R\$|US\$"
KNOWN_UNITS = (
    "°[CF]?|[kcmµ]?m[²³23]?|mi|ft|[kmµ]?g|lbs?|oz|[cm]?l|[kKMGT]i?B|[kMG]?Hz|[kM]?Wh?|m?A|m?Ah|k?V|k?cal|"
    "hrs?|h|mins?|sec|ms|s|days?|d|mos?|yrs?|years?|px|cc|CC|b?hp|rpm|kmpl|km/h|m/s|mph|ppm|x"
)
"""Units that may adjoin their number; after a blank, any word may be one. Else 344xx would be 344."""
WORD = r"(?:[^\W\d_]|°)(?:[^\W\d_]|[²³°·.%]|/\d*|(?<=[^\W\d_])\^?-?[1-3](?!\d)|[ ](?=[^\W\d_]))*"
BLANK, GAP, SIGN = "[ \u00a0\u202f]?", "[ '\u00a0\u2009\u202f\u2019]", "[+\u2212\u2013-]"
MARKED = re.compile(
    rf"{SIGN}?\s?({MONEY}|%)?\s?{SIGN}?\s?(?:\d[\d.,'\u2019\s]*?|[.,]\d+)(?:[eE][+-]?\d+)?"
    rf"(?:({MONEY}|%|{KNOWN_UNITS})|\s({MONEY}|%|{WORD}))?"
)
"""A number with a currency or percent sign before it, or such a sign or a unit after it."""
FEWEST_WITH_UNIT, STRAY_SHARE, BAD_SHARE = 0.9, 0.1, 0.02
"""Least share of numbers with a unit; largest share of other cells in a column that may hold numbers or dates, and of
those that are slips, unless they look like codes."""
PLAIN = "(CASE WHEN NOT contains(cell, '_') THEN TRY_CAST(cell AS DOUBLE) END)"
FINITE = f"(CASE WHEN isfinite({PLAIN}) THEN {PLAIN} END)"
UNREAD = f"(cell IS NOT NULL AND {PLAIN} IS NULL)"
CLOCK = re.compile(r"\d+:[0-5]\d(:[0-5]\d(\.\d+)?)?")
"""A duration; without hours it is minutes and seconds."""
LARGEST_EXACT = 2**53  # above it not every integer is a float64, so two ids could become one
CODE = re.compile(r"\s*[A-Za-z]{1,4}[-. ]?\d.*")
MANY_NUMBERS = 20
"""From this many different numbers, a column with other words is mostly numbers, however often the words occur."""
MOST_MARKS, MOST_TOLD = 3, 0.25
"""Most words that may mean missing; largest share of other cells for which a column of mostly numbers is reported."""
EITHER = re.compile(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?![\d.,])")
"""A number whose mark may be decimal or separate thousands."""
NO_COMMA = "(--thousands-comma, or remove the column from 'Columns with decimal commas' under Reading choices)"
ROWS_SEEN, LEAST_SURE = 10_000, 0.2
"""Rows that tell the decimal mark of a file; least number of sure marks per number with two meanings."""
BEFORE, AFTER = rf"{SIGN}?[ ]?(?:(?:{MONEY}|%)[ ]?)?{SIGN}?", rf"(?:{BLANK}[^\s\d,.;:]{{1,8}})?"
GROUPED_POINT = re.compile(rf"{BEFORE}(?:[1-9]\d{{0,2}}\.\d{{3}}|\d{{1,3}}){AFTER}")


def as_number(
    name: str, sample: list[str], *, forced: bool, unit: str | None, comma_first: bool, decimal_comma: bool | None
) -> Asking[Typed]:
    """Types a column as number if its cells are numbers, or as words with the reason: codes, or too many other cells.

    ``unit`` and ``decimal_comma`` are None if unknown; then ``comma_first`` decides where all commas have two meanings.
    """
    filled, unread, zeros, large, infinite, points = yield Ask(
        (
            "count(cell)",
            f"count(*) FILTER {UNREAD}",
            rf"count(*) FILTER (regexp_matches(cell, '^[+-]?0\d') AND NOT {UNREAD})",
            r"count(*) FILTER (length(cell) >= 16 AND regexp_full_match(cell, '[+-]?\d+') "
            f"AND coalesce(abs(TRY_CAST(cell AS HUGEINT)) > {LARGEST_EXACT}, true))",
            f"count(*) FILTER (isinf({PLAIN}))",
            "count(*) FILTER (contains(cell, '.'))",
        )
    )
    if not forced and (zeros or large) and unread <= filled * STRAY_SHARE:
        what = "numbers with leading zeros" if zeros else "whole numbers too long to be exact as numbers"
        message = f"{name!r} holds {what}: kept as text, as codes are. Choose number if they count something."
        return replace((yield from as_words()), findings=(Finding("info", "kept-as-text", message, name),))
    typed = Typed("number", FINITE)
    if unread or (decimal_comma and points):
        unit = unit or unit_of(sample)
        typed, unread = yield from _formatted(name, sample, unit, comma_first, decimal_comma, infinite)
    if points and decimal_comma is None and not typed.decimal_comma and all(map(GROUPED_POINT.fullmatch, sample)):
        pointed = [cell for cell in sample if "." in cell]
        if comma_first or len(pointed) < len(sample):
            typed = replace(typed, pointed=max(pointed, default=""))
    wrong = f"(cell IS NOT NULL AND ({typed.value}) IS NULL)"
    if unread + infinite == 0:
        return typed
    if forced or unread <= filled * BAD_SHARE:
        bad = yield from unread_words(wrong)
        if forced or not any(map(CODE.fullmatch, bad)):
            return replace(typed, findings=(bad_cells_finding(name, bad, unread + infinite, filled), *typed.findings))
    (missing,) = (yield Ask((f"count(*) FILTER {MISSING_WORD}",))) if unread > filled * STRAY_SHARE else (0,)
    most = 1 if unread == missing or len(sample) > MANY_NUMBERS else STRAY_SHARE
    return (yield from stray_words(name, unread + infinite, filled, wrong, most=most))


def _formatted(
    name: str, sample: list[str], unit: str | None, comma_first: bool, decimal_comma: bool | None, infinite: int
) -> Asking[tuple[Typed, int]]:
    """Returns the type of a column of numbers that are not all plain, and the number of cells that are none."""
    comma, doubtful = bool(decimal_comma), False
    if decimal_comma is None:
        pointed, with_comma = yield Ask(tuple(f"count(*) FILTER ({_fits(unit, comma)})" for comma in (False, True)))
        marked = [cell for cell in sample if "," in cell]
        comma = with_comma > pointed or (with_comma == pointed and comma_first)
        doubtful = comma and bool(marked) and pointed == with_comma and all(map(EITHER.search, marked))
    value = all_values(unit, comma=comma)
    odd = f"({value}) IS NOT NULL AND ({value}) IS DISTINCT FROM {FINITE}"
    other = f"{odd} AND NOT {_fits(unit, comma)} AND NOT contains(cell, ':')"
    bare = f"({value}) <> 0 AND NOT contains(cell, {quoted(unit or '')}) AND NOT contains(cell, ':')"
    filled, read, shown, without, others, example, commas, points = yield Ask(
        (
            "count(cell)",
            f"count({value})",
            f"max({{'length': length(cell), 'cell': cell, 'value': {value}}}) FILTER ({odd})",
            f"count(*) FILTER ({bare})",
            f"count(*) FILTER ({other})",
            f"min(cell) FILTER ({other})",
            "count(*) FILTER (contains(cell, ','))",
            "count(*) FILTER (contains(cell, '.'))",
        ),
        parts=(value,),
    )
    unread = filled - read - infinite
    if shown is None:
        return Typed("number", FINITE), unread
    doubts = ""
    if unit and without:
        doubts += f", and {without:,} without {unit!r}. Convert them to one unit if they differ in it"
    if others:
        doubts += f". The decimal mark differs in {others:,} of {read:,}, such as {example!r}"
    if doubtful:
        doubts += f". If the commas separate thousands, say so {NO_COMMA}"
    read_as = f"{shorten(shown['cell'])!r}, read as {in_words(shown['value'], 15)}"
    if ":" in shown["cell"]:
        read_as += " seconds. Choose time of day, under Columns, if they are no durations"
    message = f"{name!r} holds numbers such as {read_as}{doubts}."
    mark = comma if commas or (comma and points) else None
    finding = Finding("warning" if doubts else "info", "number-format", message, name)
    return Typed("number", value, (finding,), unit=unit, decimal_comma=mark), unread


def each_number(name: str, *, unit: str | None, comma_first: bool, decimal_comma: bool | None) -> Asking[Typed]:
    """Types a number column of rows to predict: each cell is read by itself, with the unit and marks of the table."""
    comma = comma_first if decimal_comma is None else decimal_comma
    every = all_values(unit, comma=comma, known=decimal_comma is not None)
    value = f"(CASE WHEN isfinite({every}) THEN {every} END)"
    filled, read = yield Ask(("count(cell)", f"count({value})"))
    if read == filled:
        return Typed("number", value)
    message = f"{filled - read:,} of {filled:,} cells of {name!r} are not numbers and became missing."
    return Typed("number", value, (Finding("warning", "bad-cells", message, name),))


def unread_words(wrong: str) -> Asking[list[str]]:
    """Returns the different cells for which the SQL ``wrong`` holds, the most frequent first."""
    (times,) = yield Ask((f"histogram(cell) FILTER {wrong}",))
    return sorted(times or (), key=lambda word: (-times[word], word))


def bad_cells_finding(name: str, bad: Sequence[str], unread: int, filled: int, *, what: str = "numbers") -> Finding:
    """Reports the cells of a column of numbers, or of other ``what``, that cannot be read as such."""
    shown = ", ".join(repr(shorten(word)) for word in bad[:MOST_MARKS]) + ", ..." * (len(bad) > MOST_MARKS)
    cells = "1 other cell became" if unread == 1 else f"{unread:,} other cells became"
    message = f"{name!r} holds {what} in {filled - unread:,} of {filled:,} cells; {cells} missing: {shown}. "
    way_out = "Correct the file, or choose category under Columns, if they matter."
    return Finding("warning", "bad-cells", message + way_out, name)


def stray_words(
    name: str, unread: int, filled: int, wrong: str, *, what: str = "number", most: float = STRAY_SHARE
) -> Asking[Typed]:
    """Types a column as words; few words among numbers or dates, up to the share ``most``, may mean missing."""
    typed = yield from as_words()
    if unread > filled * most or unread == filled:
        return typed
    words = tuple((yield from unread_words(wrong)))
    if len(words) <= MOST_MARKS and all(shorten(word) == word for word in words):
        return replace(typed, marks=words)
    if unread > filled * MOST_TOLD:
        return typed
    cells = f"{name!r} holds {what}s in {filled - unread:,} cells and other text in {unread:,}, such as "
    way_out = f"Choose {what} under Columns if the others may become missing."
    message = f"{cells}{shorten(words[0])!r}; it is read as {typed.kind}. {way_out}"
    return replace(typed, findings=(Finding("info", "kept-as-text", message, name),))


def unit_of(sample: Sequence[str]) -> str | None:
    """Returns the one currency, percent sign or unit that stands beside the numbers of a column; None without one.

    >>> unit_of(["12 km", "5km"]), unit_of(["1 vote", "2 votes"]), unit_of(["$5", "7"]), unit_of(["$5", "7 €"])
    ('km', 'vote', '$', None)
    >>> unit_of(["344xx", "345xx"]), unit_of(["5K", "7K"]), unit_of(["5 km", "7"])
    (None, None, None)
    """
    if sum(map(bool, map(CLOCK.fullmatch, sample))) > len(sample) / 2:
        return "s"
    matches = [match.groups("") for match in map(MARKED.fullmatch, sample) if match]
    marks = Counter(re.sub(r"(?<=[a-z]{2})s$", "", "".join(few)) for few in matches if sum(map(bool, few)) < 2)
    plain = marks.pop("", 0)
    (mark, times), *_ = marks.most_common(1) or [("", 0)]
    is_sign = re.fullmatch(f"{MONEY}|%", mark) is not None
    return mark if mark and times >= FEWEST_WITH_UNIT * (marks.total() + plain * (not is_sign)) else None


def number_pattern(unit: str | None, *, comma: bool) -> str:
    """Returns the pattern of a cell whose decimal mark is a point, or a ``comma``; 1.234E5 has no thousands."""
    decimal, between = (",", r"\.") if comma else (r"\.", ",")
    power, whole = r"(?:[eE][+-]?\d{1,3})?", r"(?:0|[1-9]\d*)"
    groups = rf"[1-9]\d{{0,2}}(?:(?:{between}\d{{3}})+|(?:{GAP}\d{{3}})+)"
    number = rf"(?:(?:{whole}(?:{decimal}\d+)?|{decimal}\d+){power}|{groups}(?:{decimal}\d+)?)"
    if not unit:
        return rf"{SIGN}?{BLANK}{number}"
    mark = mark_of(unit)
    return rf"{SIGN}?{BLANK}(?:{mark}{BLANK})?{number}(?:{BLANK}{mark})?|{mark}{BLANK}{SIGN}{BLANK}{number}"


def mark_of(unit: str) -> str:
    """Returns the pattern of a unit."""
    return re.escape(unit) + "s?" * bool(re.search("[a-z]{2}$", unit))


def _fits(unit: str | None, comma: bool) -> str:
    return f"regexp_full_match(cell, {quoted(number_pattern(unit, comma=comma))})"


def _number_value(unit: str | None, *, comma: bool) -> str:
    """Returns SQL for the number of a cell that fits ``number_pattern``, NULL for others."""
    bare = f"regexp_replace(cell, {quoted(mark_of(unit))}, '')" if unit else "cell"
    digits = f"replace(replace(regexp_replace({bare}, {quoted(GAP)}, '', 'g'), '\u2212', '-'), '\u2013', '-')"
    written = f"replace(replace({digits}, '.', ''), ',', '.')" if comma else f"replace({digits}, ',', '')"
    number = f"nullif(nullif(TRY_CAST({written} AS DOUBLE), 'inf'::DOUBLE), '-inf'::DOUBLE)"
    return f"CASE WHEN {_fits(unit, comma)} THEN {number} END"


def all_values(unit: str | None, *, comma: bool, known: bool = True) -> str:
    """Returns SQL for the number of a cell; where it has two meanings, ``comma`` says that its comma is decimal.

    A plain "1.234" is 1234 only if that is ``known``. Durations such as 1:02:03 are seconds.
    """
    point_value, comma_value = (_number_value(unit, comma=decimal) for decimal in (False, True))
    ways = [comma_value, FINITE, point_value] if comma else [FINITE, point_value, comma_value]
    ways = ways if known or not comma else [FINITE, comma_value, point_value]
    if unit == "s":
        part = "coalesce(TRY_CAST(nullif(split_part(cell, ':', {}), '') AS DOUBLE), 0)"
        total = " + ".join(f"{60**place} * {part.format(-1 - place)}" for place in range(3))
        ways.append(f"CASE WHEN regexp_full_match(cell, {quoted(CLOCK.pattern)}) THEN {total} END")
    return f"coalesce({', '.join(ways)})"


def decimal_commas(cells: Cells, job: Job, *, own: bool | None) -> dict[str, bool]:
    """Returns whether a comma is decimal, for columns where that is chosen or sure numbers of the file show it.

    ``own`` is that of ``finish``. The marks of rows to predict go before those of the table, unless its columns differ.
    """
    if own is None:
        return {}
    chosen, to_predict = dict(job.choices.decimal_commas), job.fewest == 1
    names = {name for name, kind in job.choices.kinds if kind == "number"} if to_predict else {*cells.names}
    meant = {bool(chosen.get(name)) for name in names & {*cells.names}} if to_predict else {*chosen.values()}
    comma = None if len(meant) > 1 else _mark_of_file(job, cells, names)
    of_file = {} if comma is None else dict.fromkeys(cells.names, comma)
    return of_file or (chosen if own else {}) if to_predict else of_file | chosen


def _mark_of_file(job: Job, cells: Cells, names: set[str]) -> bool | None:
    """Returns whether decimal marks of the columns ``names`` are commas, by those with one meaning."""
    columns = ", ".join(f"c{place}" for place, name in enumerate(cells.names) if name in names)
    if not columns:
        return None
    sure = [
        rf"(?:(?:\d*|\d{{1,3}}(?:(?:{between}|{GAP})\d{{3}})+){mark}(?:\d{{1,2}}|\d{{4,}})|0{mark}\d{{3}}"
        rf"|\d{{1,3}}(?:{between}\d{{3}}){{2,}})"
        for mark, between in ((r"\.", ","), (",", r"\."))
    ]
    terms = (
        f"sum(len(regexp_extract_all(text, {quoted(f'(?m)^{BEFORE}{number}{AFTER}$')})))"
        for number in (*sure, r"[1-9]\d{0,2}[.,]\d{3}")
    )
    rows = f"SELECT concat_ws(chr(10), {columns}) AS text FROM cells LIMIT {ROWS_SEEN}"
    points, commas, either = first_row(job.connection, f"SELECT {', '.join(terms)} FROM ({rows})")
    if bool(points) != bool(commas) and (points or commas) >= LEAST_SURE * either:
        return bool(commas)
    return None


def ask_about_points(typed: Mapping[str, Typed]) -> Iterator[Question]:
    """Asks about columns whose points may separate thousands."""
    if doubts := {name: kind.pointed for name, kind in typed.items() if kind.pointed}:
        shown = ", ".join(f"{cell!r} in {name!r}" for name, cell in [*doubts.items()][:3])
        message = f"All points in numbers have three digits after them, such as {shown}: read as decimal points."
        yield Question("decimal_commas", f"{message} If they separate thousands, say so.", tuple(doubts))
