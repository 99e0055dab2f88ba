"""The DuckDB connection that the reading steps share: bounded, isolated, removed with its folder.

Its errors are told in the words of a person who has a file.

In SQL the table being read is ``cells`` and its columns are ``c0``, ``c1``, ...: no name or value of a person's file is
ever part of a statement.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from tabtune_core.errors import TableError
from tabtune_core.shortage import shortage_of

VECTOR_ROWS = 2_048
"""DuckDB's own step; a group of rows is a multiple of it."""
MOST_ROWS = 122_880
"""In a group by DuckDB's own default."""
CELLS_IN_MEMORY = 8_000_000
"""In a group of rows. Each takes at least 16 bytes until its group is written."""


def connect(folder: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A database in memory that takes at most 1 GB, spills to ``folder`` if at all, and loads nothing from anywhere.

    Without a folder it has no threads of its own, so that it may be kept and a process with it be forked.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "memory_limit": "1GB",
        "threads": "2" if folder else "1",
        "temp_directory": str(folder / "spill") if folder else "",
    }
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET enable_progress_bar = false")  # or it draws on a terminal by itself
    return connection


def hold_cells(connection: duckdb.DuckDBPyConnection, folder: Path, columns: int) -> None:
    """Makes a file in ``folder`` the home of ``cells``, in groups of rows that fit into memory however many columns there are."""
    rows = max(VECTOR_ROWS, min(MOST_ROWS, CELLS_IN_MEMORY // columns) // VECTOR_ROWS * VECTOR_ROWS)
    where = str(folder / "cells.duckdb").replace("'", "''")
    if not {"?", "\\"}.isdisjoint(where):  # ATTACH misreads these; without it, the memory spills by itself
        return
    connection.execute(f"ATTACH '{where}' AS held (ROW_GROUP_SIZE {rows}, BLOCK_SIZE 16384)")
    connection.execute("USE held")


@contextmanager
def unplanned(connection: duckdb.DuckDBPyConnection, *, when: bool = True) -> Iterator[None]:
    """Queries run without the optimizer: for hundreds of columns it takes longer than the query itself.

    Until the end, or until reading ends in an error, after which a connection may be of no use.
    """
    if when:
        connection.execute("PRAGMA disable_optimizer")
    yield
    connection.execute("PRAGMA enable_optimizer")


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


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of our own disk, not the file's fault."""


@contextmanager
def translated() -> Iterator[None]:
    """Raises TableError for what DuckDB, Arrow and the system say of a file that is read inside; OSError where the disk is full."""
    try:
        yield
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError, MemoryError) as error:
        raise TableError("The table needs more memory than reading may take. Take a sample of the rows, or leave out columns.") from error
    except RuntimeError as error:
        if "interrupted" in str(error):  # DuckDB says so where a person pressed Ctrl-C
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        if os.strerror(errno.ENOSPC).lower() in str(error).lower():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise TableError("The file cannot be read as a table. Open it in the program that wrote it, and save it again as CSV.") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        if isinstance(error, PermissionError):
            raise TableError(str(shortage_of(error))) from error
        reason = error.strerror or "reason unknown"
        raise TableError(
            f"The file could not be read to its end ({reason}). Check that it is whole and that no program changes it."
        ) from error
