"""The DuckDB connection that the reading steps share, bounded and isolated, and its error messages.

The table being read is ``cells`` with the columns ``c0``, ``c1``, ...: no name of a file is part of a statement.
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

VECTOR_ROWS, MOST_ROWS = 2_048, 122_880
"""DuckDB's vector size, of which the size of a row group is a multiple, and the default of that."""
CELLS_IN_MEMORY = 8_000_000
"""Most cells of a row group. Each takes at least 16 bytes until its group is written."""
Connection = duckdb.DuckDBPyConnection
Source = tuple[str, dict[str, Any]]
"""SQL for rows, and its parameters."""


def connect(folder: Path | None = None) -> Connection:
    """Opens a database of at most 1 GB that spills only to ``folder``; without one it may stay open through a fork."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "memory_limit": "1GB",
        "threads": "2" if folder else "1",
        "temp_directory": str(folder / "spill") if folder else "",
    }
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET enable_progress_bar = false")  # otherwise it draws on the terminal
    return connection


def hold_cells(connection: Connection, folder: Path, columns: int) -> None:
    """Stores ``cells`` in a file in ``folder``, in row groups that fit into memory for any number of columns."""
    rows = max(VECTOR_ROWS, min(MOST_ROWS, CELLS_IN_MEMORY // columns) // VECTOR_ROWS * VECTOR_ROWS)
    where = str(folder / "cells.duckdb").replace("'", "''")
    if not {"?", "\\"}.isdisjoint(where):  # ATTACH misreads these; without it, the memory spills to ``folder``
        return
    connection.execute(f"ATTACH '{where}' AS held (ROW_GROUP_SIZE {rows}, BLOCK_SIZE 16384)")
    connection.execute("USE held")


@contextmanager
def unplanned(connection: Connection) -> Iterator[None]:
    """Runs queries without the optimizer, which takes longer than the query itself for hundreds of columns."""
    connection.execute("PRAGMA disable_optimizer")
    yield
    connection.execute("PRAGMA enable_optimizer")


def first_row(
    connection: Connection, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> tuple[Any, ...]:
    """Returns the first row of a short result, or an empty tuple. The result is read to its end."""
    rows = connection.execute(query, parameters).fetchall()
    return rows[0] if rows else ()


def counts(connection: Connection, *terms: str) -> tuple[int, ...]:
    """Computes several counts over ``cells`` in one pass."""
    return first_row(connection, f"SELECT {', '.join(terms)} FROM cells")


def count_rows(connection: Connection, source: Source = ("FROM cells", {})) -> int:
    """Returns the number of rows in ``cells``, or in another source."""
    return int(first_row(connection, f"SELECT count(*) {source[0]}", source[1])[0])


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of our own disk, not of the file."""


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of DuckDB, Arrow and the system into TableError; a full disk stays an OSError."""
    try:
        yield
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError, MemoryError) as error:
        message = "The table needs more memory than reading may take. Take a sample of the rows, or leave out columns."
        raise TableError(message) from error
    except RuntimeError as error:
        if "interrupted" in str(error):  # DuckDB's error after Ctrl-C
            raise KeyboardInterrupt from error
        raise
    except duckdb.Error as error:
        if os.strerror(errno.ENOSPC).lower() in str(error).lower():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        message = "The file cannot be read as a table. Open it in the program that wrote it, and save it again as CSV."
        raise TableError(message) from error
    except OSError as error:
        if error.errno in FULL:
            raise
        if isinstance(error, PermissionError):
            raise TableError(str(shortage_of(error))) from error
        message = f"The file could not be read to its end ({error.strerror or 'reason unknown'})."
        raise TableError(f"{message} Check that it is whole and that no program changes it.") from error
