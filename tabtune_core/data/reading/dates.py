"""Types columns of dates and times of day.

Part of the fourth step of reading. If day and month could be swapped in every cell, the person is asked. A time with an
offset becomes its moment in UTC; a month, quarter or week becomes its first day.
"""

# ruff: noqa: RUF001
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache, reduce
from math import log, log1p
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, answered, quoted
from tabtune_core.data.reading.digits import ascii_digits
from tabtune_core.data.reading.number_formats import FINITE, UNREAD
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.reading.unread_cells import BAD_SHARE, STRAY_SHARE, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.words import Typed, as_words
from tabtune_core.wording import counted

ELSEWHERE = {
    "jan": "ene(ro)?|gen(naio)?|jän(ner)?|styczeń|stycznia|янв(ар[ья])?|ocak|leden|ledna|január|ιανουάριος|ιανουαρίου",
    "feb": "feber|fev(ereiro)?|fév(r(ier)?)?|luty|lutego|фев(рал[ья])?|şubat|února?|február|φεβρουάριος|φεβρουαρίου",
    "mar": "märz?|mrz|mrt|maart|marzec|marca|март?а?|mart|březen|března|március|μάρτιος|μαρτίου",
    "apr": "avr(il)?|abr(il)?|kwiecień|kwietnia|апр(ел[ья])?|nisan|duben|dubna|április|απρίλιος|απριλίου",
    "may": "maio?|mag(gio)?|mei|maja?|ма[йя]|mayıs|květen|května|május|μάιος|μαΐου",
    "jun": "juin|giu(gno)?|czerwiec|czerwca|июн[ья]?|haziran|červen|června|június|ιούνιος|ιουνίου",
    "jul": "juil(let)?|lug(lio)?|lipiec|lipca|июл[ья]?|temmuz|červenec|července|július|ιούλιος|ιουλίου",
    "aug": "ago(sto)?|août|sierpień|sierpnia|авг(уста?)?|ağustos|srpen|srpna|augusti|augusztus|αύγουστος|αυγούστου",
    "sep": "set(t(embre)?|embro)?|wrzesień|września|сен(тябр[ья])?|eylül|září|szeptember|σεπτέμβριος|σεπτεμβρίου",
    "oct": "okt(ober|óber)?|ott(obre)?|out(ubro)?|październik|października|окт(ябр[ья])?|ekim|říjen|října|οκτώβριος|οκτωβρίου",
    "nov": "listopada?u?|ноя(бр[ья])?|kasım|νοέμβριος|νοεμβρίου",
    "dec": "dez(ember|embro)?|dic(iembre|embre)?|déc(embre)?|grudzień|grudnia|дек(абр[ья])?|aralık|prosinec|prosince|δεκέμβριος|δεκεμβρίου",
}
"""Months that are not written as in English, in German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian, Turkish, Czech,
Swedish, Hungarian and Greek."""
FOREIGN = "|".join(ELSEWHERE.values()).replace("(", "(?:")
LIKELY = re.compile(
    r"(?=.{4,40}$)(?=.*\d)([\d\s/.,:+年月日년월일-]|(mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    rf"|{FOREIGN})[a-zç]*"
    r"|\d(st|nd|rd|th)|\b(of|de|gmt|utc|uhr)\b|^(mo|di|mi|do|fr|sa|so)[.,]|[ap]\.?m\b|(?<![a-z])[tqmwz](?![a-z])|[A-Z]{3,4}$|\s[A-Za-z]+/[A-Za-z_]+$)+",
    re.IGNORECASE,
)
"""The parts of dates and times of day; whether a cell is one is decided by its format."""
LOCAL = r"\d{4,6}[-/ \\]\d{1,2}[-/ \\]\d{1,2}"
TIME = r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
ZONE = r"\s*((GMT|UTC)[+-]\d\d?(:[0-5]\d)?|[+-](0\d|1[0-4])(:?[0-5]\d(:[0-5]\d)?)?|[A-Za-z]+(/[A-Za-z_]+)*)"
HALF_DAY = r"[/\d-]+ [\d:]+ ?[AaPp][Mm]"
ZONED = (
    f"((regexp_full_match(cell, '{LOCAL}{TIME}{ZONE}') AND NOT regexp_full_match(cell, '{HALF_DAY}'))"
    f" OR regexp_full_match(cell, '{HALF_DAY}{ZONE}'))"
)
MOMENT = (  # on a clock of 24 hours
    f"coalesce(strftime(TRY_STRPTIME(replace(regexp_extract(cell, '^{HALF_DAY}'), '/', '-'), "
    f"['%Y-%m-%d %I:%M:%S %p', '%Y-%m-%d %I:%M %p']), '%Y-%m-%d %H:%M:%S') || regexp_replace(cell, '^{HALF_DAY}', ''), cell)"
)
# a plain cast drops everything after a time: offsets, zones, even PM
STANDARD = (
    f"CASE WHEN regexp_full_match(cell, '{LOCAL}({TIME})?') THEN TRY_CAST(cell AS TIMESTAMP) "
    f"WHEN {ZONED} THEN make_timestamp(epoch_us(TRY_CAST(regexp_replace("
    # before DuckDB 2, a moment with a zone needs seconds
    rf"regexp_replace(replace({MOMENT}, 'UTC', 'GMT'), '([T ]\d{{1,2}}:\d{{2}})(\s*[A-Za-z+-])', '\1:00\2'), '\s+([+-])', '\1') "
    "AS TIMESTAMPTZ))) END"
)
MARKS = (
    (r"[-/., 年月日년월일]+", " "),
    (r" $", ""),
    (r"^(\d+:[\d:]+) (\d+ \w+ \d+)$", r"\2 \1"),
    (r"^(\d{4})(\d\d)(\d\d) (\d+:)", r"\1 \2 \3 \4"),
)
"""Rules that put a blank for every mark except the colons of a time, a time after its date, and blanks into a date of digits."""
ENDINGS = (  # of months in all these languages; an exact list, since "Junior 2010" is not a date
    "uary|uari?|vier|v|eiro|ruary|ruari?|rero|braio|ch|s|zo|ço|ile?|o|e|io?|ho|y|ust(us)?|t|t?i?embre|tember|ober|obre|ubre|ember|embro"
)
REWRITTEN = (
    (r"^((mon|tue|wed|thu|fri|sat|sun)(day|sday|nesday|rsday|urday)?[.,]?\s+|(mo|di|mi|do|fr|sa|so)[.,]+ *)", ""),
    (r"\b(\d{1,2})(st|nd|rd|th)\b( of\b)?", r"\1"),
    (rf"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)({ENDINGS})\b", r"\1"),
    (r"^(\d\d?)([a-z]{3})(\d\d|\d{4})\b:?", r"\1 \2 \3 "),
    (r"(\d)t(\d)", r"\1 \2"),
    (r"^(\d{8}) (\d\d)(\d\d)(\d\d)z?$", r"\1 \2:\3:\4"),
    (r"(\d)\s*(utc|gmt|uhr|[+-]00:?00)$", r"\1"),
    (r"(\d)\s*([ap])\.?m\.?$", r"\1 \2M"),
    *MARKS,
    (r"^(\d{4}) ?q ?([1-4])$", r"q\2 \1"),
    (r"^([1-4]) ?q ?(\d{4})$", r"q\1 \2"),
    *((rf"^q{quarter} ?(\d{{4}})$", rf"{month} \1") for quarter, month in enumerate(("jan", "apr", "jul", "oct"), 1)),
    (r"^(\d{4}) ?m ?(\d{1,2})$", r"\1 \2"),
    (r"^(\d{4}) ?w ?(\d{1,2})$", r"\1 W\2 1"),
)
"""Rules that simplify a date before its format is tried: no weekday, short months, quarters as their first month, and a blank for every
mark except the colons of a time."""
LONE = r"(^|[ \d.,/-])(?:%s)([ \d.,/-]|$)"
"""A word that letters of no script adjoin; written so, since RE2 takes long to compile a class of all letters."""
TRANSLATED = ((LONE % words.replace("(", "(?:"), rf"\1{month}\2") for month, words in ELSEWHERE.items())


