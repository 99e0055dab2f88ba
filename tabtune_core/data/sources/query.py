"""What a query in SQL gives, by DuckDB, from files of this machine; only the command line asks for it."""

from pathlib import Path

import duckdb

from tabtune_core.data.reading.progress import Tell
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.sources.base import Fetched
from tabtune_core.errors import TableError

PREFIX = "query:"


def fetch(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Runs the query; its rows are a Parquet file."""
    tell("Running the query", 0, 0)
    target = folder / "query.parquet"
    with connect(folder) as connection:
        try:
            rows = connection.sql(asked.removeprefix(PREFIX))
            if rows is None:
                raise TableError("The query gives no rows. Write one that begins with SELECT or FROM.")
            rows.write_parquet(str(target))
        except duckdb.OutOfMemoryException as error:
            raise TableError("The query needs more memory than reading may take (1 GB). Select fewer rows or columns.") from error
        except duckdb.Error as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise TableError(f"The query cannot be run. {' '.join(lines)}") from error
    if (size := target.stat().st_size) > limit_bytes:
        raise TableError(f"The query gives {size:,} bytes and the limit is {limit_bytes:,}. Select fewer rows or columns.")
    return Fetched(target, "query")
