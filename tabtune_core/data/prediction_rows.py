"""Reads rows to predict as the run's table was read, and stores them until a job takes them.

In: a CSV or Parquet file, the reading choices of the run's table and the kinds of its columns. Out: typed rows, and
notes about them.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tabtune_core.data.encoding import LARGEST, NUMBERS, label_numbers
from tabtune_core.data.findings import LONGEST_SHOWN, ReadAs, ReadingChoices, listed, shorten
from tabtune_core.data.merged_classes import grouped_in
from tabtune_core.data.reading.number_formats import PERCENT
from tabtune_core.data.table import Table, read_table
from tabtune_core.data.values import moments, numbers, places, present, words
from tabtune_core.errors import LayoutError, TableError, nearest
from tabtune_core.settings import RunSettings
from tabtune_core.wording import counted

LIMIT_BYTES = 50_000_000
LIMIT_ROWS = 50_000
PREDICTED, CSV = "predicted.parquet", "predictions.csv"
"""Files of a prediction job.

The first has, for the i-th model, the columns ``m<i>`` (label or number) and ``m<i>_<k>`` (k-th class).
"""
ROWS, NEAREST_ROWS = "rows.parquet", "nearest.parquet"
"""The rows to predict and their nearest context rows, in the folder of the job."""
TRUTH = "truth"
"""Column of ``PREDICTED`` with the known labels, if any."""
ID = re.compile(r"[0-9a-f]{16}")
SAID, LOST = ("short-lines", "comment-lines"), "ragged-lines"
"""Findings that change what is predicted, and the number of rows; comments are refused if strict."""
UNREAD, DOUBTFUL = "bad-cells", "ambiguous-date"
"""Findings about cells that became missing because they do not fit the kind of their column, or mean something else."""
_SHOWN = 5
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

    Raises TableError where the file cannot be read, lacks a column that the adapter predicts from, or has too many
    rows.
    """
    needed, kinds, target = like.features, like.kinds, like.target
    wanted = tuple((name, kinds[name]) for name in (*needed, target) if name in kinds)
    all_rows = replace(like.reading, rows=None, drop_copies=False, skip_last=0)
    typed = _laid_out(source, replace(all_rows, kinds=wanted), like, limit_bytes)
    names = [str(name) for name in typed.frame.columns]
    _check_columns(names, needed)
    if strict and (unknown := next((name for name in names if name not in kinds), None)) is not None:
        raise TableError(unknown_column(unknown, kinds))
    if limit_rows is not None and len(typed.frame) > limit_rows:
        raise TableError(
            f"The file has {len(typed.frame):,} rows; up to {limit_rows:,} are predicted at once. Split the file."
        )
    typed_names = [*needed, *([target] if target in names and target in kinds else [])]
    unused = [name for name in names if name not in needed and name != target and kinds.get(name) != "text"]
    if strict and (other := next((finding for finding in typed.findings if finding.code == "comment-lines"), None)):
        way_out = "Remove it, or put a cell that starts with '#' in quotes."
        raise TableError(f"Each line must be a row. {other.message} {way_out}")
    if missing := [finding.message for finding in typed.findings if finding.code == LOST]:
        told = missing[0].replace(" if they matter.", ".")
        raise TableError(f"Rows are predicted in their order, so no row may be missing. {told}")
    notes = [finding.message for finding in typed.findings if finding.code in SAID]
    large = []
    for name in (name for name in typed_names if kinds[name] == "number"):
        if count := int((np.abs(typed.frame[name].to_numpy(dtype=float, na_value=np.nan)) >= LARGEST).sum()):
            notes.append(f"{counted(count, 'cell')} of {name!r} with a number of 1e100 or more: read as missing.")
            large.append(name)
    of_column = [(name, finding) for finding in typed.findings if (name := finding.column or "") in typed_names]
    unread = dict.fromkeys(name for name, finding in of_column if finding.code == UNREAD)
    units = {name: f", alone or with the unit {unit!r}," for name, unit in like.reading.units}
    if strict and (wrong := [name for name in (*unread, *large) if name in needed]):
        raise TableError(
            misfit(wrong[0], "other values", _HOLDS[kinds[wrong[0]]] + units.get(wrong[0], "").rstrip(","))
        )
    notes += [finding.message for _, finding in of_column if finding.code == DOUBTFUL]
    notes += percent_notes(typed, typed_names, {name for name, unit in like.reading.units if unit == PERCENT})
    notes += [
        f"Cells of {name!r} that are not {_HOLDS[kinds[name]]}{units.get(name, '')} were read as missing."
        for name in unread
    ]
    if unused:
        notes.append(
            f"Not used, because the adapter was trained without {'it' if len(unused) == 1 else 'them'}: "
            f"{listed(unused)}."
        )
    return NewRows(typed.frame, tuple(notes))


def percent_notes(rows: Table, names: Collection[str], percent: Collection[str]) -> Iterator[str]:
    """Yields a sentence for each number column that may be 100 times too small or large; the table has % in the columns
    ``percent``.
    """
    for name, examples in (
        (column.name, column.examples) for column in rows.columns if column.name in names and column.kind == "number"
    ):
        shown = next((cell for cell in examples if PERCENT in cell), None)
        if shown and name not in percent:
            number = shown.replace(PERCENT, "").strip()
            yield (
                f"{shown!r} in {name!r} was read as {number}. If the adapter's table has shares, such as 0.12, "
                "write shares."
            )
        elif not shown and name in percent and 0 < (most := rows.frame[name].abs().max()) <= 1:
            told = (
                f"{name!r} has % in the adapter's table, where 12% is 12, and here no % and no number above {most:g}."
            )
            yield f"{told} If these are shares, as in workbooks, where 12% is 0.12, write them with %."