def _rewritten(cell: str, rules: Iterable[tuple[str, str]]) -> str:
    return reduce(lambda cell, rule: f"regexp_replace({cell}, '{rule[0]}', '{rule[1]}', 'g')", rules, cell)


ENGLISH = (
    rf"CASE WHEN regexp_matches(lower(cell), '{LONE % (FOREIGN + '|de')}') AND regexp_matches(cell, '\b[12]\d{{3}}\b') "  # not "set 12"
    f"THEN {_rewritten('lower(cell)', [(r' de ', ' '), *TRANSLATED])} ELSE lower(cell) END"
)
WORDED = _rewritten(ENGLISH, REWRITTEN)
SIMPLE = rf"CASE WHEN regexp_matches(cell, '[^ -*,-@]') THEN {WORDED} ELSE {_rewritten('cell', MARKS)} END"
PARTS = (SIMPLE, STANDARD)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S %f", "%I:%M %p", "%I:%M:%S %p")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[ap]\.?m\.?)?", re.IGNORECASE)
TIME_OF_DAY = f"coalesce(CAST(TRY_STRPTIME({SIMPLE}, {list(CLOCKS)}) AS TIME), CAST({STANDARD} AS TIME))"
SWAPPED = {"%d %m %Y": "%m %d %Y", "%d %m %y": "%m %d %y", "%d%m%Y": "%m%d%Y"}
"""Formats with the day first, and their counterparts with the month first."""
YEAR_FIRST = "%y %m %d"
ORDERS: dict[DateOrder, tuple[str, ...]] = {True: (*SWAPPED,), False: (*SWAPPED.values(),), "year": (YEAR_FIRST,)}
ORDER_WORDS: dict[DateOrder, tuple[str, str]] = {
    True: ("true", "day first"),
    False: ("false", "month first"),
    "year": ("year", "year first"),
}
"""The answer to a question, and its words."""
PLACES: dict[DateOrder, tuple[int, int, int]] = {True: (2, 1, 0), False: (2, 0, 1), "year": (0, 1, 2)}
"""Where year, month and day stand."""
MONTH, NO_MONTH = "(0?[1-9]|1[0-2])", r"(1[3-9]|2\d|3[01])"
ONLY_OTHER: dict[DateOrder, str] = {
    order: rf"^({first} {second} \d\d(\d\d)?|{first}{second}(19|20)\d\d)\b"
    for order, first, second in ((True, MONTH, NO_MONTH), (False, NO_MONTH, MONTH))
}
"""Patterns of simplified dates that are none in an order, but one if day and month are swapped."""
YEARS = (r"\b[12]\d{3}\b", r"(^|\D)\d\d( \d+:|$)", r"^\d\d \d\d? \d\d( |$)")
"""Patterns of years, which keep two digits from being read as four, and one-digit days as years: four digits, two at the end or first."""
SURE = 5
"""By how many nats the cells of a column must be likelier in one order than in another."""
STYLES = (
    *("%d %b %Y", "%b %d %Y", "%Y %b %d", "%b %Y", "%Y %b", "%d %b %y", "%b %y", "%Y %m %d", "%Y %m", "%m %Y", "%G W%V %u"),
    *(style for pair in SWAPPED.items() for style in pair if " " in style),
    YEAR_FIRST,
)
YEAR_LEADS, YEAR_ENDS = r"(1[89]|20)\d{%d}", r"\d{3,4}(19|20)\d\d"
DIGITS = {style: YEAR_LEADS % rest for style, rest in (("%Y%m", 4), ("%Y%m%d", 6), ("%Y%m%d%H%M", 10), ("%Y%m%d%H%M%S", 12))}
DIGITS |= dict.fromkeys(("%d%m%Y", "%m%d%Y"), YEAR_ENDS)
"""Date formats that are whole numbers, with their pattern."""
IN_DIGITS = re.compile(rf"({'|'.join(DIGITS.values())})(\.0+)?")
OTHER_YEAR = re.compile(r"(?<!\d)(1[34]\d\d|2[456]\d\d)(?!\d)")
"""Years of now in the Iranian and Islamic, and in the Thai calendar."""
FAR_YEARS = 10
"""Years from today: a year of two digits that is read as a later one may belong to the previous century."""
FEWEST_IN_DIGITS = 8
"""Fewest different numbers that must all be dates: fewer may be so by chance."""
MEANS: dict[Kind, str] = {
    "date": "dates{}. A model gets the day's number, the month and the day of the week of each",
    "datetime": "dates with a time{}. A model gets the day's number, the month, the day of the week and the time of day of each",
    "time": "times of day{}. A model gets the hour of each, and its position on the circle of a day",
}
"""Description of each kind in this file, for findings."""


