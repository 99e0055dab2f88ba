"""Draws the rows of a table of which only a sample is read.

The same rows are drawn each time, by a hash of their number.
"""

from pathlib import Path

import duckdb

from tabtune_core.data.findings import MAX_ROWS, SET_ROWS, Finding
from tabtune_core.data.reading.batched_queries import quoted
from tabtune_core.data.reading.misfits import Dialect
from tabtune_core.data.reading.sql import Source
from tabtune_core.errors import LayoutError

SLACK = 0.9
"""Share of a limit in bytes that a sample aims for, since its size varies."""


def share_to_read(found: int, asked: int | None) -> float:
    """Returns the share of ``found`` rows to read for a sample of ``asked`` rows, or 1.

    Raises LayoutError for too many rows.
    """
    if asked is not None and asked < 1:
        raise LayoutError(
            f"{asked:,} rows were asked for; ask for one or more, or leave the number out to read them all."
        )
    wanted = min(found, asked or found)
    if wanted > MAX_ROWS:
        raise LayoutError(
            f"The table has {found:,} rows; at most {MAX_ROWS:,} are read. To learn from it, {SET_ROWS}: a model is "
            "shown far fewer."
        )
    return wanted / found if found else 1.0


def drawn(rows: str, share: float, *, before: int = 0, kept: int = 0) -> str:
    """Returns SQL that samples a share of ``rows`` by a hash of the row number: the same rows each time, in their
    order.

    Row numbers start after ``before`` earlier rows. The first ``kept`` rows are always taken and not numbered.
    """
    if share == 1:
        return rows
    numbered = f"SELECT row_number() OVER () - {kept} AS draw, * FROM ({rows})"
    return (
        f"SELECT * EXCLUDE draw FROM ({numbered}) WHERE draw < 1 OR hash({before} + draw) < "
        f"{int(share * 2**64)}::UBIGINT"
    )


def sampled_finding(rows: int, share: float) -> list[Finding]:
    """Reports that only a sample was read, if so."""
    if share == 1:
        return []
    return [
        Finding(
            "info",
            "sampled",
            f"{rows:,} rows were read, one in {1 / share:,.1f} of the table, drawn at random, as asked.",
        )
    ]


def draw_rows(
    connection: duckdb.DuckDBPyConnection, source: Source, dialect: Dialect, share: float, target: Path
) -> None:
    """Writes the header and a random share of the rows to a CSV with the same separator."""
    rows = drawn(source[0], share, kept=int(dialect.header))
    layout = f"FORMAT csv, HEADER false, DELIMITER {quoted(dialect.delimiter)}"
    connection.execute(f"COPY ({rows}) TO {quoted(str(target))} ({layout})", source[1])
