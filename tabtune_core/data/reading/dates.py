"""Types columns of dates and times of day.

Part of the fourth step of reading. If day and month could be swapped in every cell, the person is asked. A time with an
offset becomes its moment in UTC; a month, quarter or week becomes its first day.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, answered, quoted
from tabtune_core.data.reading.date_findings import (
    calendar_findings,
    far_year_findings,
    local_time_findings,
    zone_findings,
)
from tabtune_core.data.reading.date_formats import (
    CLOCK,
    DIGITS,
    IN_DIGITS,
    LIKELY,
    PARTS,
    SIMPLE,
    STANDARD,
    STYLES,
    TIME_OF_DAY,
    any_format,
    digits_as,
    written_as,
)
from tabtune_core.data.reading.date_orders import ONLY_OTHER, ORDER_WORDS, ORDERS, likely_orders
from tabtune_core.data.reading.digits import ascii_digits
from tabtune_core.data.reading.number_formats import FINITE, UNREAD
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.reading.unread_cells import BAD_SHARE, STRAY_SHARE, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.words import Typed, as_words
from tabtune_core.wording import counted

FEWEST_IN_DIGITS = 8
"""Fewest different numbers that must all be dates: fewer may be so by chance."""
MEANS: dict[Kind, str] = {
    "date": "dates{}. A model gets the day's number, the month and the day of the week of each",
    "datetime": "dates with a time{}. A model gets the day's number, the month, the day of the week and the time of "
    "day of each",
    "time": "times of day{}. A model gets the hour of each, and its position on the circle of a day",
}
"""Description of each kind in this file, for findings."""


def may_be_dates(sample: Sequence[str]) -> bool:
    """Whether nearly all cells look like dates or times of day, so that trying their formats is worthwhile."""
    likely = sum(
        LIKELY.fullmatch(cell) is not None and not (is_number(cell) and not IN_DIGITS.fullmatch(cell))
        for cell in sample
    )
    return bool(sample) and likely >= len(sample) * (1 - STRAY_SHARE)


def as_date(name: str, sample: list[str], day_first: DateOrder | None, *, asked: Kind | None) -> Asking[Typed | None]:
    """Types a column as date or time of day if nearly every cell is one; returns None otherwise.

    If day and month can be swapped in all cells, asks which comes first. ``asked`` is the kind of ``MEANS`` that the
    person chose, if any.
    """
    forced = asked is not None
    if not forced and not may_be_dates(sample):
        return (yield from _with_serials(name, sample))
    likely = [value for value in sample if CLOCK.fullmatch(value)]
    if asked == "time" or (not forced and len(likely) >= len(sample) * (1 - STRAY_SHARE)):
        return (yield from _time_of_day(name, likely, forced))
    likely = [value for value in sample if LIKELY.fullmatch(value)]
    in_digits = len(sample) >= FEWEST_IN_DIGITS and all(map(IN_DIGITS.fullmatch, sample))
    fitting, read, filled = yield from _fitting({"": STANDARD}, forced)
    zones = (yield from zone_findings(name)) if fitting else ()
    if read < filled and (forced or in_digits or not (likely and is_number(likely[0]))):  # trying all formats is slow
        ways = {style: written_as(style) for style in STYLES} if forced or not in_digits else {}
        ways |= {style: digits_as(style) for style in DIGITS} if forced or in_digits else {}
        other, more, _ = yield from _fitting(ways, forced)
        fitting, read, zones = (
            (other, more, local_time_findings(name, likely)) if more > read else (fitting, read, zones)
        )
    if not forced and (not fitting or (in_digits and read < filled)):
        return None
    by_order = {
        order: style for order, styles in ORDERS.items() if (style := next(filter(fitting.__contains__, styles), None))
    }
    orders = likely_orders(sample, [*by_order])
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
    zones += (*(yield from far_year_findings(name, style, value)), *calendar_findings(name, likely))
    typed = replace(typed, findings=(*typed.findings, *zones), day_first=order)
    if order == "year" and day_first is None and len(orders) == 1:
        told = (
            f"The dates in {name!r}, such as {likely[0]!r}, are read year first. If that is wrong, choose day "
            "first or month first"
        )
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


def _time_of_day(name: str, likely: list[str], forced: bool) -> Asking[Typed | None]:
    if not forced and (yield from _are_durations()):
        return None
    fitting, read, filled = yield from _fitting({"": TIME_OF_DAY}, forced)
    return (yield from _typed(name, likely, "time", fitting.get("", TIME_OF_DAY), read, filled, forced=forced))


def _are_durations() -> Asking[bool]:
    """Whether times such as 12:30 can only be minutes and seconds: some are beyond 24 minutes, or many cells also have
    hours, such as 1:02:30, and the hours are few beside the minutes. Nor are times of day such as 31:02:30.
    """
    two, three = (
        "regexp_full_match(cell, '\\d{1,2}:[0-5]\\d')",
        "regexp_full_match(cell, '\\d{1,2}:[0-5]\\d:[0-5]\\d([.]\\d+)?')",
    )
    first = "TRY_CAST(split_part(cell, ':', 1) AS INTEGER)"
    filled, short, long, beyond, late, minutes, hours = yield Ask(
        (
            "count(cell)",
            *(
                f"count(*) FILTER ({shape})"
                for shape in (two, three, f"{two} AND {first} > 24", f"{three} AND {first} > 24")
            ),
            *(f"max({first}) FILTER ({shape})" for shape in (two, three)),
        )
    )
    if short + long < filled * (1 - STRAY_SHARE):
        return False
    if not short:
        return bool(late > STRAY_SHARE * filled)
    return bool((beyond > BAD_SHARE * filled or long > STRAY_SHARE * filled) and not (long and 2 * hours > minutes))


SERIALS = (10_000, 100_000)
"""Numbers that Excel stores for dates from 1927 to 2173; a year is none of them."""


def _with_serials(name: str, sample: list[str]) -> Asking[Typed | None]:
    """Types a column as words, with a finding, if most cells are dates and the others are numbers, as Excel stores
    dates; else None.
    """
    written = [cell for cell in sample if not is_number(cell)]
    if not len(sample) / 2 <= len(written) < len(sample) or not may_be_dates(written):
        return None
    serial = f"{FINITE} BETWEEN {SERIALS[0]} AND {SERIALS[1]}"
    counts = f"count(*) FILTER ({serial})", f"count({any_format(True)}) FILTER {UNREAD}"
    filled, numbers, dates, shown = yield Ask(("count(cell)", *counts, f"min(cell) FILTER ({serial})"), parts=PARTS)
    if dates * 2 < filled or not numbers or dates + numbers < filled * (1 - STRAY_SHARE):
        return None
    words = yield from as_words()
    message = (
        f"{name!r} holds dates in {dates:,} cells and numbers, such as {shown!r}, in {numbers:,}; it is read "
        f"as {words.kind}. "
    )
    way_out = (
        "Excel stores dates as such numbers: correct the file, or choose date under Columns if they may become missing."
    )
    return replace(words, findings=(Finding("warning", "mixed-dates", message + way_out, name),))


def each_date(name: str, kind: Kind, day_first: DateOrder | None) -> Asking[Typed]:
    """Types a date column of rows to predict: each cell is read by itself, so that it means the same whatever rows are
    beside it.
    """
    order = True if day_first is None else day_first
    value = any_format(order)
    other = f"{value} IS NOT NULL AND regexp_matches({SIMPLE}, {quoted(ONLY_OTHER.get(order, '^$'))})"
    filled, read, swapped, shown = yield Ask(
        ("count(cell)", f"count({value})", f"count(*) FILTER ({other})", f"min(cell) FILTER ({other})"), parts=PARTS
    )
    typed = (yield from _typed(name, [], kind, value, read, filled, forced=True)) or Typed(kind, value)
    if not swapped:
        return typed
    told = (
        f"{name!r} is read {ORDER_WORDS[order][1]}, but {counted(swapped, 'cell')} of {filled:,}, such as "
        f"{shorten(shown)!r},"
    )
    message = (
        f"{told} can only be {ORDER_WORDS[not order][1]}: read so. Write all dates in one order, or as 2024-12-31."
    )
    return replace(typed, findings=(Finding("warning", "other-order", message, name), *typed.findings))


def _typed(
    name: str, likely: list[str], kind: Kind, value: str, read: int, filled: int, *, forced: bool
) -> Asking[Typed | None]:
    """Returns the type of a column in which ``read`` of ``filled`` cells are dates or times; words, or None, if these
    are too few.
    """
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
    other = "durations" if kind == "time" else "plain numbers" if likely and is_number(likely[0]) else ""
    wrong_kind = f" Choose number, under Columns, if they are {other}." if other else " Nothing to do."
    told = (Finding("info", "date", f"{name!r} holds {MEANS[kind].format(shown)}.{wrong_kind}", name),) if read else ()
    return Typed(kind, value, (*bad, *told))


def _fitting(ways: Mapping[str, str], forced: bool) -> Asking[tuple[dict[str, str], int, int]]:
    """Returns the formats that fit most cells, the number of these cells, and of all filled cells; the sample is tried
    first.
    """
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


def read_texts(
    texts: Sequence[str], asked: Kind | None, *, day_first: DateOrder | None = None, name: str = ""
) -> tuple[Typed | None, list[Any]]:
    """Returns the date or time type of texts, and of each text the time of day or the microseconds since 1970, None
    where it has none.

    ``asked`` is the kind of ``MEANS`` to read them as, if known. If ``day_first`` is known, each date is read by
    itself. With the column's ``name``, findings count equal texts, too.
    """
    texts = list(map(ascii_digits, texts))
    different = list(dict.fromkeys(texts))
    if not different:
        return None, []
    cells = texts if name else different
    with _database(os.getpid()).cursor() as connection:
        batch = pa.table({"place": [0] * len(cells), "number": range(len(cells)), "cell": pa.array(cells, pa.string())})
        connection.register("batch", batch)
        work = (
            as_date(name, different, None, asked=asked) if day_first is None else each_date(name, "datetime", day_first)
        )
        (typed,) = answered(connection, [work], [different])
        if typed is None or typed.kind not in MEANS:
            return None, []
        value = (
            typed.value if typed.kind == "time" else f"epoch_us({typed.value})"
        )  # Python has no moments before the year 1
        values = connection.sql(f"SELECT {value} FROM batch ORDER BY number").fetchall()
    read = {text: value for text, (value,) in zip(cells, values, strict=True)}
    return typed, [read[text] for text in texts]


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """Opens one database per process, since opening takes longer than reading a column.

    A forked process opens its own.
    """
    return connect()