def may_be_dates(sample: Sequence[str]) -> bool:
    """Whether nearly all cells look like dates or times of day, so that trying their formats is worthwhile."""
    likely = sum(LIKELY.fullmatch(cell) is not None and not (is_number(cell) and not IN_DIGITS.fullmatch(cell)) for cell in sample)
    return bool(sample) and likely >= len(sample) * (1 - STRAY_SHARE)


def as_date(name: str, sample: list[str], day_first: DateOrder | None, *, asked: Kind | None) -> Asking[Typed | None]:
    """Types a column as date or time of day if nearly every cell is one; returns None otherwise.

    If day and month can be swapped in all cells, asks which comes first. ``asked`` is the kind of ``MEANS`` that the person chose, if any.
    """
    forced = asked is not None
    if not forced and not may_be_dates(sample):
        return (yield from _with_serials(name, sample))
    likely = [value for value in sample if CLOCK.fullmatch(value)]
    if asked == "time" or (not forced and len(likely) >= len(sample) * (1 - STRAY_SHARE)):
        fitting, read, filled = yield from _fitting({"": TIME_OF_DAY}, forced)
        return (yield from _typed(name, likely, "time", fitting.get("", TIME_OF_DAY), read, filled, forced=forced))
    likely = [value for value in sample if LIKELY.fullmatch(value)]
    in_digits = len(sample) >= FEWEST_IN_DIGITS and all(map(IN_DIGITS.fullmatch, sample))
    fitting, read, filled = yield from _fitting({"": STANDARD}, forced)
    zones = (yield from zone_findings(name)) if fitting else ()
    if read < filled and (forced or in_digits or not (likely and is_number(likely[0]))):  # trying all formats is slow
        ways = {style: _written(style) for style in STYLES} if forced or not in_digits else {}
        ways |= {style: _in_digits(style) for style in DIGITS} if forced or in_digits else {}
        other, more, _ = yield from _fitting(ways, forced)
        fitting, read, zones = (other, more, ()) if more > read else (fitting, read, zones)
    if not forced and (not fitting or (in_digits and read < filled)):
        return None
    by_order = {order: style for order, styles in ORDERS.items() if (style := next(filter(fitting.__contains__, styles), None))}
    orders = _likely_orders(sample, [*by_order])
    order = day_first if day_first in orders else next(iter(orders), None)
    style = next(iter(fitting), "") if order is None else by_order[order]
    value = fitting.get(style, STANDARD)
    if style == "%Y %m" and not forced:
        (seasons,) = yield Ask((f"count(*) FILTER (month({value}) = (year({value}) + 1) % 100)",))
        if seasons == filled:  # such as 2005-06, 2006-07
            return None
    typed = yield from _typed(name, likely, asked or "date", value, read, filled, forced=forced)
    if typed is None or typed.kind not in MEANS:
        return typed
    zones += (*(yield from _far_years(name, style, value)), *_calendar(name, likely))
    typed = replace(typed, findings=(*typed.findings, *zones), day_first=order)
    if order == "year" and day_first is None and len(orders) == 1:
        told = f"The dates in {name!r}, such as {likely[0]!r}, are read year first. If that is wrong, choose day first or month first"
        said = Finding("info", "year-first", f"{told} (Reading choices on the page, a flag on the command line).", name)
        return replace(typed, findings=(*typed.findings, said))
    if order is None or len(orders) < 2 or day_first is not None:
        return typed
    *most, least = (ORDER_WORDS[one][1] for one in orders)
    either = f"{', '.join(most)} or {least}"
    message = f"{name!r} holds dates such as {likely[0]!r} that can be read {either}; read {ORDER_WORDS[order][1]}."
    choose = f"{message} Choose {' or '.join(ORDER_WORDS[one][1] for one in orders if one != order)} if that is meant."
    question = Question("day-first", choose, "day_first", tuple(ORDER_WORDS[one][0] for one in orders))
    bad = tuple(finding for finding in typed.findings if finding.code != "date")
    return replace(typed, findings=(*bad, Finding("warning", "ambiguous-date", message, name)), questions=(question,))


