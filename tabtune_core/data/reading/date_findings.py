"""Tells what may be wrong with the dates of a column: another calendar, years far ahead, times with and without an
offset.
"""

import re
from collections.abc import Sequence
from datetime import date

from tabtune_core.data.findings import Finding, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking
from tabtune_core.data.reading.date_formats import LOCAL_TIME, MAILED, PARTS, STANDARD, ZONED
from tabtune_core.data.reading.unread_cells import STRAY_SHARE

OTHER_YEAR = re.compile(r"(?<!\d)(1[34]\d\d|2[456]\d\d)(?!\d)")
"""Years of now in the Iranian and Islamic, and in the Thai calendar."""
FAR_YEARS = 10
"""Years from today: a year of two digits that is read as a later one may belong to the previous century."""


def calendar_findings(name: str, cells: Sequence[str]) -> tuple[Finding, ...]:
    """Warns if nearly all years are those of another calendar."""
    years = [cell for cell in cells if OTHER_YEAR.search(cell)]
    if len(years) < len(cells) * (1 - STRAY_SHARE) or not years:
        return ()
    message = (
        f"{name!r} holds dates such as {shorten(years[0])!r}, which seem to be of the Iranian, Islamic or Thai "
        "calendar, "
    )
    what = (
        "but are read as Gregorian: their days of the week and months are wrong, and the distances between them "
        "nearly right."
    )
    return (Finding("warning", "calendar", message + what, name),)


def local_time_findings(name: str, cells: Sequence[str]) -> tuple[Finding, ...]:
    """Reports that the name of a zone at the end of times was left out."""
    shown = next((cell for cell in cells if re.search(LOCAL_TIME, cell, re.IGNORECASE)), None)
    if shown is None:
        return ()
    message = (
        f"{name!r} holds times with the name of a zone, such as {shorten(shown)!r}: each is read as the time "
        "on the clock there."
    )
    return (Finding("info", "local-time", message, name),)


def far_year_findings(name: str, style: str, value: str) -> Asking[tuple[Finding, ...]]:
    """Warns about years of two digits that are read as years far ahead, such as births before 1969."""
    if "%y" not in style:
        return ()
    last = date.today().year + FAR_YEARS
    far, shown, year = yield Ask(
        (
            f"count(*) FILTER (year({value}) > {last})",
            f"min(cell) FILTER (year({value}) > {last})",
            f"max(year({value}))",
        ),
        parts=PARTS,
    )
    if not far:
        return ()
    message = (
        f"{name!r} has years of two digits, and 00 to 68 are read as 2000 to 2068: {far:,} dates such as "
        f"{shorten(shown)!r} lie after"
    )
    way_out = "Write years of four digits in the file if these belong to the previous century."
    return (Finding("warning", "far-years", f"{message} {last}, up to {year}. {way_out}", name),)


def zone_findings(name: str) -> Asking[tuple[Finding, ...]]:
    """Reports that times became moments in UTC, if any has an offset or a zone."""
    with_zone = f"({MAILED} OR {ZONED})"
    filled, zoned, shown = yield Ask(
        (f"count({STANDARD})", f"count(*) FILTER {with_zone}", f"min(cell) FILTER {with_zone}")
    )
    if not zoned:
        return ()
    message = (
        f"{name!r} holds times with an offset from UTC or a zone, such as {shorten(shown)!r}: each is read as "
        "its moment in UTC."
    )
    if zoned == filled:
        return (Finding("info", "utc", message, name),)
    bare = (
        f"{filled - zoned:,} of {filled:,} cells have no offset: they are taken for UTC. Correct the file if they "
        "are not."
    )
    return (Finding("warning", "utc", f"{message} {bare}", name),)
