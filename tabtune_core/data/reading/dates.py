"""Types columns of dates and times of day.

Part of the fourth step of reading. If day and month could be swapped in every cell, the person is asked. A time with an
offset becomes its moment in UTC; a month, quarter or week becomes its first day.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache, reduce
from typing import Any

import duckdb
import pyarrow as pa

from tabtune_core.data.findings import Finding, Kind, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, answered
from tabtune_core.data.reading.digits import ascii_digits
from tabtune_core.data.reading.numbers import BAD_SHARE, FINITE, STRAY_SHARE, UNREAD, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.reading.words import Typed, as_words

ELSEWHERE = {
    "jan": "ene(ro)?|gen(naio)?|jän(ner)?",
    "feb": "feber|fev(ereiro)?|fév(r(ier)?)?",
    "mar": "märz?|mrz|mrt|maart",
    "apr": "avr(il)?|abr(il)?",
    "may": "maio?|mag(gio)?|mei",
    "jun": "juin|giu(gno)?",
    "jul": "juil(let)?|lug(lio)?",
    "aug": "ago(sto)?|août",
    "sep": "set(t(embre)?|embro)?",
    "oct": "okt(ober)?|ott(obre)?|out(ubro)?",
    "dec": "dez(ember|embro)?|dic(iembre|embre)?|déc(embre)?",
}
"""Months in German, French, Spanish, Italian, Portuguese and Dutch that are not written as in English."""
FOREIGN = "|".join(ELSEWHERE.values())
LIKELY = re.compile(
    r"(?=.{4,40}$)(?=.*\d)([\d\s/.,:+-]|(mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
    rf"|{FOREIGN})[a-zç]*"
    r"|\d(st|nd|rd|th)|\b(of|de)\b|[ap]\.?m\b|(?<![a-z])[tqmwz](?![a-z])|[A-Z]{3,4}$|\s[A-Za-z]+/[A-Za-z_]+$)+",
    re.IGNORECASE,
)
"""The parts of dates and times of day; whether a cell is one is decided by its format."""
LOCAL = r"\d{4,6}[-/ \\]\d{1,2}[-/ \\]\d{1,2}"
TIME = r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
ZONE = r"\s*([+-](0\d|1[0-4])(:?[0-5]\d(:[0-5]\d)?)?|[A-Za-z]+(/[A-Za-z_]+)*)"
ZONED = f"regexp_full_match(cell, '{LOCAL}{TIME}{ZONE}')"
# a plain cast drops everything after a time: offsets, zones, even PM
STANDARD = (
    f"CASE WHEN regexp_full_match(cell, '{LOCAL}({TIME})?') THEN TRY_CAST(cell AS TIMESTAMP) "
    f"WHEN {ZONED} THEN make_timestamp(epoch_us(TRY_CAST(regexp_replace("
    # before DuckDB 2, a moment with a zone needs seconds
    r"regexp_replace(cell, '([T ]\d{1,2}:\d{2})(\s*[A-Za-z+-])', '\1:00\2'), '\s+([+-])', '\1') AS TIMESTAMPTZ))) END"
)
ENDINGS = (  # of months in all these languages; an exact list, since "Junior 2010" is not a date
    "uary|uari?|vier|v|eiro|ruary|ruari?|rero|braio|ch|s|zo|ço|ile?|o|e|io?|ho|y|ust(us)?|t|t?i?embre|tember|ober|obre|ubre|ember|embro"
)
REWRITTEN = (
    (r"^(mon|tue|wed|thu|fri|sat|sun)(day|sday|nesday|rsday|urday)?[.,]?\s+", ""),
    (r"\b(\d{1,2})(st|nd|rd|th)\b( of\b)?", r"\1"),
    (rf"\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)({ENDINGS})\b", r"\1"),
    (r"(\d)T(\d)", r"\1 \2"),
    (r"(\d)\s*(UTC|GMT|[+-]00:?00)$", r"\1"),
    (r"(\d)\s*([ap])\.?m\.?$", r"\1 \2M"),
    (r"[-/., ]+", " "),
    (r"^(\d{4}) ?q ?([1-4])$", r"q\2 \1"),
    (r"^([1-4]) ?q ?(\d{4})$", r"q\1 \2"),
    *((rf"^q{quarter} ?(\d{{4}})$", rf"{month} \1") for quarter, month in enumerate(("jan", "apr", "jul", "oct"), 1)),
    (r"^(\d{4}) ?m ?(\d{1,2})$", r"\1 \2"),
    (r"^(\d{4}) ?w ?(\d{1,2})$", r"\1 W\2 1"),
)
"""Rules that simplify a date before its format is tried: no weekday, short months, quarters as their first month, and a blank for every
mark except the colons of a time."""
MARKS = "regexp_replace(cell, '[-/., ]+', ' ', 'g')"
TRANSLATED = ((rf"\b({words})\b\.?", month) for month, words in ELSEWHERE.items())


def _rewritten(cell: str, rules: Iterable[tuple[str, str]]) -> str:
    return reduce(lambda cell, rule: f"regexp_replace({cell}, '(?i){rule[0]}', '{rule[1]}', 'g')", rules, cell)


ENGLISH = (
    rf"CASE WHEN regexp_matches(cell, '(?i)\b({FOREIGN}|de)\b.*\b[12]\d{{3}}\b') "  # "set 12" is not a date
    f"THEN {_rewritten('cell', [(r' de ', ' '), *TRANSLATED])} ELSE cell END"
)
WORDED = _rewritten(ENGLISH, REWRITTEN)
SIMPLE = f"CASE WHEN regexp_matches(cell, '[A-Za-z+]') THEN {WORDED} ELSE {MARKS} END"
PARTS = (SIMPLE, STANDARD)
CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S %f", "%I:%M %p", "%I:%M:%S %p")
CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[ap]\.?m\.?)?", re.IGNORECASE)
TIME_OF_DAY = f"coalesce(CAST(TRY_STRPTIME({SIMPLE}, {list(CLOCKS)}) AS TIME), CAST({STANDARD} AS TIME))"
SWAPPED = {"%d %m %Y": "%m %d %Y", "%d %m %y": "%m %d %y", "%d%m%Y": "%m%d%Y"}
"""Formats with the day first, and their counterparts with the month first."""
STYLES = (
    *("%d %b %Y", "%b %d %Y", "%Y %b %d", "%b %Y", "%Y %b", "%d %b %y", "%b %y", "%Y %m %d", "%Y %m", "%m %Y", "%G W%V %u"),
    *(style for pair in SWAPPED.items() for style in pair if " " in style),
)
YEAR_LEADS, YEAR_ENDS = r"(1[89]|20)\d{%d}", r"\d{3,4}(19|20)\d\d"
DIGITS = {style: YEAR_LEADS % rest for style, rest in (("%Y%m", 4), ("%Y%m%d", 6), ("%Y%m%d%H%M", 10), ("%Y%m%d%H%M%S", 12))}
DIGITS |= dict.fromkeys(("%d%m%Y", "%m%d%Y"), YEAR_ENDS)
"""Date formats that are whole numbers, with their pattern."""
IN_DIGITS = re.compile(rf"({'|'.join(DIGITS.values())})(\.0+)?")
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


def as_date(name: str, sample: list[str], day_first: bool | None, *, asked: Kind | None) -> Asking[Typed | None]:
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
    by_day, by_month = (next((style for style in fitting if style in styles), None) for styles in (SWAPPED, SWAPPED.values()))
    style = by_month if day_first is False and by_month else by_day or next(iter(fitting), "")
    value = fitting.get(style, STANDARD)
    if style == "%Y %m" and not forced:
        (seasons,) = yield Ask((f"count(*) FILTER (month({value}) = (year({value}) + 1) % 100)",))
        if seasons == filled:  # such as 2005-06, 2006-07
            return None
    typed = yield from _typed(name, likely, asked or "date", value, read, filled, forced=forced)
    if typed is None or typed.kind not in MEANS:
        return typed
    zones += yield from _far_years(name, style, value)
    if by_day is None or by_month is None:
        first = by_day is not None if by_day or by_month else None
        return replace(typed, findings=(*typed.findings, *zones), day_first=first)
    typed = replace(typed, day_first=style == by_day)
    if day_first is not None:
        return typed
    message = f"{name!r} holds dates such as {likely[0]!r} that can be read day first or month first; read day first."
    question = Question("day-first", f"{message} Choose month first if that is meant.", "day_first", ("true", "false"))
    bad = tuple(finding for finding in typed.findings if finding.code != "date")
    return replace(typed, findings=(*bad, Finding("warning", "ambiguous-date", message, name)), questions=(question,))


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


def each_date(name: str, kind: Kind, day_first: bool | None) -> Asking[Typed]:
    """Types a date column of rows to predict: each cell is read by itself, so that it means the same whatever rows are beside it."""
    value = _each(day_first is not False)
    filled, read = yield Ask(("count(cell)", f"count({value})"), parts=PARTS)
    return (yield from _typed(name, [], kind, value, read, filled, forced=True)) or Typed(kind, value)


def _each(day_first: bool) -> str:
    """Returns SQL for a date in any format; where day and month can be swapped, ``day_first`` says which is which."""
    swapped = [*SWAPPED, *SWAPPED.values()] if day_first else [*SWAPPED.values(), *SWAPPED]
    styles = sorted(STYLES, key=lambda style: swapped.index(style) if style in swapped else len(swapped))
    written = [_written(*(style for style in styles if ("%y" in style) == short)) for short in (False, True)]
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
    """Returns SQL for a date in the first fitting format, with or without a time; either all formats have a two-digit year or none.

    The pattern keeps two-digit years from being read as four-digit ones, and one-digit days as years.
    """
    year = r"(^|\D)\d\d( \d+:|$)" if "%y" in styles[0] else r"\b[12]\d{3}\b"
    timed = [
        form
        for style in styles
        for form in (style, *(f"{style} {clock}" for clock in CLOCKS), *(style.replace(" %Y", f" {clock} %Y") for clock in CLOCKS[:2]))
    ]
    return f"coalesce(CASE WHEN regexp_matches({SIMPLE}, '{year}') THEN TRY_STRPTIME({SIMPLE}, {timed}) END, {STANDARD})"


def _in_digits(style: str) -> str:
    """Returns SQL for a date in a format of ``DIGITS``, whose leading zero may be absent."""
    digits = r"regexp_replace(cell, '\.0+$', '')"
    padded = f"CASE WHEN length({digits}) = 7 THEN '0' || {digits} ELSE {digits} END"
    return f"CASE WHEN regexp_full_match({digits}, '{DIGITS[style]}') THEN TRY_STRPTIME({padded}, '{style}') END"


def kind_of_texts(texts: Sequence[str]) -> Typed | None:
    """Returns the date or time type of different texts, by the same rules as for a file; None if they are neither."""
    return read_texts(texts, None)[0] if may_be_dates(texts) else None


def read_texts(texts: Sequence[str], asked: Kind | None, *, day_first: bool | None = None) -> tuple[Typed | None, list[Any]]:
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
