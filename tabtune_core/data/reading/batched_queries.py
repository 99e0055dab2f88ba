"""Columns that are looked at side by side, so that one query answers for many: of a wide table, most of the time is in the queries' number.

Work on a column is a generator. Wherever it needs aggregates over all of the column's cells it yields their SQL, and is sent the values.
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

import duckdb

from tabtune_core.data.reading.sql import counts, first_row

Done = TypeVar("Done")
Asking = Generator[tuple[str, ...], tuple[Any, ...], Done]
"""Yields terms of SQL over ``cells``, is sent their values, returns what it is for."""
COLUMNS_AT_ONCE = 20
CELLS_AT_ONCE = 2_000_000
"""Of a long table the columns at once are fewer: to count different values takes memory for each."""


def answered(connection: duckdb.DuckDBPyConnection, works: Iterable[Asking[Done]], rows: int) -> list[Done]:
    """What each work returns, in their order; ``rows`` is the length of ``cells``."""
    everything = list(works)
    return [one for start, end in groups(len(everything), rows) for one in _in_step(connection, everything[start:end])]


def groups(columns: int, rows: int) -> list[tuple[int, int]]:
    """Where each group of columns that are looked at in one query begins and ends."""
    size = max(1, min(COLUMNS_AT_ONCE, CELLS_AT_ONCE // max(1, rows)))
    return [(start, min(start + size, columns)) for start in range(0, columns, size)]


def _in_step(connection: duckdb.DuckDBPyConnection, works: Sequence[Asking[Done]]) -> list[Done]:
    done: dict[int, Done] = {}
    told: dict[int, tuple[Any, ...] | None] = dict.fromkeys(range(len(works)))
    while told:
        asked: dict[int, tuple[str, ...]] = {}
        for place, values in told.items():
            try:
                asked[place] = works[place].send(values)  # type: ignore[arg-type]  # None begins it
            except StopIteration as end:
                done[place] = end.value
        answers = iter(counts(connection, *(term for terms in asked.values() for term in terms)) if asked else ())
        told = {place: tuple(next(answers) for _ in terms) for place, terms in asked.items()}
    return [done[place] for place in range(len(works))]


def holding(connection: duckdb.DuckDBPyConnection, conditions: Sequence[str], sample: Iterable[str]) -> list[int]:
    """Places of the conditions, with "{cell}" in them, that are true of every cell of a sample; none of an empty one."""
    terms = ", ".join(f"coalesce(bool_and({condition.replace('{cell}', 'c')}), false)" for condition in conditions)
    found = first_row(connection, f"SELECT {terms} FROM unnest($sample) AS sample(c)", {"sample": list(sample)})
    return [place for place, holds in enumerate(found) if holds is True]


def everywhere(condition: str, cell: str) -> str:
    """A term: whether a condition, with "{cell}" in it, is true of every cell of a column that has a value."""
    return f"bool_and({condition.replace('{cell}', cell)}) FILTER (WHERE {cell} IS NOT NULL)"


def quoted(text: str) -> str:
    """A text of ours as SQL."""
    return "'" + text.replace("'", "''") + "'"
