"""Types columns of numbers in the formats that people use.

Part of the fourth step of reading. Ids that a float64 would change stay text; a question is asked about words among
numbers.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from tabtune_core.data.findings import Finding, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.durations import CLOCKED, SPANS, unit_of_typed, values_in
from tabtune_core.data.reading.fitting import all_ways, ending, number_format
from tabtune_core.data.reading.number_findings import (
    MANY_NUMBERS,
    MARKED,
    credit_finding,
    infinite_finding,
    like_codes,
    style_typed,
)
from tabtune_core.data.reading.number_formats import (
    AMOUNTS,
    FINITE,
    FLAG,
    FOOTNOTE,
    PLAIN,
    POINTS,
    UNMARKED,
    UNREAD,
    ZERO_COMMA,
    ZERO_POINT,
    Fitting,
)
from tabtune_core.data.reading.number_units import (
    AMOUNT,
    ASKED_AMOUNT,
    LETTER_UNITS,
    abbreviates,
    letter_of_all,
    unit_of,
)
from tabtune_core.data.reading.unread_cells import BAD_SHARE, STRAY_SHARE, bad_cells_finding, stray_words, unread_words
from tabtune_core.data.reading.words import MISSING_WORD, Typed, as_words

LARGEST_EXACT = 2**53  # above it not every integer is a float64, so two ids could become one
CODE = r"\s*[A-Za-z]{1,4}[-. ]?\d.*"
MOST_MARKED = 0.75
"""Share of the different cells: if more have a mark, or there are few cells, the mark is part of a code or class, such
as ">3" beside "3".
"""


def as_number(
    name: str, sample: list[str], *, forced: bool, unit: str | None, comma_first: bool, decimal_comma: bool | None
) -> Asking[Typed]:
    """Types a column as number if its cells are numbers, or as text with the reason: ids that a number would change, or
    stray words.

    ``unit`` and ``decimal_comma`` are known from an earlier reading of the table, or None. If unknown, ``comma_first``
    says whether a decimal comma is tried before a comma between thousands.
    """
    letter = ASKED_AMOUNT if forced else AMOUNT
    same = letter_of_all(sample)
    of_unit = same and LETTER_UNITS[same].search(name)
    amounts = unit == AMOUNTS.unit or (
        unit is None and not of_unit and (any(map(letter.match, sample)) or abbreviates(name, sample))
    )
    own = (*([AMOUNTS] if amounts else []), *([SPANS] if unit == SPANS.unit else []))
    unit = (
        None if unit in (AMOUNTS.unit, SPANS.unit, CLOCKED.unit) else unit or unit_of(sample) or unit_of_typed(sample)
    )
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
    style, read = None, 0
    listed = not forced and all(
        cell.startswith("(") for cell in sample
    )  # (1), (2): numbered notes, not negative numbers
    if (unread and not listed) or (decimal_comma and points):
        comma_first = comma_first or any(map(ZERO_COMMA.search, sample)) if decimal_comma is None else decimal_comma
        marks = sum(map(bool, map(MARKED.fullmatch, sample)))
        few = not marks or (marks <= MOST_MARKED * len(sample) and len(sample) > MANY_NUMBERS)
        marked = forced or (few and not zeros and not large)
        style, read = yield from number_format(
            all_ways(unit, comma_first=comma_first, known=decimal_comma is True, own=own, marked=marked)
        )
    if style is not None and read > filled - unread - (style.style is POINTS and decimal_comma is True):
        wrong = f"(cell IS NOT NULL AND NOT {style.condition})"
        (misfits,) = (yield Ask((f"list(cell) FILTER {wrong}",), of_sample=True)) if read < filled else ((),)
        typed = style_typed(name, [cell for cell in sample if cell not in (misfits or ())], style, unit)
        unread = filled - read
    elif not forced and (zeros or large) and unread <= filled * STRAY_SHARE:
        what = "numbers with leading zeros" if zeros else "whole numbers too long to be exact as numbers"
        message = f"{name!r} holds {what}: kept as text, as codes are. Choose number if they count something."
        return replace((yield from as_words()), findings=(Finding("info", "kept-as-text", message, name),))
    else:
        typed, wrong = Typed("number", FINITE, infinite_finding(name, infinite)), UNREAD
    typed = replace(typed, findings=(*typed.findings, *like_codes(name, sample)))
    if unread == 0:
        return typed
    if forced:
        told = f"{unread:,} of {filled:,} cells are not numbers and became missing. Choose category if they matter."
        message = f"{name!r} is read as numbers, as asked; {told}"
        return replace(typed, findings=(Finding("warning", "not-numbers", message, name), *typed.findings))
    if unread <= filled * BAD_SHARE:
        bad = yield from unread_words(wrong)
        if not any(re.fullmatch(CODE, word) for word in bad):
            return replace(typed, findings=(bad_cells_finding(name, bad, unread, filled), *typed.findings))
    (marked,) = (yield Ask((f"count(*) FILTER {MISSING_WORD}",))) if unread > filled * STRAY_SHARE else (0,)
    most = 1 if unread == marked or len(sample) > MANY_NUMBERS else STRAY_SHARE
    words = yield from stray_words(name, unread, filled, wrong, most=most)
    return replace(words, findings=(*credit_finding(name, sample), *words.findings))


def each_number(
    name: str, sample: Sequence[str], *, unit: str | None, comma_first: bool, decimal_comma: bool | None
) -> Asking[Typed]:
    """Types a number column of rows to predict: each cell is read by itself, so that it means the same whatever rows
    are beside it.

    ``unit`` and ``decimal_comma`` are those of the adapter's table, as for ``as_number``; durations are converted to a
    unit of time.
    """
    lettered = replace(AMOUNTS, pattern=AMOUNTS.pattern.replace("[KkMmBb]?", "[KkMB]"))
    own = {None: [lettered], AMOUNTS.unit: [AMOUNTS]}.get(unit, [])
    other_unit = (
        f"regexp_matches(regexp_replace(cell, {quoted(ending(unit))}, ''), {quoted(FLAG + '$')})" if unit else "false"
    )
    durations, of_clock = values_in(unit), quoted(CLOCKED.pattern if unit is None else "")
    unit = None if own else unit
    comma_first = comma_first if decimal_comma is None else decimal_comma
    ways = all_ways(unit, comma_first=comma_first, known=decimal_comma is True, own=own, marked=True)
    first = next(place for place, way in enumerate(ways) if way.text == UNMARKED)
    grouped = (
        f"CASE WHEN NOT regexp_full_match(cell, {quoted(ZERO_POINT.pattern)}) THEN {Fitting(POINTS, 'cell').value} END"
    )
    points = (
        [grouped] if decimal_comma else []
    )  # the point of a plain "1.234" separates thousands, that of "0.234" does not
    plain = f"coalesce({', '.join([*points, FINITE, *(way.value for way in ways[:first]), *durations])})"
    unmarked = f"coalesce({', '.join(way.value for way in ways[first:] if way.text == UNMARKED)})"
    unmarked = (
        f"(CASE WHEN NOT {other_unit} THEN {unmarked} END)"  # the letters in 500 g are no flag where others are kg
    )
    any_way = f"coalesce({plain}, {unmarked})"
    value = f"(CASE WHEN isfinite({any_way}) THEN {any_way} END)"
    filled, unread, infinite, marked, clocked = yield Ask(
        (
            "count(cell)",
            f"count(*) FILTER ({UNREAD} AND {value} IS NULL)",
            f"count(*) FILTER (isinf({PLAIN}))",
            f"count(*) FILTER ({plain} IS NULL AND {unmarked} IS NOT NULL)",
            f"min(cell) FILTER (regexp_full_match(cell, {of_clock}))",
        )
    )
    findings = infinite_finding(name, infinite)
    if clocked:
        message = f"Durations such as {shorten(clocked)!r} in {name!r} were read as seconds."
        findings = (
            Finding("warning", "seconds", f"{message} If the adapter's table has another unit, use that.", name),
            *findings,
        )
    if marked:
        shown = next((cell for cell in sample if re.fullmatch(f"{MARKED.pattern}|.*{FOOTNOTE}", cell)), "<5")
        message = (
            f"Numbers with marks, which are left out, in {name!r}, such as {shorten(shown)!r}, were read as numbers."
        )
        findings = (Finding("warning", "marks", message, name), *findings)
    if unread:
        message = f"{unread:,} of {filled:,} cells of {name!r} are not numbers and became missing."
        findings = (Finding("warning", "not-numbers", message, name), *findings)
    return Typed("number", value, findings)
