"""Columns of dates.

Part of the fourth step of reading. Where day and month could be swapped in every cell, the person is asked. A time with
an offset from UTC is the moment it stands for, in UTC. Every format is a constant of this file.
"""

import re

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, everywhere, holding
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
    """A date where every cell is one; None for anything else. Where day and month can be swapped in all cells, asks."""
    if not forced and not all(6 <= len(value) <= 40 and DIGIT.search(value) for value in sample):
        return None
    fitting = yield from _fitting([STANDARD])
    zones = (yield from zone_findings(name)) if fitting else ()
    if not fitting and (forced or not is_number(sample[0])):  # no format is a plain number, and trying all of them is slow
        formats = (*CERTAIN_DATES, *DAY_DATES, *map(month_first, DAY_DATES))
        fitting = yield from _fitting(list(map(strptime, formats)))
    if not fitting:
        if not forced:
            return None
        message = (
            f"{name!r} is read as dates, as asked; cells not written as 2025-12-31 became missing. Choose another kind if they matter."
        )
        return Typed("date", STANDARD, (Finding("warning", "not-dates", message, name),))
    finding = Finding(
        "info",
        "date",
        f"{name!r} holds dates. A model gets the day's number, the month and the day of the week of each. Nothing to do.",
        name,
    )
    by_day, by_month = (next((value for value in fitting if start in value), None) for start in ("'%d", "'%m"))
    if by_day is None or by_month is None:
        return Typed("date", fitting[0], (finding, *zones))
    used = by_month if day_first is False else by_day
    if day_first is not None:
        return Typed("date", used, (finding,), ambiguous_date=True)
    message = f"{name!r} holds dates such as {sample[0]!r} that can be read day first or month first; read day first."
    question = Question("day-first", f"{message} Choose month first if that is meant.", "day_first", ("true", "false"))
    return Typed("date", used, (Finding("warning", "ambiguous-date", message, name),), (question,), ambiguous_date=True)


def zone_findings(name: str) -> Asking[tuple[Finding, ...]]:
    """Says that times became moments in UTC, where any has an offset or a zone."""
    filled, zoned, shown = yield Ask(("count(cell)", f"count(*) FILTER ({ZONED})", f"min(cell) FILTER ({ZONED})"))
    if not zoned:
        return ()
    message = f"{name!r} holds times with an offset from UTC or a zone, such as {shorten(shown)!r}: each is read as its moment in UTC."
    if zoned == filled:
        return (Finding("info", "utc", message, name),)
    bare = f"In {filled - zoned:,} of {filled:,} cells there is none: they are taken for UTC. Correct the file if they are not."
    return (Finding("warning", "utc", f"{message} {bare}", name),)


def _fitting(ways: list[str]) -> Asking[list[str]]:
    """SQL for a date, of the ways in which every cell is one; the sample is tried first."""
    likely = [ways[place] for place in (yield from holding([f"{way} IS NOT NULL" for way in ways]))]
    if not likely:
        return []
    found = yield Ask(tuple(everywhere(f"{way} IS NOT NULL") for way in likely))
    return [way for way, holds in zip(likely, found, strict=True) if holds is True]


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
