"""Types columns of dates and times of day.

Part of the fourth step of reading. If day and month could be swapped in every cell, the person is asked. A time with an
offset becomes its moment in UTC; a month or quarter becomes its first day.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import duckdb
import pyarrow as pa

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, answered, quoted
from tabtune_core.data.reading.date_formats import (
    CLOCK,
    DIGITS,
    IN_DIGITS,
    LIKELY,
    ORDERS,
    PARTS,
    SIMPLE,
    STANDARD,
    STYLES,
    TIME_OF_DAY,
    ZONED,
    any_format,
    digits_as,
    written_as,
)
from tabtune_core.data.reading.number_formats import STRAY_SHARE
from tabtune_core.data.reading.numbers import BAD_SHARE, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.reading.words import Typed
from tabtune_core.wording import counted

Doubt = tuple[int, str | None]
"""How many cells are doubtful for one reason, and one of them."""
FEWEST_IN_DIGITS = 8
"""Fewest different numbers that must all be dates: fewer may be so by chance."""
FAR_YEARS, EARLIEST_YEAR = 10, 1500
"""Dates more years ahead, or earlier, may be of another century or calendar, or stand for no end."""
HALF_A_DAY = 12
MEANS: dict[Kind, str] = {
    "date": "dates{}. A model gets the day's number, the month and the day of the week of each",
    "datetime": "dates with a time{}. A model gets the day's number, the month, the day of the week and the time of "
    "day of each",
    "time": "times of day{}. A model gets the hour of each, and its position on the circle of a day",
}
"""Description of each kind in this file, for findings."""
ORDER_WORDS: dict[DateOrder, tuple[str, str]] = {
    True: ("true", "day first"),
    False: ("false", "month first"),
    "year": ("year", "year first"),
}
"""The answer to a question, and its words."""
_MONTH, _NO_MONTH = "(0?[1-9]|1[0-2])", r"(1[3-9]|2\d|3[01])"
ONLY_OTHER: dict[DateOrder, str] = {
    True: rf"^{_MONTH} {_NO_MONTH} \d\d(\d\d)?\b",
    False: rf"^{_NO_MONTH} {_MONTH} \d\d(\d\d)?\b",
}
"""Patterns of simplified dates that are none in an order, but one if day and month are swapped."""
EITHER_ORDER = rf"^{_MONTH} {_MONTH} \d\d(\d\d)?\b"
"""Pattern of simplified dates in which day and month can be swapped."""


def may_be_dates(sample: Sequence[str]) -> bool:
    """Whether nearly all cells look like dates or times of day, so that trying their formats is worthwhile."""
    likely = sum(
        LIKELY.fullmatch(cell) is not None and (IN_DIGITS.fullmatch(cell) is not None or not is_number(cell))
        for cell in sample
    )
    return bool(sample) and likely >= len(sample) * (1 - STRAY_SHARE)


def as_date(name: str, sample: list[str], day_first: DateOrder | None, *, asked: Kind | None) -> Asking[Typed | None]:
    """Types a column as date or time of day if nearly every cell is one; returns None otherwise.

    If day and month can be swapped in all cells, asks which comes first. ``asked`` is the kind that the person chose.
    """
    forced = asked is not None
    if not forced and not may_be_dates(sample):
        return None
    clocks = [value for value in sample if CLOCK.fullmatch(value)]
    if asked == "time" or (not forced and len(clocks) >= len(sample) * (1 - STRAY_SHARE)):
        if not forced and name and (yield from _are_durations()):
            return None
        fitting, read, filled = yield from _fitting({"": TIME_OF_DAY}, forced)
        return (yield from _typed(name, clocks, "time", fitting.get("", TIME_OF_DAY), read, filled, forced=forced))
    likely = [value for value in sample if LIKELY.fullmatch(value)]
    in_digits = len(sample) >= FEWEST_IN_DIGITS and all(map(IN_DIGITS.fullmatch, sample))
    fitting, read, filled = yield from _fitting({"": STANDARD}, forced)
    if read < filled and (forced or in_digits or not (likely and is_number(likely[0]))):  # trying all formats is slow
        dashed = any("-" in value for value in sample)
        styles = [style for style in STYLES if dashed or not style.startswith("%y")]
        ways = {style: written_as(style) for style in styles} if forced or not in_digits else {}
        ways |= {style: digits_as(style) for style in DIGITS} if forced or in_digits else {}
        other, more, _ = yield from _fitting(ways, forced)
        fitting, read = (other, more) if more > read else (fitting, read)
    if not forced and (not fitting or (in_digits and read < filled)):
        return None
    by_order = {
        order: style for order, styles in ORDERS.items() if (style := next(filter(fitting.__contains__, styles), None))
    }
    order = day_first if day_first in by_order else next(iter(by_order), None)
    style = next(iter(fitting), "") if order is None else by_order[order]
    value = fitting.get(style, STANDARD)
    if style == "%Y %m" and not forced:
        (seasons,) = yield Ask((f"count(*) FILTER (month({value}) = (year({value}) + 1) % 100)",))
        if seasons == filled:  # such as 2005-06, 2006-07
            return None
    typed = yield from _typed(name, likely, asked or "date", value, read, filled, forced=forced)
    if typed is None or typed.kind not in MEANS:
        return typed
    more_findings = yield from _date_findings(name, value)
    typed = replace(typed, findings=(*typed.findings, *more_findings), day_first=order)
    if order is None or len(by_order) < 2 or day_first is not None:
        return typed
    others = [ORDER_WORDS[one][1] for one in by_order if one != order]
    message = (
        f"{name!r} holds dates such as {likely[0]!r}, read {ORDER_WORDS[order][1]}; they may be {' or '.join(others)}."
    )
    options = (ORDER_WORDS[one][0] for one in sorted(by_order, key=lambda one: one != order))
    question = Question("day-first", f"{message} Choose that if it is meant.", "day_first", tuple(options))
    bad = tuple(finding for finding in typed.findings if finding.code != "date")
    return replace(typed, findings=(*bad, Finding("warning", "ambiguous-date", message, name)), questions=(question,))


def _are_durations() -> Asking[bool]:
    """Whether times look elapsed: some are of 24 hours or more, or all have seconds and none is past noon."""
    first, time = "TRY_CAST(split_part(cell, ':', 1) AS INTEGER)", r"\d{1,2}:[0-5]\d(:[0-5]\d([.]\d+)?)?"
    filled, times, late, latest, full = yield Ask(
        (
            "count(cell)",
            f"count(*) FILTER (regexp_full_match(cell, '{time}'))",
            f"count(*) FILTER (regexp_full_match(cell, '{time}') AND {first} > 24)",
            f"max({first})",
            "count(*) FILTER (regexp_matches(cell, ':.*:'))",
        )
    )
    if times < filled * (1 - STRAY_SHARE):
        return False
    return bool(late > BAD_SHARE * filled or (full >= times and latest < HALF_A_DAY))


def each_date(name: str, kind: Kind, day_first: DateOrder | None) -> Asking[Typed]:
    """Types a date column of rows to predict: each cell is read by itself."""
    order = True if day_first is None else day_first
    value = any_format(order)
    other, either = (
        f"regexp_matches({SIMPLE}, {quoted(form)})" for form in (ONLY_OTHER.get(order, "^$"), EITHER_ORDER)
    )
    differ = " <> ".join(f"TRY_CAST(split_part({SIMPLE}, ' ', {place}) AS INTEGER)" for place in (1, 2))
    odd = {
        "other": f"{value} IS NOT NULL AND {other}",
        "either": f"{value} IS NOT NULL AND {either} AND {differ}" if day_first is None else "false",
        "untimed": f"{value} = date_trunc('day', {value}) AND NOT contains(cell, ':')"
        if kind == "datetime"
        else "false",
    }
    terms = [term for where in odd.values() for term in (f"count(*) FILTER ({where})", f"min(cell) FILTER ({where})")]
    filled, read, *cells = yield Ask(("count(cell)", f"count({value})", *terms), parts=PARTS)
    typed = (yield from _typed(name, [], kind, value, read, filled, forced=True)) or Typed(kind, value)
    doubts = doubtful_dates(name, order, filled, *zip(cells[::2], cells[1::2], strict=True))
    findings = (Finding("warning", "ambiguous-date", message, name) for message in doubts)
    return replace(typed, findings=(*findings, *typed.findings))


def doubtful_dates(
    name: str, order: DateOrder, filled: int, other: Doubt, either: Doubt, untimed: Doubt
) -> Iterator[str]:
    """Yields a sentence for cells that only the other order allows, that both allow, and that lack the time of day."""
    way_out, (count, shown) = "Write all dates in one order, or as 2024-12-31.", other
    if count:
        told = f"{name!r} is read {ORDER_WORDS[order][1]}, but {counted(count, 'cell')} of {filled:,}, such as "
        yield f"{told}{shorten(shown or '')!r}, can only be {ORDER_WORDS[not order][1]}: read so. {way_out}"
    if either[0]:
        told = f"{name!r} is read {ORDER_WORDS[order][1]}, such as {shorten(either[1] or '')!r}"
        yield f"{told}: the training table does not show whether the day or the month comes first. Write 2024-12-31."
    if untimed[0]:
        told = f"{counted(untimed[0], 'cell')} of {name!r}, such as {shorten(untimed[1] or '')!r}"
        yield f"{told}: a date without a time of day, read as midnight."


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
    wrong_kind = f" Choose number, under Columns, if they are {other}." if other else " Nothing to do."
    told = (Finding("info", "date", f"{name!r} holds {MEANS[kind].format(shown)}.{wrong_kind}", name),) if read else ()
    return Typed(kind, value, (*bad, *told))


def _date_findings(name: str, value: str) -> Asking[list[Finding]]:
    """Reports dates far ahead, and times that became moments in UTC."""
    last = date.today().year + FAR_YEARS
    far = f"year({value}) NOT BETWEEN {EARLIEST_YEAR} AND {last}"
    late, shown, year, filled, zoned, moment = yield Ask(
        (
            f"count(*) FILTER ({far})",
            f"min(cell) FILTER ({far})",
            f"max(year({value}))",
            f"count({value})",
            f"count(*) FILTER ({ZONED})",
            f"min(cell) FILTER ({ZONED})",
        ),
        parts=PARTS,
    )
    findings = []
    if late:
        message = (
            f"{name!r} has {late:,} dates such as {shorten(shown)!r} before {EARLIEST_YEAR} or after {last}, up to "
        )
        why = f"{year}. Correct years of two digits or another calendar in the file, or read these cells as missing."
        findings.append(Finding("warning", "far-years", message + why, name))
    if zoned:
        message = (
            f"{name!r} holds times with an offset, such as {shorten(moment)!r}: each is read as its moment in UTC."
        )
        bare = (
            f" {filled - zoned:,} of {filled:,} cells have no offset: they are taken for UTC." if zoned < filled else ""
        )
        findings.append(Finding("warning" if bare else "info", "utc", message + bare, name))
    return findings


def _fitting(ways: Mapping[str, str], forced: bool) -> Asking[tuple[dict[str, str], int, int]]:
    """Returns the formats that fit most cells, the number of these cells, and of all filled cells.

    The sample is tried first.
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
    """Returns the date or time type of texts, and of each text the time of day or the microseconds since 1970, or None.

    ``asked`` is the kind of ``MEANS`` to read them as, if known. If ``day_first`` is known, each date is read by
    itself. With the column's ``name``, findings count equal texts, too.
    """
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
        value = typed.value if typed.kind == "time" else f"epoch_us({typed.value})"  # Python has no year 0
        values = connection.sql(f"SELECT {value} FROM batch ORDER BY number").fetchall()
    read = {text: value for text, (value,) in zip(cells, values, strict=True)}
    return typed, [read[text] for text in texts]


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """Opens one database per process, since opening takes longer than reading a column; a fork opens its own."""
    return connect()
