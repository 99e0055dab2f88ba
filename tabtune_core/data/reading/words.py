"""Types columns whose cells stay words: booleans, categories, text.

Part of the fourth step of reading. Also defines ``Typed``, the result of every rule of this step.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa

from tabtune_core.data.findings import DateOrder, Finding, Kind, Question
from tabtune_core.data.reading.batched_queries import Ask, Asking, answered, quoted
from tabtune_core.data.reading.sql import Connection, connect

FEW_VALUES = 20
CATEGORY_SHARE = 0.25
"""Most different words of a category, as a share of the filled cells: on average each occurs four times or more."""
BOOLEAN_WORDS = (frozenset({"true", "false"}), frozenset({"yes", "no"}), frozenset({"t", "f"}), frozenset({"y", "n"}))
MISSING_WORDS = (
    "na|n[.]a|n/d|nan|null|none|unknown|missing|blank|undefined|unspecified|don't know|prefer not to say|"
    "no (data|answer|response)|not (available|applicable|known|specified|reported|recorded|stated)"
)
NO_WORD = r"[–—−…·/\\_.?]{1,5}|-{2,5}|#[a-z/0]+[!?]"  # noqa: RUF001
"""Cells without a letter that may mean missing, and the errors of spreadsheets."""
MISSING_WORD = f"""(regexp_full_match(lower(cell), {quoted(rf"[(<[]?({MISSING_WORDS})[]>)]?[.]*|{NO_WORD}")}))"""
"""SQL for a cell that may mean missing: the person is asked, it is never read so unasked."""


@dataclass(frozen=True, slots=True)
class Typed:
    """The kind of a column, and how its cells become values."""

    kind: Kind
    value: str
    """SQL over ``cell``."""
    findings: tuple[Finding, ...] = ()
    questions: tuple[Question, ...] = ()
    examples: tuple[str, ...] = ()
    """Up to three different cells from the first rows, in the order of the file."""
    day_first: DateOrder | None = None
    """In which order its dates were read; None for other columns and for dates without that choice."""
    unit: str | None = None
    """The currency, percent sign or unit beside its numbers; "s" for durations."""
    decimal_comma: bool | None = None
    """Whether the comma in its numbers is a decimal comma, not one between thousands; None if there is no comma."""
    pointed: str = ""
    """One of its numbers with a point that may separate thousands; empty where none may."""
    marks: tuple[str, ...] = ()
    """Few words among numbers or dates, which may mean missing."""


def as_words() -> Asking[Typed]:
    """Types a column as boolean (two words for yes and no), category (few words, or many that recur) or text."""
    filled, unique = yield Ask(("count(cell)", "count(DISTINCT cell)"))
    if unique == 2:
        (words,) = yield Ask(("list(DISTINCT lower(cell)) FILTER (WHERE cell IS NOT NULL)",))
        if frozenset(words) in BOOLEAN_WORDS:
            return Typed("boolean", "cell")
    return Typed("category" if unique <= max(FEW_VALUES, filled * CATEGORY_SHARE) else "text", "cell")


def read_alone(work: Asking[Typed | None], cells: Sequence[str]) -> tuple[Typed | None, list[Any]]:
    """Types different texts by the same rules as a column of a file; returns the type, and the value of each text.

    A date is its microseconds since 1970, as Python has no year 0.
    """
    with _database(os.getpid()).cursor() as connection:
        batch = pa.table({"place": [0] * len(cells), "number": range(len(cells)), "cell": pa.array(cells, pa.string())})
        connection.register("batch", batch)
        (typed,) = answered(connection, [work], [cells])
        if typed is None:
            return None, []
        value = f"epoch_us({typed.value})" if typed.kind in ("date", "datetime") else typed.value
        return typed, [value for (value,) in connection.sql(f"SELECT {value} FROM batch ORDER BY number").fetchall()]


@cache
def _database(process: int) -> Connection:
    """Opens one database per process, since opening takes longer than reading a column; a fork opens its own."""
    return connect()
