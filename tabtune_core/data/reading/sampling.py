"""Draws the rows of a table of which only a sample is read: the same rows each time, by a hash of their number."""

from tabtune_core.data.findings import MAX_ROWS, SET_ROWS, Finding
from tabtune_core.errors import LayoutError


def share_to_read(rows: int, asked: int | None) -> float:
    """Returns the share of ``rows`` to read for a sample of ``asked`` rows, or 1. Raises LayoutError for too many."""
    if asked is not None and asked < 1:
        raise LayoutError(f"{asked:,} rows were asked for; ask for one or more, or leave the number out to read all.")
    wanted = min(rows, asked or rows)
    if wanted > MAX_ROWS:
        raise LayoutError(f"The table has {rows:,} rows; at most {MAX_ROWS:,} are read. To learn from it, {SET_ROWS}.")
    return wanted / rows if rows else 1.0


def drawn(rows: str, share: float, *, kept: int = 0) -> str:
    """Returns SQL for a share of ``rows``, in their order; the first ``kept`` are always taken."""
    if share == 1:
        return rows
    numbered = f"SELECT row_number() OVER () - {kept} AS draw, * FROM ({rows})"
    return f"SELECT * EXCLUDE draw FROM ({numbered}) WHERE draw < 1 OR hash(draw) < {int(share * 2**64)}::UBIGINT"


def sampled_finding(rows: int, share: float) -> list[Finding]:
    """Reports that only a sample was read, if so."""
    text = f"{rows:,} rows were read, one in {1 / share:,.1f} of the table, drawn at random, as asked."
    return [Finding("info", "left-out", text)] if share < 1 else []
