"""Columns that are looked at side by side, so that one query answers for many: of a wide table, most of the time is in the queries' number.

Work on a column is a generator. Wherever it needs aggregates over all of the column's cells it yields their SQL, and is sent the values.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import duckdb

from tabtune_core.data.reading.sql import counts, first_row

Done = TypeVar("Done")
Asking = Generator[tuple[str, ...], tuple[Any, ...], Done]
"""Yields terms of SQL over ``cells``, is sent their values, returns what it is for."""
COLUMNS_AT_ONCE = 20
CELLS_AT_ONCE = 2_000_000
"""Of a long table the columns at once are fewer: to count different values takes memory for each."""


def answered(
    connection: duckdb.DuckDBPyConnection,
    works: Iterable[Asking[Done]],
    rows: int,
    columns: int,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Done]:
    """What each work returns, one a column of ``cells``, in their order. ``tell`` is called with the columns done."""
    remaining, done = iter(works), list[Done]()
    for start, end in groups(columns, rows):
        tell(start)
        done += _in_step(connection, list(islice(remaining, end - start)))
    return done


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


def first_cells(connection: duckdb.DuckDBPyConnection, columns: int, rows: int, most: int) -> Iterator[list[str]]:
    """The first ``most`` cells with a value of each column: one query for many columns, one more for a gappy one."""
    for start, end in groups(columns, min(rows, most)):
        names = ", ".join(f"c{place}" for place in range(start, end))
        batch = connection.sql(f"SELECT {names} FROM cells LIMIT {most}").to_arrow_table()
        for name, found in zip(batch.column_names, batch.columns, strict=True):
            if found.null_count and rows > most:
                query = f"SELECT {name} FROM cells WHERE {name} IS NOT NULL LIMIT {most}"
                yield [cell for (cell,) in connection.execute(query).fetchall()]
            else:
                yield found.drop_null().to_pylist()


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
