"""The DuckDB connection that the reading steps share: bounded, closed off, in memory.

In SQL the table being read is ``cells`` and its columns are ``c0``, ``c1``, ...: no name or value of a person's file is
ever part of a statement.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb


def connect(folder: Path) -> duckdb.DuckDBPyConnection:
    """A database in memory that takes at most 1 GB, spills to ``folder``, and loads nothing from anywhere."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "memory_limit": "1GB",
        "threads": "2",
        "temp_directory": str(folder / "spill"),
    }
    return duckdb.connect(":memory:", config=settings)


def first_row(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> tuple[Any, ...]:
    """The first row of a short result; an empty tuple where there is none. The result is read to its end."""
    rows = connection.execute(query, parameters).fetchall()
    return rows[0] if rows else ()


def counts(connection: duckdb.DuckDBPyConnection, *terms: str) -> tuple[int, ...]:
    """Several counts over ``cells`` in one pass."""
    return first_row(connection, f"SELECT {', '.join(terms)} FROM cells")


def count_rows(connection: duckdb.DuckDBPyConnection) -> int:
    """Number of rows in ``cells``."""
    return counts(connection, "count(*)")[0]
