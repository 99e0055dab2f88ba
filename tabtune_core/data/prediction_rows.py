"""Reads rows to predict as the run's table was read, and stores them until a job takes them.

In: a file, and how the run's table was read. Out: typed rows, and notes about them.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tabtune_core.data.encoding import LARGEST, NUMBERS, label_numbers
from tabtune_core.data.findings import LONGEST_SHOWN, ReadAs, listed, shorten
from tabtune_core.data.merged_classes import OTHER
from tabtune_core.data.table import Table, read_table
from tabtune_core.data.values import moments, numbers, places, present, words
from tabtune_core.errors import LayoutError, TableError, nearest
from tabtune_core.settings import RunSettings

LIMIT_BYTES = 50_000_000
LIMIT_ROWS = 50_000
PREDICTED, CSV = "predicted.parquet", "predictions.csv"
"""Files of a prediction job; the first has, for the model i, ``m<i>`` (label, number), ``m<i>_<k>`` (class k)."""
ROWS = "rows.parquet"
"""The rows to predict, in the folder of the job."""
TRUTH = "truth"
"""Column of ``PREDICTED`` with the known labels, if any."""
ID = re.compile(r"[0-9a-f]{16}")
NOTED, LOST = "short-lines", "ragged-lines"
"""Findings that change what is predicted, and the number of rows."""
UNREAD = "bad-cells"
"""Finding about cells that became missing because they do not fit the kind of their column."""
_HOLDS = {"number": NUMBERS, "date": "dates", "datetime": "dates", "time": "times of day"}
"""What the cells must be, by kind of column; other kinds take any cell."""


@dataclass(frozen=True, slots=True)
class NewRows:
    """Typed rows, with notes for the person."""

    frame: pd.DataFrame
    notes: tuple[str, ...]
    """Differences from the table that the adapter was trained on."""


def read_new_rows(
    source: Path | bytes,
    like: ReadAs,
    *,
    limit_bytes: int = LIMIT_BYTES,
    limit_rows: int | None = None,
    strict: bool = False,
) -> NewRows:
    """Reads a file of rows to predict; labels are kept if the file has the target column.

    ``strict`` raises an error, instead of writing a note, for columns that the table did not have, and for cells that
    are not the numbers, dates or times of day that their column holds.

    Raises TableError where the file cannot be read, lacks a needed column, or has too many rows.
    """
    needed, kinds = like.features, like.kinds
    table = _laid_out(source, like, limit_bytes)
    frame, names = table.frame, [str(name) for name in table.frame.columns]
    _check_columns(names, needed)
    unknown = [name for name in names if name not in kinds]
    if strict and unknown:
        raise TableError(unknown_column(unknown[0], kinds))
    if limit_rows is not None and len(frame) > limit_rows:
        raise TableError(f"The file has {len(frame):,} rows; up to {limit_rows:,} are predicted at once. Split it.")
    for finding in table.findings:
        if finding.code == LOST:
            raise TableError(f"Rows are predicted in their order, so no row may be missing. {finding.message}")
    notes = [finding.message for finding in table.findings if finding.code == NOTED]
    notes += _unread_notes(table, like, strict=strict)
    unused = [name for name in names if name not in (*needed, like.target) and kinds.get(name) != "text"]
    if unused:
        which = "it" if len(unused) == 1 else "them"
        notes.append(f"Not used, because the adapter was trained without {which}: {listed(unused)}.")
    return NewRows(frame, tuple(notes))


def _unread_notes(table: Table, like: ReadAs, *, strict: bool) -> Iterator[str]:
    """Yields a sentence for each column with cells that were read as missing or in a doubtful way."""
    units, kinds = dict(like.reading.units), like.kinds
    names = [name for name in (*like.features, like.target) if name in table.frame and name in kinds]
    unread = {finding.column for finding in table.findings if finding.code == UNREAD}
    for name in names:
        large = table.frame[name].dtype.kind == "f" and int((table.frame[name].abs() >= LARGEST).sum())
        if not large and name not in unread:
            continue
        what = _HOLDS[kinds[name]] + (f", alone or with the unit {units[name]!r}" if name in units else "")
        if strict and name in like.features:
            raise TableError(misfit(name, "other values", what))
        yield f"Cells of {name!r} that are not {what} were read as missing."
    for name, cells in ((column.name, column.examples) for column in table.columns if column.name in names):
        shares = units.get(name) == "%" and not any("%" in cell for cell in cells)
        if shares and 0 < (most := table.frame[name].abs().max()) <= 1:
            yield f"{name!r} has % in the table and here at most {most:g}. Write shares with %: 12% and not 0.12."


def _laid_out(source: Path | bytes, like: ReadAs, limit_bytes: int) -> Table:
    """Reads the rows with the layout of the adapter's table or, if that does not fit, with a detected layout.

    Columns of a table without a header are known by their place, or by its made-up names in the first line.
    """
    kinds = tuple((name, like.kinds[name]) for name in (*like.features, like.target) if name in like.kinds)
    own = replace(like.reading, rows=None, drop_copies=False, skip_last=0, kinds=kinds)
    detected = replace(own, encoding=None, delimiter=None, sheet=None)
    refused: TableError | None = None
    tables: list[Table] = []
    named = [replace(choices, header=True) for choices in (own, detected) if own.header is False]
    for choices in (*named, own, detected):
        try:
            table = read_table(source, choices, limit_bytes=limit_bytes, fewest=1)
        except TableError as error:
            refused = error
            continue
        misread = own.header is False and any(finding.code == UNREAD for finding in table.findings)
        if {*like.features} <= {*table.frame.columns} and not misread:
            return table
        tables += [table] if choices.header == own.header else []
    if tables:
        return tables[0]
    if not isinstance(refused, LayoutError | None):
        raise refused
    alone = " A text file with one column needs a second one, which may be empty." if len(like.features) == 1 else ""
    raise TableError(f"The file cannot be read as rows: its lines do not have the same number of cells.{alone}")


def _check_columns(names: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        pairs = [(name, nearest(name, names)) for name in missing[:5]]
        lacking = ", ".join(repr(name) + f" (did you mean {near!r}?)" * bool(near) for name, near in pairs)
        lacking += f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        lack = f"The rows lack {len(missing)} of the {len(needed)} columns that the adapter predicts from"
        raise TableError(f"{lack}: {lacking}. The file has: {listed(names, 20)}.")


def unknown_column(name: str, known: Iterable[str]) -> str:
    """Returns the error text for a column that the adapter's table does not have."""
    near = nearest(name, known)
    way_out = f"Did you mean {near!r}?" if near else "Leave it out."
    return f"The table of the adapter has no column {shorten(name, LONGEST_SHOWN)!r}. {way_out}"


