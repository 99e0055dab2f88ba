"""Finds the format that fits the cells of a column of numbers."""

import re
from collections.abc import Sequence
from operator import itemgetter

from tabtune_core.data.reading.batched_queries import Ask, Asking, quoted
from tabtune_core.data.reading.durations import CLOCKED, SPANS
from tabtune_core.data.reading.number_formats import (
    BARE,
    BLANKS,
    COMMAS,
    POINTS,
    SIGNED,
    SIGNS,
    UNMARKED,
    Fitting,
    NumberFormat,
)
from tabtune_core.data.reading.number_units import HAS_PLURAL, POWERS
from tabtune_core.data.reading.unread_cells import STRAY_SHARE


def number_format(ways: Sequence[Fitting]) -> Asking[tuple[Fitting | None, int]]:
    """Returns the way that fits most cells, among those that fit nearly all of the sample, and the number of these
    cells; in a tie, the first.
    """
    counts = yield Ask(("count(cell)", *(f"count(*) FILTER ({way.condition})" for way in ways)), of_sample=True)
    likely = [
        way for way, count in zip(ways, counts[1:], strict=True) if count and count >= counts[0] * (1 - STRAY_SHARE)
    ]
    if not likely:
        return None, 0
    read = yield Ask(tuple(f"count(*) FILTER ({way.condition})" for way in likely))
    return max(zip(likely, read, strict=True), key=itemgetter(1))


def ending(unit: str) -> str:
    """Returns a pattern for a unit at the end of a cell."""
    return rf"\s*{re.escape(unit).translate(POWERS)}{'s?' * bool(HAS_PLURAL.search(unit))}$"


def all_ways(
    unit: str | None, *, comma_first: bool, known: bool, own: Sequence[NumberFormat], marked: bool
) -> list[Fitting]:
    """Lists the formats to try, the more usual ones first; with ``marked``, also numbers with marks around them.

    "1,234" alone is ambiguous. ``comma_first`` reads its comma as decimal, as in a file with ";" between cells. If the
    decimal comma is ``known``, the point in "1.234 €" separates thousands. The ``own`` formats, known for this column,
    go first.
    """
    styles = (
        (POINTS, SIGNS, BLANKS, COMMAS)
        if known
        else (SIGNS, BLANKS, *((POINTS, COMMAS) if comma_first else (COMMAS, POINTS)))
    )
    without_unit = [f"regexp_replace({SIGNED}, {quoted(ending(unit))}, '')"] if unit else []
    texts = ("cell", BARE, *without_unit, *([UNMARKED] if marked else []))
    ways = [Fitting(style, text) for text in texts for style in styles]
    first = [Fitting(style, text) for style in own for text in texts[:2]]
    return [*first, *ways, Fitting(CLOCKED, "cell"), Fitting(SPANS, "cell")]