def _likely_orders(sample: Sequence[str], orders: Sequence[DateOrder]) -> Sequence[DateOrder]:
    """Returns the likely ones of several orders in which the cells can be read: those with two digits of the year first, or last, or both.

    The steps between neighbours take fewest nats to write in the right order, and few dates lie after next year. A part that
    never varies may be the year, or the day of each month.
    """
    if "year" not in orders or len(orders) < 2:
        return orders
    cells = dict.fromkeys(tuple(map(int, parts)) for cell in sample if len(parts := re.findall(r"\d+", cell)[:3]) == 3)
    read = [[day for parts in cells if (day := _day(parts, order))] for order in orders]
    cost = [sum(map(log1p, np.abs(np.diff(days)))) + _turns(np.diff(days)) for days in read]
    last = min(range(len(orders) - 1), key=cost.__getitem__)
    gain, others = cost[last] - cost[-1], orders[:-1]
    late_last, late_year = (max(read[place], default=0) > date.today().toordinal() + 366 for place in (last, -1))
    if late_year and not late_last:
        return others if gain < 0 else orders
    if late_last and not late_year:
        return orders[-1:] if gain > SURE else orders
    varied = [len(set(values)) > 1 for values in zip(*cells, strict=True)]
    if gain > 2 * SURE and varied[0] and varied[1]:
        return orders[-1:]
    return others if gain < -SURE and varied[2] else orders