def misfit(name: str, found: str, what: str) -> str:
    """Returns the error text for a cell that is not of its column's kind."""
    return f"{name!r} holds {found}, but must hold {what}. Leave unknown values empty (null in JSON)."


def labels_like(frame: pd.DataFrame, run: RunSettings, classes: Sequence[str]) -> NDArray[np.object_]:
    """Returns the target of rows in the adapter's terms, None where missing: a class, or a number if there are none.

    Numbers are split at the median of the adapter's own table, which is in its class names. If its run merged rare
    classes, every class that it does not name counts as the merged one.
    """
    column = frame[run.target]
    if not classes:
        return label_numbers(column)
    if run.split_at_median:
        low, high = sorted(classes)  # "<= 5", "> 5"
        values = numbers(column)
        halves = np.where(values > float(high.removeprefix("> ")), high, low).astype(object)
        halves[np.isnan(values)] = None
        return halves
    place_N, named = places(present(column), classes), words(column)
    if run.group_rare_classes and OTHER in classes:
        named[[label is not None for label in named]] = OTHER
    return np.where(place_N >= 0, np.array(classes, dtype=object)[place_N], named)


def row_keys(frame: pd.DataFrame, kinds: Mapping[str, str], names: Sequence[str]) -> pd.Series:
    """Returns a hash per row, equal for equal values in the columns ``names``, whatever type stores them."""
    read: dict[str, Callable[[pd.Series], NDArray[Any]]] = {"number": numbers, "date": moments, "datetime": moments}
    columns = {name: (read.get(kinds[name]) or words)(frame[name]) for name in names}
    return pd.util.hash_pandas_object(pd.DataFrame(columns, index=frame.index), index=False)


def keep_rows(home: Path, frame: pd.DataFrame) -> str:
    """Writes rows for a job to take, and returns their new id."""
    identity = secrets.token_hex(8)
    folder = home / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / f"{identity}.parquet")
    return identity


def asked_rows(home: Path, identity: str, folder: Path) -> pa.Table | None:
    """Returns the rows that a job with this folder was asked to predict; None if they are gone."""
    for path in (home / "inputs" / f"{identity}.parquet", folder / ROWS):  # in the order in which the rows move
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            return pq.read_table(path, partitioning=None)
    return None


def forget_rows(home: Path, *, older_than_seconds: float) -> None:
    """Removes older rows that no job has taken."""
    for left in (home / "inputs").glob("*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > older_than_seconds:
                left.unlink()


def take_rows(home: Path, identity: str, folder: Path) -> pd.DataFrame:
    """Moves the rows into the folder of the job that asked for them, and loads them.

    Raises TableError where no rows have that id.
    """
    kept, mine = home / "inputs" / f"{identity}.parquet", folder / ROWS
    if not ID.fullmatch(identity) or not (kept.is_file() or mine.is_file()):
        raise TableError("The rows to predict are gone. Give them again.")
    if kept.is_file():
        kept.replace(mine)
    frame: pd.DataFrame = pq.read_table(mine, partitioning=None).to_pandas()
    return frame
