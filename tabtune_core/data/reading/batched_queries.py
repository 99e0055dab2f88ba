"""Columns looked at side by side: a group of them lies in the table ``batch``, one cell a row, so that one query serves them all.

A query's terms do not grow in number with the columns: to plan a term takes longer than to carry it out on a small column.
Work on a column is a generator. Wherever it needs aggregates over the column's cells it yields their SQL and is sent the values.
"""

from collections.abc import Collection, Generator, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

Done = TypeVar("Done")
Key = TypeVar("Key", bound=Hashable)
CELLS_AT_ONCE = 2_000_000
"""Of a long table the columns at once are fewer: to count different values takes memory for each."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Terms of SQL over ``cell``, the cells of one column."""

    terms: tuple[str, ...]
    of_sample: bool = False
    """Over the different ones of the column's first cells alone; every value is None where there are none."""
    parts: tuple[str, ...] = ()
    """What stands in many terms: planned and computed once."""


Asking = Generator[Ask, tuple[Any, ...], Done]
"""Is sent the values of what it asks, returns what it is for."""


def groups(columns: int, rows: int) -> list[tuple[int, int]]:
    """Where each group of columns that are looked at together begins and ends."""
    size = max(1, CELLS_AT_ONCE // max(1, rows))
    return [(start, min(start + size, columns)) for start in range(0, columns, size)]


def hold_batch(connection: duckdb.DuckDBPyConnection, start: int, end: int) -> None:
    """Makes ``batch`` of some columns of ``cells``: the column's place among them and the row's number, both from 0, and the cell."""
    names = ", ".join(f"c{place}" for place in range(start, end))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE batch AS SELECT unnest(range({end - start})) AS place, number, unnest(listed) AS cell "
        f"FROM (SELECT row_number() OVER () - 1 AS number, [{names}] AS listed FROM cells)"
    )


def worded_dashes(connection: duckdb.DuckDBPyConnection, known: Collection[int]) -> set[int]:
    """The places of columns of ``batch`` in which "-" is a word: those ``known``, or with "+" beside it. In others it becomes missing."""
    query = "SELECT place, bool_or(cell = '+') FROM batch WHERE cell IN ('+', '-') GROUP BY place HAVING bool_or(cell = '-')"
    beside_plus = dict(connection.execute(query).fetchall())
    worded = {*known, *(place for place, plus in beside_plus.items() if plus)}
    if emptied := sorted(beside_plus.keys() - worded):
        connection.execute(f"UPDATE batch SET cell = NULL WHERE cell = '-' AND {among(emptied)}")
    return worded


def first_cells(connection: duckdb.DuckDBPyConnection, columns: int, most: int) -> list[list[str]]:
    """The first ``most`` cells with a value of each column of ``batch``, in the order of the rows."""
    query = f"SELECT place, min_by(cell, number, {most}) FROM batch WHERE cell IS NOT NULL GROUP BY place"
    found = dict(connection.execute(query).fetchall())
    return [found.get(place, []) for place in range(columns)]


def answered(connection: duckdb.DuckDBPyConnection, works: Sequence[Asking[Done]], samples: Sequence[Sequence[str]]) -> list[Done]:
    """What each work returns, one a column of ``batch``, in their order; ``samples`` are the columns' own."""
    connection.register("samples", pa.table({"place": range(len(samples)), "cells": pa.array(samples, pa.list_(pa.string()))}))
    done: dict[int, Done] = {}
    told: dict[int, tuple[Any, ...] | None] = dict.fromkeys(range(len(works)))
    while told:
        asked: dict[int, Ask] = {}
        for place, values in told.items():
            try:
                asked[place] = works[place].send(values)  # type: ignore[arg-type]  # None begins it
            except StopIteration as end:
                done[place] = end.value
        told = {}
        for ask, places in places_by(asked.items()).items():
            told |= _values(connection, ask, places)
    connection.unregister("samples")
    return [done[place] for place in range(len(works))]


def places_by(keyed: Iterable[tuple[int, Key]]) -> dict[Key, list[int]]:
    """The places that have each key.

    >>> places_by(enumerate("aba"))
    {'a': [0, 2], 'b': [1]}
    """
    found: dict[Key, list[int]] = {}
    for place, key in keyed:
        found.setdefault(key, []).append(place)
    return found


def among(places: Sequence[int]) -> str:
    """That a cell is of one of these columns: written out, since DuckDB plans what stands beside a subquery twice.

    >>> among([0, 2])
    'place IN (0, 2)'
    """
    return f"place IN ({', '.join(map(str, places))})"


def _values(connection: duckdb.DuckDBPyConnection, ask: Ask, places: list[int]) -> dict[int, tuple[Any, ...]]:
    table = "(SELECT place, unnest(cells) AS cell FROM samples)" if ask.of_sample else "batch"
    terms, parts = ", ".join(ask.terms), "".join(f", {part} AS part{number}" for number, part in enumerate(ask.parts))
    for number, part in enumerate(ask.parts):
        terms = terms.replace(part, f"part{number}")
    table = f"(SELECT place, cell{parts} FROM {table} WHERE {among(places)})"
    query = f"SELECT place, {terms} FROM {table} GROUP BY place"
    found = {place: tuple(values) for place, *values in connection.execute(query).fetchall()}
    return {place: found.get(place, (None,) * len(ask.terms)) for place in places}


def quoted(text: str) -> str:
    """A text of ours as SQL."""
    return "'" + text.replace("'", "''") + "'"