def _day(parts: Sequence[int], order: DateOrder) -> int:
    """Returns the number of a day whose year has two digits, 0 if there is no such day."""
    try:
        year, month, day = (parts[place] for place in PLACES[order])
        return date(year + (2000 if year < 69 else 1900), month, day).toordinal()
    except ValueError:
        return 0


def _turns(steps: NDArray[np.int_]) -> float:
    """Returns how many nats it takes to write which steps go up."""
    ups = float(np.mean(steps > 0)) if len(steps) else 0.0
    return sum(-len(steps) * share * log(share) for share in (ups, 1 - ups) if share > 0)


def _calendar(name: str, cells: Sequence[str]) -> tuple[Finding, ...]:
    """Warns if nearly all years are those of another calendar."""
    years = [cell for cell in cells if OTHER_YEAR.search(cell)]
    if len(years) < len(cells) * (1 - STRAY_SHARE) or not years:
        return ()
    message = (
        f"{name!r} holds dates such as {shorten(years[0])!r}, which seem to be of the Iranian, Islamic or Thai calendar, but are read as "
    )
    what = "Gregorian: their days of the week and months are wrong, and the distances between them nearly right."
    return (Finding("warning", "calendar", message + what, name),)


SERIALS = (10_000, 100_000)
"""Numbers that Excel stores for dates from 1927 to 2173; a year is none of them."""


def _with_serials(name: str, sample: list[str]) -> Asking[Typed | None]:
    """Types a column as words, with a finding, if most cells are dates and the others are numbers, as Excel stores dates; else None."""
    written = [cell for cell in sample if not is_number(cell)]
    if not len(sample) / 2 <= len(written) < len(sample) or not may_be_dates(written):
        return None
    serial = f"{FINITE} BETWEEN {SERIALS[0]} AND {SERIALS[1]}"
    counts = f"count(*) FILTER ({serial})", f"count({_each(True)}) FILTER {UNREAD}"
    filled, numbers, dates, shown = yield Ask(("count(cell)", *counts, f"min(cell) FILTER ({serial})"), parts=PARTS)
    if dates * 2 < filled or not numbers or dates + numbers < filled * (1 - STRAY_SHARE):
        return None
    words = yield from as_words()
    message = f"{name!r} holds dates in {dates:,} cells and numbers, such as {shown!r}, in {numbers:,}; it is read as {words.kind}. "
    way_out = "Excel stores dates as such numbers: correct the file, or choose date under Columns if they may become missing."
    return replace(words, findings=(Finding("warning", "mixed-dates", message + way_out, name),))


