"""What each column of text cells holds, decided over all of its cells.

Fourth step of reading. In: what is asked of a column's cells. Out: a kind, and the SQL that turns a cell into a value
of it. Dates are tried before numbers, numbers before words.
"""

from collections.abc import Sequence
from dataclasses import replace

from tabtune_core.data.findings import Kind, shorten
from tabtune_core.data.reading.batched_queries import Asking
from tabtune_core.data.reading.dates import MEANS, as_date
from tabtune_core.data.reading.numbers import as_number
from tabtune_core.data.reading.words import Typed, as_words

SAMPLE_CELLS = 2_000
EXAMPLE_CELLS = 1_000
EXAMPLES = 3


def type_column(
    name: str,
    first: Sequence[str],
    sample: list[str],
    *,
    delimiter: str,
    day_first: bool | None,
    asked: Kind | None,
    unit: str | None = None,
) -> Asking[Typed]:
    """Decides what a column holds.

    ``first`` are its first SAMPLE_CELLS values, ``sample`` those that differ; ``asked`` is the kind that the person chose, ``unit`` what
    stands behind its numbers, where that is known.
    """
    typed = yield from _decided(name, sample, delimiter, day_first, asked, unit)
    shown = list(dict.fromkeys(first[:EXAMPLE_CELLS]))[:EXAMPLES]
    return replace(typed, examples=tuple(map(shorten, shown)))


def _decided(name: str, sample: list[str], delimiter: str, day_first: bool | None, asked: Kind | None, unit: str | None) -> Asking[Typed]:
    if asked in MEANS or (asked is None and sample):
        dated = yield from as_date(name, sample, day_first, asked=asked)
        if dated is not None:
            return dated
    if asked == "number" or (asked is None and sample):
        number = yield from as_number(name, sample, delimiter, forced=asked == "number", unit=unit)
        if number.kind == "number" or number.findings:
            return number
    if asked is not None:
        return Typed(asked, "cell")
    return (yield from as_words())
