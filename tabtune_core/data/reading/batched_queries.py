"""Queries a group of columns at once: the table ``batch`` holds their cells, one per row.

Planning a term takes longer than computing it on a small column, so columns with equal terms share a query. The work on
a column is a generator: it yields the SQL of the aggregates it needs over the column's cells, and is sent their values.
"""

from collections.abc import Collection, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from tabtune_core.data.reading.sql import Connection

Done = TypeVar("Done")
Key = TypeVar("Key", bound=Hashable)
CELLS_AT_ONCE = 2_000_000
"""Most cells of a group of columns: counting different values takes memory for each cell."""


@dataclass(frozen=True, slots=True)
class Ask:
    """SQL aggregates over ``cell``, the cells of one column."""

    terms: tuple[str, ...]
    of_sample: bool = False
    """Whether to use only the column's sample of different cells; every value is None if the sample is empty."""
    parts: tuple[str, ...] = ()
    """Common parts of the terms, planned and computed once."""


Asking = Generator[Ask, tuple[Any, ...], Done]
"""Work on one column: yields queries, is sent their values, returns its result."""


def groups(columns: int, rows: int) -> list[tuple[int, int]]:
    """Returns the start and end of each group of columns that are queried together."""
    size = max(1, CELLS_AT_ONCE // max(1, rows))
    return [(start, min(start + size, columns)) for start in range(0, columns, size)]


def hold_batch(connection: Connection, start: int, end: int) -> None:
    """Fills ``batch`` with a range of columns of ``cells``: place in it and number of the row from 0, and cell."""
    names = ", ".join(f"c{place}" for place in range(start, end))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE batch AS SELECT unnest(range({end - start})) AS place, number, "
        f"unnest(listed) AS cell FROM (SELECT row_number() OVER () - 1 AS number, [{names}] AS listed FROM cells)"
    )


def worded_dashes(connection: Connection, known: Collection[int]) -> set[int]:
    """Returns the columns of ``batch`` in which "-" is a word, ``known`` or beside "+"; empties it in the others."""
    marks = "SELECT place, bool_or(cell = '+') FROM batch WHERE cell IN ('+', '-')"
    query = f"{marks} GROUP BY place HAVING bool_or(cell = '-')"
    beside_plus = dict(connection.execute(query).fetchall())
    worded = {*known, *(place for place, plus in beside_plus.items() if plus)}
    if emptied := sorted(beside_plus.keys() - worded):
        connection.execute(f"UPDATE batch SET cell = NULL WHERE cell = '-' AND {among(emptied)}")
    return worded


def first_cells(connection: Connection, columns: int, most: int) -> list[list[str]]:
    """Returns the first ``most`` filled cells of each column of ``batch``, in the order of the rows."""
    query = f"SELECT place, min_by(cell, number, {most}) FROM batch WHERE cell IS NOT NULL GROUP BY place"
    cells_by_place = dict(connection.execute(query).fetchall())
    return [cells_by_place.get(place, []) for place in range(columns)]


def answered(connection: Connection, works: Sequence[Asking[Done]], samples: Sequence[Sequence[str]]) -> list[Done]:
    """Runs one work per column of ``batch``, with one sample each, and returns the results in their order."""
    cells = pa.array(samples, pa.list_(pa.string()))
    connection.register("samples", pa.table({"place": range(len(samples)), "cells": cells}))
    done: dict[int, Done] = {}
    answers: dict[int, tuple[Any, ...] | None] = dict.fromkeys(range(len(works)))
    while answers:
        asked: dict[int, Ask] = {}
        for place, values in answers.items():
            try:
                asked[place] = works[place].send(values)  # type: ignore[arg-type]  # None starts the generator
            except StopIteration as end:
                done[place] = end.value
        answers = {}
        for ask, places in places_by(asked.items()).items():
            answers |= _values(connection, ask, places)
    connection.unregister("samples")
    return [done[place] for place in range(len(works))]


def places_by(keyed: Iterable[tuple[int, Key]]) -> dict[Key, list[int]]:
    """Groups places by their key."""
    grouped: dict[Key, list[int]] = {}
    for place, key in keyed:
        grouped.setdefault(key, []).append(place)
    return grouped


def among(places: Sequence[int]) -> str:
    """Returns an SQL condition for the cells of some columns; with a subquery DuckDB would plan the query twice."""
    return f"place IN ({', '.join(map(str, places))})"


def _values(connection: Connection, ask: Ask, places: list[int]) -> dict[int, tuple[Any, ...]]:
    table = "(SELECT place, unnest(cells) AS cell FROM samples)" if ask.of_sample else "batch"
    terms, parts = ", ".join(ask.terms), "".join(f", {part} AS part{number}" for number, part in enumerate(ask.parts))
    for number, part in enumerate(ask.parts):
        terms = terms.replace(part, f"part{number}")
    table = f"(SELECT place, cell{parts} FROM {table} WHERE {among(places)})"
    query = f"SELECT place, {terms} FROM {table} GROUP BY place"
    answers = {place: tuple(values) for place, *values in connection.execute(query).fetchall()}
    return {place: answers.get(place, (None,) * len(ask.terms)) for place in places}


def quoted(text: str) -> str:
    """Returns a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