def each_date(name: str, kind: Kind, day_first: DateOrder | None) -> Asking[Typed]:
    """Types a date column of rows to predict: each cell is read by itself, so that it means the same whatever rows are beside it."""
    order = True if day_first is None else day_first
    value = _each(order)
    other = f"{value} IS NOT NULL AND regexp_matches({SIMPLE}, {quoted(ONLY_OTHER.get(order, '^$'))})"
    filled, read, swapped, shown = yield Ask(
        ("count(cell)", f"count({value})", f"count(*) FILTER ({other})", f"min(cell) FILTER ({other})"), parts=PARTS
    )
    typed = (yield from _typed(name, [], kind, value, read, filled, forced=True)) or Typed(kind, value)
    if not swapped:
        return typed
    told = (
        f"{name!r} is read {ORDER_WORDS[order][1]}, but {counted(swapped, 'cell')} of {filled:,}, such as {shorten(shown)!r}, can only be"
    )
    message = f"{told} {ORDER_WORDS[not order][1]}: read so. Write all dates in one order, or as 2024-12-31."
    return replace(typed, findings=(Finding("warning", "other-order", message, name), *typed.findings))


def _each(day_first: DateOrder) -> str:
    """Returns SQL for a date in any format; where it has several meanings, ``day_first`` says which is meant."""
    swapped = [*SWAPPED.values(), *SWAPPED] if day_first is False else [*SWAPPED, *SWAPPED.values()]
    never = [style for style in swapped if "%y" in style] if day_first == "year" else [YEAR_FIRST]
    styles = sorted(
        (style for style in STYLES if style not in never), key=lambda style: swapped.index(style) if style in swapped else len(swapped)
    )
    written = [_written(*alike) for alike in ([style for style in styles if _year(style) == year] for year in YEARS) if alike]
    digits = [_in_digits(style) for style in sorted(DIGITS, key=lambda style: style in swapped and swapped.index(style))]
    return f"coalesce({', '.join([STANDARD, *written, *digits])})"


def _typed(name: str, likely: list[str], kind: Kind, value: str, read: int, filled: int, *, forced: bool) -> Asking[Typed | None]:
    """Returns the type of a column in which ``read`` of ``filled`` cells are dates or times; words, or None, if these are too few."""
    unread = filled - read
    if not forced and unread > filled * STRAY_SHARE:
        return None
    bad: tuple[Finding, ...] = ()
    if unread:
        wrong, what = f"(cell IS NOT NULL AND ({value}) IS NULL)", "time" if kind == "time" else "date"
        if not forced and unread > filled * BAD_SHARE:
            words = yield from stray_words(name, unread, filled, wrong, what=what)
            return words if words.questions else None
        bad = (bad_cells_finding(name, (yield from unread_words(wrong)), unread, filled, what=f"{what}s"),)
    if not forced and kind == "date":
        (timed,) = yield Ask((f"count(*) FILTER (({value}) <> date_trunc('day', {value}))",), parts=PARTS)
        kind = "datetime" if timed else "date"
    shown = f" such as {shorten(likely[0])!r}" if likely else ""
    wrong_kind = " Choose number, under Columns, if they are plain numbers." if likely and is_number(likely[0]) else " Nothing to do."
    told = (Finding("info", "date", f"{name!r} holds {MEANS[kind].format(shown)}.{wrong_kind}", name),) if read else ()
    return Typed(kind, value, (*bad, *told))


def _far_years(name: str, style: str, value: str) -> Asking[tuple[Finding, ...]]:
    """Warns about years of two digits that are read as years far ahead, such as births before 1969."""
    if "%y" not in style:
        return ()
    last = date.today().year + FAR_YEARS
    far, shown, year = yield Ask(
        (f"count(*) FILTER (year({value}) > {last})", f"min(cell) FILTER (year({value}) > {last})", f"max(year({value}))"), parts=PARTS
    )
    if not far:
        return ()
    message = f"{name!r} has years of two digits, and 00 to 68 are read as 2000 to 2068: {far:,} dates such as {shorten(shown)!r} lie after"
    way_out = "Write years of four digits in the file if these belong to the previous century."
    return (Finding("warning", "far-years", f"{message} {last}, up to {year}. {way_out}", name),)


