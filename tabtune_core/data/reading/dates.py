"""Columns of dates.

Part of the fourth step of reading. Where day and month could be swapped in every cell, the person is asked. A time with
an offset from UTC is the moment it stands for, in UTC. Every format is a constant of this file.
"""

import re

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking
from tabtune_core.data.reading.numbers import BAD_SHARE, STRAY_SHARE, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.words import Typed

DIGIT = re.compile(r"\d")
LOCAL = r"\d{4,6}[-/ \\]\d{1,2}[-/ \\]\d{1,2}"
TIME = r"[T ]\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
ZONE = r"\s*([+-](0\d|1[0-4])(:?[0-5]\d(:[0-5]\d)?)?|[A-Za-z]+(/[A-Za-z_]+)*)"
ZONED = f"regexp_full_match(cell, '{LOCAL}{TIME}{ZONE}')"
# a plain cast drops all that stands after a time: offsets, zones, even PM
STANDARD = (
    f"CASE WHEN regexp_full_match(cell, '{LOCAL}({TIME})?') THEN TRY_CAST(cell AS TIMESTAMP) "
    f"WHEN {ZONED} THEN make_timestamp(epoch_us(TRY_CAST(regexp_replace(cell, '\\s+([+-])', '\\1') AS TIMESTAMPTZ))) END"
)
CERTAIN_DATES = (
    *("%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p"),
    *("%Y%m%dT%H%M%S", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%Y.%m.%d"),
)
DAY_DATES = tuple(f"%d{mark}%m{mark}{year}{time}" for time in ("", " %H:%M", " %H:%M:%S") for mark in "/.-" for year in ("%Y", "%y"))


def as_date(name: str, sample: list[str], day_first: bool | None, *, forced: bool) -> Asking[Typed | None]:
    """A date where nearly every cell is one; None for anything else. Where day and month can be swapped in all cells, asks."""
    likely = [6 <= len(value) <= 40 and DIGIT.search(value) is not None for value in sample]
    if not forced and sum(likely) < len(sample) * (1 - STRAY_SHARE):
        return None
    fitting, read, filled = yield from _fitting([STANDARD], forced)
    zones = (yield from zone_findings(name)) if fitting else ()
    shown = next((value for value, is_likely in zip(sample, likely, strict=True) if is_likely), "")
    if read < filled and (forced or not is_number(shown)):  # plain numbers fit no format, and trying all formats is slow
        formats = list(map(strptime, (*CERTAIN_DATES, *DAY_DATES, *map(month_first, DAY_DATES))))
        other, more, _ = yield from _fitting(formats, forced)
        fitting, read, zones = (other, more, ()) if more > read else (fitting, read, zones)
    unread = filled - read
    if not forced and (not fitting or unread > filled * STRAY_SHARE):
        return None
    bad: tuple[Finding, ...] = ()
    if unread:
        wrong = f"(cell IS NOT NULL AND ({fitting[0] if fitting else STANDARD}) IS NULL)"
        if not forced and unread > filled * BAD_SHARE:
            typed = yield from stray_words(name, unread, filled, wrong, what="date")
            return typed if typed.questions else None
        bad = (bad_cells_finding(name, (yield from unread_words(wrong)), unread, filled, what="dates"),)
    if not fitting:
        return Typed("date", STANDARD, bad)
    finding = Finding(
        "info",
        "date",
        f"{name!r} holds dates. A model gets the day's number, the month and the day of the week of each. Nothing to do.",
        name,
    )
    by_day, by_month = (next((value for value in fitting if start in value), None) for start in ("'%d", "'%m"))
    if by_day is None or by_month is None:
        return Typed("date", fitting[0], (*bad, finding, *zones))
    used = by_month if day_first is False else by_day
    if day_first is not None:
        return Typed("date", used, (*bad, finding), ambiguous_date=True)
    message = f"{name!r} holds dates such as {shown!r} that can be read day first or month first; read day first."
    question = Question("day-first", f"{message} Choose month first if that is meant.", "day_first", ("true", "false"))
    return Typed("date", used, (*bad, Finding("warning", "ambiguous-date", message, name)), (question,), ambiguous_date=True)


def zone_findings(name: str) -> Asking[tuple[Finding, ...]]:
    """Says that times became moments in UTC, where any has an offset or a zone."""
    filled, zoned, shown = yield Ask((f"count({STANDARD})", f"count(*) FILTER ({ZONED})", f"min(cell) FILTER ({ZONED})"))
    if not zoned:
        return ()
    message = f"{name!r} holds times with an offset from UTC or a zone, such as {shorten(shown)!r}: each is read as its moment in UTC."
    if zoned == filled:
        return (Finding("info", "utc", message, name),)
    bare = f"{filled - zoned:,} of {filled:,} cells have no offset: they are taken for UTC. Correct the file if they are not."
    return (Finding("warning", "utc", f"{message} {bare}", name),)


def _fitting(ways: list[str], forced: bool) -> Asking[tuple[list[str], int, int]]:
    """SQL for a date in the formats that fit most cells, how many cells fit, and of how many; the sample is tried first."""
    seen, *counts = yield Ask(("count(cell)", *(f"count({way})" for way in ways)), of_sample=True)
    least = 1 if forced else (seen or 0) * (1 - STRAY_SHARE)
    likely = [way for way, count in zip(ways, counts, strict=True) if count and count >= least]
    filled, *read = yield Ask(("count(cell)", *(f"count({way})" for way in likely)))
    most = max(read, default=0)
    return [way for way, count in zip(likely, read, strict=True) if count == most], most, filled


def is_number(cell: str) -> bool:
    """Whether a cell is a number written plainly."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def month_first(style: str) -> str:
    """The same format with day and month swapped."""
    return style.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")


def strptime(style: str) -> str:
    """SQL for a date in one format; years of two digits must not pass for years of four."""
    digits = "\\d{4}" if "%Y" in style else ""
    guard = f"regexp_matches(cell, '{digits}')" if digits else "true"
    return f"CASE WHEN {guard} THEN TRY_STRPTIME(cell, '{style}') END"