def _laid_out(source: Path | bytes, own: ReadingChoices, like: ReadAs, limit_bytes: int) -> Table:
    """Reads the rows with the layout of the adapter's table or, if that does not fit, with a detected layout.

    Columns of a table without a header are known by their place, or by its made-up names in the first line.
    """
    refused: TableError | None = None
    found: list[Table] = []
    needed, by_place = set(like.features), own.header is False and {*like.kinds} == {*_made_up(len(like.kinds))}
    header = own.header or (False if by_place else None)
    detected = replace(own, encoding=None, delimiter=None, header=header, sheet=None)
    named = [replace(choices, header=True) for choices in (own, detected)] * by_place
    for choices in (*named, own, detected):
        try:
            table = read_table(source, choices, limit_bytes=limit_bytes, fewest=1)
        except TableError as error:
            refused = error
            continue
        if by_place and table.reading.delimiter == " " != own.delimiter:
            continue  # words with blanks, which nothing tells from cells
        if choices in named:
            fits = not any(finding.code == "names" and finding.column in needed for finding in table.findings)
        else:
            fits = not by_place or _fits_by_place(table, like)
            found.append(table)
        if needed <= set(table.frame.columns) and fits:
            return table
    if found and by_place and [*found[0].frame.columns] == _made_up(len(found[0].columns)):
        raise TableError(
            f"The rows have {counted(len(found[0].columns), 'column')} that do not fit the {len(like.kinds):,} of the "
            "adapter's table, which has no header. Write all columns in their order, or their names, such as column_1, "
            "in the first line."
        )
    if found:
        return found[0]
    if refused is not None and not isinstance(refused, LayoutError):
        raise refused
    alone = " A text file with one column needs a second one, which may be empty." if len(needed) == 1 else ""
    raise TableError(f"The file cannot be read as rows: its lines do not have the same number of cells.{alone}")


def _made_up(width: int) -> list[str]:
    """Returns the names of the columns of a table without a header."""
    return [f"column_{place + 1}" for place in range(width)]


def _fits_by_place(rows: Table, like: ReadAs) -> bool:
    """Whether rows without names can be read as the columns of the adapter's table, or as all but the target, if last.

    Columns without values at the end may be the table's or further ones.
    """
    known = (*like.features, like.target)
    if any(finding.code in UNREAD and finding.column in known for finding in rows.findings):
        return False  # "1,5;2,5" has three cells at ",", but they are not numbers
    whole, most = len(like.kinds), len(rows.columns)
    least = max((place for place, column in enumerate(rows.columns, 1) if column.missing < len(rows.frame)), default=0)
    return least <= whole <= most or (like.target == f"column_{whole}" and least <= whole - 1 <= most)


def _check_columns(names: Sequence[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in names]
    if not missing:
        return
    lacking = [
        f"{name!r} (did you mean {near!r}?)" if (near := nearest(name, names)) else repr(name)
        for name in missing[:_SHOWN]
    ]
    more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
    raise TableError(
        f"The rows lack {len(missing)} of the {len(needed)} columns that the adapter predicts from: "
        f"{', '.join(lacking)}{more}. The file has: {listed(names, 20)}."
    )


def unknown_column(name: str, known: Iterable[str]) -> str:
    """Returns the error text for a column that the adapter's table does not have."""
    near = nearest(name, known)
    way_out = f"Did you mean {near!r}?" if near else "Leave it out."
    return f"The table of the adapter has no column {shorten(name, LONGEST_SHOWN)!r}. {way_out}"


def misfit(name: str, found: str, what: str) -> str:
    """Returns the error text for a cell that is not of its column's kind."""
    return f"{name!r} holds {found}, but must hold {what}. Leave unknown values empty (null in JSON)."


def labels_like(frame: pd.DataFrame, run: RunSettings, classes: Sequence[str]) -> NDArray[np.object_]:
    """Returns the target of rows in the adapter's terms, None where it is missing: a class as text, or a number if
    there are no classes.

    Numbers are split at the median of the adapter's own table, which is in its class names. If its run merged rare
    classes, every class that it does not name counts as the merged one.
    """
    column = frame[run.target]
    if not classes:
        return label_numbers(column)
    if not run.split_at_median:
        found, named = places(present(column), classes), words(column)
        if run.group_rare_classes and (group := grouped_in(classes)):
            named[[label is not None for label in named]] = group
        return np.where(found >= 0, np.array(classes, dtype=object)[found], named)
    low, high = sorted(classes)  # "<= 5", "> 5"
    values = numbers(column)
    halves = np.where(values > float(high.removeprefix("> ")), high, low).astype(object)
    halves[np.isnan(values)] = None
    return halves


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
    pq.write_table(as_kept(frame), folder / f"{identity}.parquet")
    return identity


def as_kept(frame: pd.DataFrame) -> pa.Table:
    """Returns rows as ``keep_rows`` writes them, to be compared with ``asked_rows``."""
    return pa.Table.from_pandas(frame, preserve_index=False)


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