def zone_findings(name: str) -> Asking[tuple[Finding, ...]]:
    """Reports that times became moments in UTC, if any has an offset or a zone."""
    filled, zoned, shown = yield Ask((f"count({STANDARD})", f"count(*) FILTER ({ZONED})", f"min(cell) FILTER ({ZONED})"))
    if not zoned:
        return ()
    message = f"{name!r} holds times with an offset from UTC or a zone, such as {shorten(shown)!r}: each is read as its moment in UTC."
    if zoned == filled:
        return (Finding("info", "utc", message, name),)
    bare = f"{filled - zoned:,} of {filled:,} cells have no offset: they are taken for UTC. Correct the file if they are not."
    return (Finding("warning", "utc", f"{message} {bare}", name),)


def _fitting(ways: Mapping[str, str], forced: bool) -> Asking[tuple[dict[str, str], int, int]]:
    """Returns the formats that fit most cells, the number of these cells, and of all filled cells; the sample is tried first."""
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


def _written(*styles: str) -> str:
    """Returns SQL for a date in the first fitting format, with or without a time; all formats have the same kind of year."""
    timed = [
        form
        for style in styles
        for form in (style, *(f"{style} {clock}" for clock in CLOCKS), *(style.replace(" %Y", f" {clock} %Y") for clock in CLOCKS[:2]))
    ]
    return f"coalesce({STANDARD}, CASE WHEN regexp_matches({SIMPLE}, '{_year(styles[0])}') THEN TRY_STRPTIME({SIMPLE}, {timed}) END)"


def _year(style: str) -> str:
    """Returns the pattern of ``YEARS`` for a format."""
    return YEARS[("%y" in style) + style.startswith("%y")]


def _in_digits(style: str) -> str:
    """Returns SQL for a date in a format of ``DIGITS``, whose leading zero may be absent."""
    digits = r"regexp_replace(cell, '\.0+$', '')"
    padded = f"CASE WHEN length({digits}) = 7 THEN '0' || {digits} ELSE {digits} END"
    return f"CASE WHEN regexp_full_match({digits}, '{DIGITS[style]}') THEN TRY_STRPTIME({padded}, '{style}') END"


def kind_of_texts(texts: Sequence[str]) -> Typed | None:
    """Returns the date or time type of different texts, by the same rules as for a file; None if they are neither."""
    return read_texts(texts, None)[0] if may_be_dates(texts) else None


def read_texts(texts: Sequence[str], asked: Kind | None, *, day_first: DateOrder | None = None) -> tuple[Typed | None, list[Any]]:
    """Returns the date or time type of texts, and of each text the time of day or the microseconds since 1970, None where it has none.

    ``asked`` is the kind of ``MEANS`` to read them as, if known. If ``day_first`` is known, each date is read by itself.
    """
    texts = list(map(ascii_digits, texts))
    different = list(dict.fromkeys(texts))
    if not different:
        return None, []
    with _database(os.getpid()).cursor() as connection:
        cells = pa.table({"place": [0] * len(different), "number": range(len(different)), "cell": pa.array(different, pa.string())})
        connection.register("batch", cells)
        work = as_date("", different, None, asked=asked) if day_first is None else each_date("", "datetime", day_first)
        (typed,) = answered(connection, [work], [different])
        if typed is None or typed.kind not in MEANS:
            return None, []
        value = typed.value if typed.kind == "time" else f"epoch_us({typed.value})"  # Python has no moments before the year 1
        values = connection.sql(f"SELECT {value} FROM batch ORDER BY number").fetchall()
    read = {text: value for text, (value,) in zip(different, values, strict=True)}
    return typed, [read[text] for text in texts]


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """Opens one database per process, since opening takes longer than reading a column. A forked process opens its own."""
    return connect()
