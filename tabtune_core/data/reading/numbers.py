"""Types columns of numbers in the formats that people use.

Part of the fourth step of reading. Ids that a float64 would change stay text; cells that are no numbers are reported.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from tabtune_core.data.findings import Finding, Severity, shorten
from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.number_formats import (
    FINITE,
    PLAIN,
    STRAY_SHARE,
    UNREAD,
    all_values,
    number_pattern,
    unit_of,
)
from tabtune_core.data.reading.words import MISSING_WORD, Typed, as_words
from tabtune_core.wording import number as in_words

LARGEST_EXACT = 2**53  # above it not every integer is a float64, so two ids could become one
CODE = re.compile(r"\s*[A-Za-z]{1,4}[-. ]?\d.*")
MANY_NUMBERS = 20
"""From this many different numbers, a column with other words is mostly numbers, however often the words occur."""
MOST_MARKS = 3
MOST_TOLD = 0.25
"""Largest share of other cells for which a column of words that is mostly numbers or dates is reported."""
BAD_SHARE = 0.02
"""Largest share of cells that are not numbers in a column of numbers: slips, unless they look like codes."""
EITHER = re.compile(r"(?<![\d.,])[1-9]\d{0,2}[.,]\d{3}(?![\d.,])")
"""A number whose mark may be decimal or separate thousands."""
NO_COMMA = "(--thousands-comma, or remove the column from 'Columns with decimal commas' under Reading choices)"


def as_number(
    name: str, sample: list[str], *, forced: bool, unit: str | None, comma_first: bool, decimal_comma: bool | None
) -> Asking[Typed]:
    """Types a column as number if its cells are numbers, or as words with the reason: codes, or too many other cells.

    ``unit`` and ``decimal_comma`` are None if unknown; then ``comma_first`` decides where all commas have two meanings.
    """
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
    if not forced and (zeros or large) and unread <= filled * STRAY_SHARE:
        what = "numbers with leading zeros" if zeros else "whole numbers too long to be exact as numbers"
        message = f"{name!r} holds {what}: kept as text, as codes are. Choose number if they count something."
        return replace((yield from as_words()), findings=(Finding("info", "kept-as-text", message, name),))
    typed = Typed("number", FINITE)
    if unread or (decimal_comma and points):
        typed, unread = yield from _formatted(
            name, sample, unit or unit_of(sample), comma_first, decimal_comma, infinite
        )
    wrong = f"(cell IS NOT NULL AND ({typed.value}) IS NULL)"
    if unread + infinite == 0:
        return typed
    if forced or unread <= filled * BAD_SHARE:
        bad = yield from unread_words(wrong)
        if forced or not any(map(CODE.fullmatch, bad)):
            finding = bad_cells_finding(name, bad, unread + infinite, filled)
            return replace(typed, findings=(finding, *typed.findings))
    (missing,) = (yield Ask((f"count(*) FILTER {MISSING_WORD}",))) if unread > filled * STRAY_SHARE else (0,)
    most = 1 if unread == missing or len(sample) > MANY_NUMBERS else STRAY_SHARE
    return (yield from stray_words(name, unread + infinite, filled, wrong, most=most))


def _formatted(
    name: str, sample: list[str], unit: str | None, comma_first: bool, decimal_comma: bool | None, infinite: int
) -> Asking[tuple[Typed, int]]:
    """Returns the type of a column of numbers that are not all plain, and the number of cells that are none."""
    if decimal_comma is None:
        fits = [f"regexp_full_match(cell, {quoted(number_pattern(unit, comma=comma))})" for comma in (False, True)]
        pointed, with_comma = yield Ask(tuple(f"count(*) FILTER ({fit})" for fit in fits))
        marked = [cell for cell in sample if "," in cell]
        doubtful = bool(marked) and pointed == with_comma and all(map(EITHER.search, marked))
        comma = with_comma > pointed or (with_comma == pointed and comma_first)
    else:
        comma, doubtful = decimal_comma, False
    value = all_values(unit, comma=comma)
    own = f"regexp_full_match(cell, {quoted(number_pattern(unit, comma=comma))})"
    odd = f"({value}) IS NOT NULL AND ({value}) IS DISTINCT FROM {FINITE}"
    other = f"{odd} AND NOT {own} AND NOT contains(cell, ':')"
    bare = f"({value}) <> 0 AND NOT contains(cell, {quoted(unit or '')}) AND NOT contains(cell, ':')"
    longest = f"max({{'length': length(cell), 'cell': cell, 'value': {value}}}) FILTER ({odd})"
    filled, read, shown, without, others, example, commas, points = yield Ask(
        (
            "count(cell)",
            f"count({value})",
            longest,
            f"count(*) FILTER ({bare})",
            f"count(*) FILTER ({other})",
            f"min(cell) FILTER ({other})",
            "count(*) FILTER (contains(cell, ','))",
            "count(*) FILTER (contains(cell, '.'))",
        ),
        parts=(value,),
    )
    typed = Typed("number", value, unit=unit, decimal_comma=comma if commas or (comma and points) else None)
    if shown is None:
        return replace(typed, decimal_comma=None, unit=None, value=FINITE), filled - read - infinite
    what = f"{in_words(shown['value'], 15)}{' seconds' * (':' in shown['cell'])}"
    message = f"{name!r} holds numbers such as {shorten(shown['cell'])!r}, read as {what}"
    doubts = []
    if ":" in shown["cell"]:
        doubts.append(". Choose time of day, under Columns, if they are no durations")
    if unit and without:
        doubts.append(f", and {without:,} without {unit!r}. Convert them to one unit if they differ in it")
    if others:
        doubts.append(f". The decimal mark differs in {others:,} of {read:,}, such as {example!r}")
    if doubtful and comma:
        doubts.append(f". If the commas separate thousands, say so {NO_COMMA}")
    severity: Severity = "warning" if doubts else "info"
    finding = Finding(severity, "number-format", f"{message}{''.join(doubts)}.", name)
    return replace(typed, findings=(finding,)), filled - read - infinite


def each_number(name: str, *, unit: str | None, comma_first: bool, decimal_comma: bool | None) -> Asking[Typed]:
    """Types a number column of rows to predict: each cell is read by itself, with the unit and marks of the table."""
    known = decimal_comma is not None
    every = all_values(unit, comma=comma_first if decimal_comma is None else decimal_comma, known=known)
    value = f"(CASE WHEN isfinite({every}) THEN {every} END)"
    filled, read = yield Ask(("count(cell)", f"count({value})"))
    if read == filled:
        return Typed("number", value)
    message = f"{filled - read:,} of {filled:,} cells of {name!r} are not numbers and became missing."
    return Typed("number", value, (Finding("warning", "bad-cells", message, name),))


def unread_words(wrong: str) -> Asking[list[str]]:
    """Returns the different cells for which the SQL ``wrong`` holds, the most frequent first."""
    (times,) = yield Ask((f"histogram(cell) FILTER {wrong}",))
    return sorted(times or (), key=lambda word: (-times[word], word))


def bad_cells_finding(name: str, bad: Sequence[str], unread: int, filled: int, *, what: str = "numbers") -> Finding:
    """Reports the cells of a column of numbers, or of other ``what``, that cannot be read as such."""
    shown = ", ".join(repr(shorten(word)) for word in bad[:MOST_MARKS]) + (", ..." if len(bad) > MOST_MARKS else "")
    cells = "1 other cell became" if unread == 1 else f"{unread:,} other cells became"
    message = f"{name!r} holds {what} in {filled - unread:,} of {filled:,} cells; {cells} missing: {shown}. "
    way_out = "Correct the file, or choose category under Columns, if they matter."
    return Finding("warning", "bad-cells", message + way_out, name)


def stray_words(
    name: str, unread: int, filled: int, wrong: str, *, what: str = "number", most: float = STRAY_SHARE
) -> Asking[Typed]:
    """Types a column as words; few words among numbers or dates, up to the share ``most``, may mean missing."""
    typed = yield from as_words()
    if unread > filled * most or unread == filled:
        return typed
    words = tuple((yield from unread_words(wrong)))
    if len(words) <= MOST_MARKS and all(shorten(word) == word for word in words):
        return replace(typed, marks=words)
    cells = f"{name!r} holds {what}s in {filled - unread:,} cells and other text in {unread:,}, such as "
    way_out = f"Choose {what} under Columns if the others may become missing."
    message = f"{cells}{shorten(words[0])!r}; it is read as {typed.kind}. {way_out}"
    told = (Finding("info", "kept-as-text", message, name),) if unread <= filled * MOST_TOLD else ()
    return replace(typed, findings=told)
