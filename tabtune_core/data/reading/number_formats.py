"""The formats in which people write numbers, as regular expressions (RE2) of a cell and SQL for its number."""

import re
from collections import Counter
from collections.abc import Sequence

from tabtune_core.data.reading.batched_queries import quoted

PERCENT = "%"
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
FEWEST_WITH_UNIT, STRAY_SHARE = 0.9, 0.1
"""Least share of numbers with a unit; largest share of other cells in a column that may hold numbers or dates."""
PLAIN = "(CASE WHEN NOT contains(cell, '_') THEN TRY_CAST(cell AS DOUBLE) END)"
FINITE = f"(CASE WHEN isfinite({PLAIN}) THEN {PLAIN} END)"
UNREAD = f"(cell IS NOT NULL AND {PLAIN} IS NULL)"
SECONDS = {"d(ays?)?": 86400, "h((ou)?rs?)?": 3600, "m(in(ute)?s?)?": 60, "s(ec(ond)?s?)?": 1}
CLOCK = re.compile(r"(?:-?\d+ days?,? \+?)?\d+:[0-5]\d(?::[0-5]\d(?:\.\d+)?)?")
"""A duration, as pandas also writes it; without hours it is minutes and seconds."""
CLOCKED = f"regexp_full_match(cell, {quoted(CLOCK.pattern)})"


def unit_of(sample: Sequence[str]) -> str | None:
    """Returns the one currency, percent sign or unit that stands beside the numbers of a column; None without one.

    >>> unit_of(["12 km", "5km"]), unit_of(["1 vote", "2 votes"]), unit_of(["$5", "7"]), unit_of(["$5", "7 €"])
    ('km', 'vote', '$', None)
    >>> unit_of(["344xx", "345xx"]), unit_of(["5K", "7K"]), unit_of(["5 km", "7"])
    (None, None, None)
    """
    if sum(map(bool, map(CLOCK.fullmatch, sample))) > len(sample) / 2:
        return "s"
    numbers = [match for match in map(MARKED.fullmatch, sample) if match]
    marks = Counter(_singular(next(filter(None, match.groups()), "")) for match in numbers if _has_one_mark(match))
    plain = marks.pop("", 0)
    (mark, times), *_ = marks.most_common(1) or [("", 0)]
    if times < FEWEST_WITH_UNIT * marks.total() or not mark:
        return None
    is_sign = re.fullmatch(f"{MONEY}|%", mark) is not None
    return mark if is_sign or times >= FEWEST_WITH_UNIT * (marks.total() + plain) else None


def _has_one_mark(match: re.Match[str]) -> bool:
    return sum(group is not None for group in match.groups()) < 2


def _singular(unit: str) -> str:
    return re.sub(r"(?<=[a-z]{2})s$", "", unit)


def seconds_in(unit: str) -> int | None:
    """Returns how many seconds a unit of time is, or None for other units.

    >>> [seconds_in(unit) for unit in ("h", "min", "day", "s", "km")]
    [3600, 60, 86400, 1, None]
    """
    return next((seconds for one, seconds in SECONDS.items() if unit != "m" and re.fullmatch(one, unit)), None)


def number_pattern(unit: str | None, *, comma: bool) -> str:
    """Returns the pattern of a cell whose decimal mark is a point, or a ``comma``; 1.234E5 has no thousands."""
    decimal, between = (",", r"\.") if comma else (r"\.", ",")
    power, whole = r"(?:[eE][+-]?\d{1,3})?", r"(?:0|[1-9]\d*)"
    groups = rf"[1-9]\d{{0,2}}(?:(?:{between}\d{{3}})+|(?:{GAP}\d{{3}})+)"
    number = rf"(?:(?:{whole}(?:{decimal}\d+)?|{decimal}\d+){power}|{groups}(?:{decimal}\d+)?)"
    if not unit:
        return rf"{SIGN}?{BLANK}{number}"
    mark = re.escape(unit) + "s?" * bool(re.search("[a-z]{2}$", unit))
    return rf"{SIGN}?{BLANK}(?:{mark}{BLANK})?{number}(?:{BLANK}{mark})?|{mark}{BLANK}{SIGN}{BLANK}{number}"


def number_value(unit: str | None, *, comma: bool) -> str:
    """Returns SQL for the number of a cell that fits ``number_pattern``, NULL for others."""
    mark = re.escape(unit or "") + "s?" * bool(re.search("[a-z]{2}$", unit or ""))
    bare = f"regexp_replace(cell, {quoted(mark)}, '')" if unit else "cell"
    digits = f"replace(replace(regexp_replace({bare}, {quoted(GAP)}, '', 'g'), '\u2212', '-'), '\u2013', '-')"
    written = f"replace(replace({digits}, '.', ''), ',', '.')" if comma else f"replace({digits}, ',', '')"
    fits = f"regexp_full_match(cell, {quoted(number_pattern(unit, comma=comma))})"
    number = f"TRY_CAST({written} AS DOUBLE)"
    return f"CASE WHEN {fits} THEN nullif(nullif({number}, 'inf'::DOUBLE), '-inf'::DOUBLE) END"


def clock_value() -> str:
    """Returns SQL for the seconds of a duration such as 1:02:03, NULL for other cells."""
    days = "86400 * coalesce(TRY_CAST(regexp_extract(cell, '^(-?\\d+) day', 1) AS DOUBLE), 0)"
    part = "coalesce(TRY_CAST(regexp_extract(split_part(cell, ':', {}), '[\\d.]+$') AS DOUBLE), 0)"
    parts = (f"{60**place} * {part.format(-1 - place)}" for place in range(3))
    return f"CASE WHEN {CLOCKED} THEN {' + '.join([days, *parts])} END"


def all_values(unit: str | None, *, comma: bool, known: bool = True) -> str:
    """Returns SQL for the number of a cell; where it has two meanings, ``comma`` says that its comma is decimal.

    A plain "1.234" is 1234 only if that is ``known``. A duration has the unit of its column, if that is one of time.
    """
    point_value, comma_value = (number_value(unit, comma=decimal) for decimal in (False, True))
    ways = [comma_value, FINITE, point_value] if comma else [FINITE, point_value, comma_value]
    ways = ways if known or not comma else [FINITE, comma_value, point_value]
    if unit and (worth := seconds_in(unit)):
        ways.append(f"({clock_value()}) / {worth}")
    return f"coalesce({', '.join(ways)})"


def with_point(text: str) -> str:
    """Returns a number with a decimal comma as Python writes it, and any other text unchanged.

    >>> list(map(with_point, ("1.234,5", "21.428", "62,3", "1.5", "0.652", "about 3")))
    ['1234.5', '21428', '62.3', '1.5', '0.652', 'about 3']
    """
    fits = re.fullmatch(number_pattern(None, comma=True), text.strip(), re.ASCII)
    return re.sub(rf"{GAP}|\.", "", text.strip()).replace(",", ".") if fits else text
