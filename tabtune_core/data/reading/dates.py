"""Types columns of dates and times of day.

Part of the fourth step of reading. A time with an offset becomes its moment in UTC; a month or quarter its first day.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import lru_cache, reduce
from typing import Any, Literal

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking
from tabtune_core.data.reading.numbers import BAD_SHARE, STRAY_SHARE, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.words import Typed, read_alone

MONTH, DAY = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec", "mon|tue|wed|thu|fri|sat|sun"
LIKELY = re.compile(
    rf"(?=.{{4,40}}$)(?=.*\d)([\d\s/.,:+-]|({DAY}|{MONTH})[a-z]*|\d(st|nd|rd|th)|\b(of|gmt|utc)\b|[ap]\.?m\b|"
    r"(?<![a-z])[tqz](?![a-z]))+",
    re.IGNORECASE,
)
"""A cell of the parts of dates and times of day; its format decides whether it is one."""
LOCAL, TIME = r"\d{4}[-/]\d{1,2}[-/]\d{1,2}", r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
ZONE = r"\s?([Zz]|UTC|GMT|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
ZONED = f"regexp_full_match(cell, '{LOCAL}{TIME}{ZONE}')"
IN_OFFSET = r"regexp_replace(regexp_replace(cell, '\s?([Zz]|UTC|GMT)$', '+00'), '\s+([+-])', '\1')"
OFFSET = rf"regexp_replace({IN_OFFSET}, '([T ]\d{{1,2}}:\d{{2}})([+-])', '\1:00\2')"  # a cast needs seconds
STANDARD = (  # a plain cast drops everything after a time: offsets, zones, even PM
    f"CASE WHEN regexp_full_match(cell, '{LOCAL}({TIME})?') THEN TRY_CAST(cell AS TIMESTAMP) "
    rf"WHEN {ZONED} THEN make_timestamp(epoch_us(TRY_CAST({OFFSET} AS TIMESTAMPTZ))) END"
)
MARKS = (
    *((r"^(\d{6}|\d{8})\.0+$", r"\1"), (r"[-/., ]+", " "), (r" $", "")),
    (r"^(\d{4})(\d\d)(\d\d) (\d+:)", r"\1 \2 \3 \4"),
)
"""Rules that put a blank for every mark except the colons of a time, and blanks into digits before a time."""
REWRITTEN = (
    (rf"^({DAY})[a-z]*[.,]?\s+", ""),
    (r"\b(\d{1,2})(st|nd|rd|th)\b( of\b)?", r"\1"),
    (rf"\b({MONTH})(uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)\b", r"\1"),
    (r"^(\d\d?)([a-z]{3})(\d\d|\d{4})\b", r"\1 \2 \3"),
    (r"(\d)t(\d)", r"\1 \2"),
    (r"(\d)\s*(z|utc|gmt|[+-]00:?00)$", r"\1"),
    (r"(\d)\s*([ap])\.?m\.?$", r"\1 \2M"),
    *MARKS,
    (r"^(\d{4}) ?q ?([1-4])$", r"q\2 \1"),
    *((rf"^q{quarter} ?(\d{{4}})$", rf"{month} \1") for quarter, month in enumerate(("jan", "apr", "jul", "oct"), 1)),
)
"""Rules that simplify a date with words: no weekday, short months, a quarter as its first month."""


_WORDED, _BARE = (
    reduce(lambda cell, rule: f"regexp_replace({cell}, '{rule[0]}', '{rule[1]}', 'g')", rules, cell)
    for cell, rules in (("lower(cell)", REWRITTEN), ("cell", MARKS))
)
SIMPLE = f"CASE WHEN regexp_matches(cell, '[A-Za-z]') THEN {_WORDED} ELSE {_BARE} END"
PARTS = (SIMPLE, STANDARD)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S %f", "%I:%M %p", "%I:%M:%S %p")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[ap]\.?m\.?)?", re.IGNORECASE)
TIME_OF_DAY = f"coalesce(CAST(TRY_STRPTIME({SIMPLE}, {list(CLOCKS)}) AS TIME), CAST({STANDARD} AS TIME))"
ORDERS: dict[DateOrder, tuple[str, ...]] = {
    True: ("%d %m %Y", "%d %m %y"),
    False: ("%m %d %Y", "%m %d %y"),
    "year": ("%y %m %d",),
}
DIGITS = {"%Y%m": r"(1[89]|20)\d{4}", "%Y%m%d": r"(1[89]|20)\d{6}"}
YEARS = (
    *(r"\b[12]\d{3}\b", r"(^|\D)\d\d( \d+:|$)", r"^\d\d \d\d? \d\d( |$)"),
    *(f"^{pattern}$" for pattern in DIGITS.values()),
)
"""Patterns of years, so that two digits are not read as four: four digits, two at the end, two first, whole numbers."""
STYLES = ("%d %b %Y", "%b %d %Y", "%Y %b %d", "%b %Y", "%Y %b", "%Y %m %d", "%Y %m", "%m %Y", "%d %b %y", "%b %y")
"""Formats with one meaning."""
SEASON = re.compile(r"(?:19|20)(\d\d)-(\d\d)")
"""A year and the next, such as 2005-06, which is no month."""
IN_DIGITS = re.compile(rf"({'|'.join(DIGITS.values())})(\.0+)?")
FEWEST_IN_DIGITS = 8  # different numbers that must all be dates: fewer may be so by chance
FAR_YEARS, EARLIEST_YEAR = 10, 1500
"""Dates more years ahead, or earlier, may be of another century or calendar, or stand for no end."""
MEANS: dict[Kind, str] = {
    "date": "dates{}. A model gets the day's number, the month and the weekday",
    "datetime": "dates with a time{}. A model gets the day's number, the month, the weekday and the time of day",
    "time": "times of day{}. A model gets the hour, and its position on the circle of a day",
}
"""Description of each kind of date."""
ORDER_WORDS: dict[DateOrder, tuple[str, str]] = {
    True: ("true", "day first"),
    False: ("false", "month first"),
    "year": ("year", "year first"),
}
"""The answer to a question, and its words."""


def written_as(*styles: str) -> str:
    """Returns SQL for a date in the first fitting format, with or without a time; all have the same kind of year."""
    timed = list[str]()
    for style in styles:  # alone, and with a time after it, before it or before its year
        timed += [style, *(f"{style} {clock}" for clock in CLOCKS)]
        timed += [f"%H:%M:%S {style}", style.replace(" %Y", " %H:%M:%S %Y")]
    moment = f"CASE WHEN regexp_matches({SIMPLE}, '{_year(styles[0])}') THEN TRY_STRPTIME({SIMPLE}, {timed}) END"
    return f"coalesce({STANDARD}, {moment})"


def _year(style: str) -> str:
    return f"^{DIGITS[style]}$" if style in DIGITS else YEARS[("%y" in style) + style.startswith("%y")]


def may_be_dates(sample: Sequence[str]) -> bool:
    """Whether nearly all cells look like dates or times of day, so that trying their formats is worthwhile."""
    likely = sum(
        bool(LIKELY.fullmatch(cell)) and bool(IN_DIGITS.fullmatch(cell) or not is_number(cell)) for cell in sample
    )
    return bool(sample) and likely >= len(sample) * (1 - STRAY_SHARE)


def as_date(name: str, sample: list[str], day_first: DateOrder | None, *, asked: Kind | None) -> Asking[Typed | None]:
    """Types a column as date or time of day if nearly every cell is one, or the person ``asked``; else returns None.

    If day and month can be swapped in all cells, asks which comes first.
    """
    forced = asked is not None
    if not forced and not may_be_dates(sample):
        return None
    clocks = [value for value in sample if CLOCK.fullmatch(value)]
    if asked == "time" or (not forced and len(clocks) >= len(sample) * (1 - STRAY_SHARE)):
        if not forced and name and are_durations(clocks):
            return None
        _, read, filled = yield from _fitting({"": TIME_OF_DAY}, forced)
        return (yield from _typed(name, clocks, "time", TIME_OF_DAY, read, filled, forced=forced))
    likely = [value for value in sample if LIKELY.fullmatch(value)]
    in_digits = len(sample) >= FEWEST_IN_DIGITS and all(map(IN_DIGITS.fullmatch, sample))
    fitting, read, filled = yield from _fitting({"": STANDARD}, forced)
    if read < filled and (forced or in_digits or not (likely and is_number(likely[0]))):  # trying all formats is slow
        written = (*STYLES, *ORDERS[True], *ORDERS[False], *(ORDERS["year"] * any("-" in cell for cell in sample)))
        styles = (*DIGITS, *written) if forced else DIGITS if in_digits else written
        other, more, _ = yield from _fitting({style: written_as(style) for style in styles}, forced)
        fitting, read = (other, more) if more > read else (fitting, read)
    if not forced and (not fitting or (in_digits and read < filled)):
        return None
    fits = {order: next(filter(fitting.__contains__, styles), None) for order, styles in ORDERS.items()}
    by_order = {order: style for order, style in fits.items() if style}
    order = day_first if day_first in by_order else next(iter(by_order), None)
    style = next(iter(fitting), "") if order is None else by_order[order]
    value = fitting.get(style, STANDARD)
    seasons = map(SEASON.fullmatch, sample)
    if not forced and all(years and int(years[2]) == (int(years[1]) + 1) % 100 for years in seasons):
        return None
    typed = yield from _typed(name, likely, asked or "date", value, read, filled, forced=forced)
    if typed is None or typed.kind not in MEANS:
        return typed
    remarks = yield from _date_findings(name, value)
    typed = replace(typed, findings=(*typed.findings, *remarks), day_first=order)
    if order is None or len(by_order) < 2 or day_first is not None:
        return typed
    others = " or ".join(ORDER_WORDS[one][1] for one in by_order if one != order)
    message = f"{name!r} holds dates such as {likely[0]!r}, read {ORDER_WORDS[order][1]}; they may be {others}."
    options = (ORDER_WORDS[one][0] for one in sorted(by_order, key=lambda one: one != order))
    question = Question("day_first", f"{message} Choose that if it is meant.", tuple(options))
    return replace(typed, findings=tuple(one for one in typed.findings if one.code != "date"), questions=(question,))


def are_durations(clocks: Sequence[str]) -> bool:
    """Whether times look elapsed: some are of more than 24 hours, or all have seconds and none is past noon."""
    hours = [int(cell.partition(":")[0]) for cell in clocks if cell[-1].isdigit()]
    late, full = sum(hour > 24 for hour in hours), all(cell.count(":") == 2 for cell in clocks)
    usual = len(hours) >= len(clocks) * (1 - STRAY_SHARE)
    return usual and (late > BAD_SHARE * len(clocks) or (full and max(hours) < 12))


def each_date(name: str, kind: Kind, order: DateOrder | None) -> Asking[Typed]:
    """Types a date column of rows to predict: each cell is read by itself, in the order of the table."""
    styles = (*STYLES, *DIGITS, *(ORDERS[order] if order is not None else ()))
    by_year = ([style for style in styles if _year(style) == year] for year in YEARS)
    value = f"coalesce({', '.join([STANDARD, *(written_as(*one) for one in by_year if one)])})"
    filled, read = yield Ask(("count(cell)", f"count({value})"), parts=PARTS)
    return (yield from _typed(name, [], kind, value, read, filled, forced=True)) or Typed(kind, value)


def _typed(
    name: str, likely: list[str], kind: Kind, value: str, read: int, filled: int, *, forced: bool
) -> Asking[Typed | None]:
    """Returns the type of a column in which ``read`` of ``filled`` cells are dates; words, or None, if too few."""
    unread = filled - read
    if not forced and unread > filled * STRAY_SHARE:
        return None
    bad: tuple[Finding, ...] = ()
    if unread:
        wrong, what = f"(cell IS NOT NULL AND ({value}) IS NULL)", "time" if kind == "time" else "date"
        if not forced and unread > filled * BAD_SHARE:
            words = yield from stray_words(name, unread, filled, wrong, what=what)
            return words if words.marks else None
        bad = (bad_cells_finding(name, (yield from unread_words(wrong)), unread, filled, what=f"{what}s"),)
    if not forced and kind == "date":
        (timed,) = yield Ask((f"count(*) FILTER (({value}) <> date_trunc('day', {value}))",), parts=PARTS)
        kind = "datetime" if timed else "date"
    shown = f" such as {shorten(likely[0])!r}" if likely else ""
    other = "durations" if kind == "time" else "plain numbers" if likely and is_number(likely[0]) else ""
    way_out = f" Choose number, under Columns, if they are {other}." if other else " Nothing to do."
    message = f"{name!r} holds {MEANS[kind].format(shown)}.{way_out}"
    return Typed(kind, value, (*bad, *((Finding("info", "date", message, name),) if read else ())))


def _date_findings(name: str, value: str) -> Asking[list[Finding]]:
    """Reports dates far ahead, and times without an offset beside others with one."""
    last = date.today().year + FAR_YEARS
    far = f"FILTER (year({value}) NOT BETWEEN {EARLIEST_YEAR} AND {last})"
    terms = (f"count(*) {far}", f"min(cell) {far}", f"count(*) FILTER ({ZONED})", f"count({value})")
    late, shown, zoned, filled = yield Ask(terms, parts=PARTS)
    findings = []
    if late:
        message = f"{name!r} has {late:,} dates such as {shorten(shown)!r} before {EARLIEST_YEAR} or after {last}. "
        way_out = "Correct years of two digits or another calendar in the file, or read these cells as missing."
        findings.append(Finding("warning", "far-years", message + way_out, name))
    if 0 < zoned < filled:
        message = f"{filled - zoned:,} of {filled:,} times in {name!r} have no offset, unlike others: taken for UTC."
        findings.append(Finding("warning", "utc", message, name))
    return findings


def _fitting(ways: Mapping[str, str], forced: bool) -> Asking[tuple[dict[str, str], int, int]]:
    """Returns the formats that fit most cells, the number of these, and of all filled cells; tries a sample first."""
    seen, *counts = yield Ask(("count(cell)", *(f"count({way})" for way in ways.values())), of_sample=True, parts=PARTS)
    least = 1 if forced else (seen or 0) * (1 - STRAY_SHARE)
    likely = [style for style, count in zip(ways, counts, strict=True) if count and count >= least]
    filled, *read = yield Ask(("count(cell)", *(f"count({ways[style]})" for style in likely)), parts=PARTS)
    most = max(read, default=0)
    return {style: ways[style] for style, count in zip(likely, read, strict=True) if count == most}, most, filled


def is_number(cell: str) -> bool:
    """Whether a cell is a plainly written number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def kind_of_texts(texts: Sequence[str]) -> Typed | None:
    """Returns the date or time type of different texts, by the same rules as for a file; None if they are neither."""
    return read_texts(texts, None)[0] if may_be_dates(texts) else None


Order = DateOrder | Literal["column"] | None
FEW_TEXTS = 100
"""Texts whose reading is kept: a row to predict is checked, noted and encoded."""


def read_texts(texts: Sequence[str], asked: Kind | None, *, order: Order = "column") -> tuple[Typed | None, list[Any]]:
    """Returns the date or time type of texts, and of each text the time of day or the microseconds since 1970, or None.

    ``asked`` is the kind to read them as, if known. With an ``order`` other than "column", each is read by itself.
    """
    cells = tuple(dict.fromkeys(texts))
    typed, values = (_read_few if len(cells) <= FEW_TEXTS else _read_few.__wrapped__)(cells, asked, order)
    if typed is None:
        return None, []
    read = dict(zip(cells, values, strict=True))
    return typed, [read[text] for text in texts]


@lru_cache(maxsize=64)
def _read_few(cells: tuple[str, ...], asked: Kind | None, order: Order) -> tuple[Typed | None, list[Any]]:
    if not cells:
        return None, []
    work = as_date("", list(cells), None, asked=asked) if order == "column" else each_date("", "datetime", order)
    typed, values = read_alone(work, cells)
    return (typed, values) if typed is not None and typed.kind in MEANS else (None, [])
