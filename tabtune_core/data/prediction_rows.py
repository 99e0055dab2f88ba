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

from tabtune_core.data.encoding import LARGEST, NUMBERS, FeatureEncoder, label_numbers
from tabtune_core.data.findings import ReadAs, ReadingChoices, shorten
from tabtune_core.data.merged_classes import grouped_in
from tabtune_core.data.reading.number_formats import PERCENT
from tabtune_core.data.table import Table, read_table
from tabtune_core.data.values import moments, numbers, places, present, words
from tabtune_core.errors import LayoutError, TableError, nearest
from tabtune_core.settings import RunSettings
from tabtune_core.wording import counted, few

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
NO_ROWS = {
    "comment-lines": "Remove comments, or put a cell that starts with '#' in quotes.",
    "drawn-lines": "Remove them.",
}
"""Findings about lines that are not rows, and what to do if each line must be one."""
SAID = (
    "short-lines",
    "note-rows",
    "total-row",
    *NO_ROWS,
    "mixed-decimal-marks",
    "no-results",
    "hidden-cells",
    "formula-errors",
)
"""Findings that change what is predicted."""
LOST = ("open-quote", "ragged-lines", "table-above")
"""Findings that change the number of rows; so do those in NO_ROWS, which are refused if strict."""
UNREAD = ("not-numbers", "bad-cells", "infinite")
"""Findings about cells that became missing because they do not fit the kind of their column."""
DOUBTFUL = ("seconds", "other-order")
"""Findings about cells of a column that may mean something else."""
LONGEST_SHOWN = 200
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
    all_rows = replace(like.reading, rows=None, drop_copies=False, drop_totals=False, skip_last=0)
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
    if strict and (other := next((finding for finding in typed.findings if finding.code in NO_ROWS), None)):
        raise TableError(f"Each line must be a row. {other.message} {NO_ROWS[other.code]}")
    if missing := [finding.message for finding in typed.findings if finding.code in LOST]:
        raise TableError(
            "Rows are predicted in their order, so no row may be missing. "
            f"{missing[0].replace(' if they matter.', '.')}"
        )
    notes = [finding.message for finding in typed.findings if finding.code in SAID]
    large = []
    for name in (name for name in typed_names if kinds[name] == "number"):
        if count := int((np.abs(typed.frame[name].to_numpy(dtype=float, na_value=np.nan)) >= LARGEST).sum()):
            notes.append(f"{counted(count, 'cell')} of {name!r} with a number of 1e100 or more: read as missing.")
            large.append(name)
    of_column = [(name, finding) for finding in typed.findings if (name := finding.column or "") in typed_names]
    unread = dict.fromkeys(name for name, finding in of_column if finding.code in UNREAD)
    marked = {name: finding.message for name, finding in of_column if finding.code == "marks"}
    units = {name: f", alone or with the unit {unit!r}," for name, unit in like.reading.units}
    if strict and (wrong := [name for name in (*unread, *marked, *large) if name in needed]):
        raise TableError(
            misfit(wrong[0], "other values", _HOLDS[kinds[wrong[0]]] + units.get(wrong[0], "").rstrip(","))
        )
    notes += [*marked.values(), *(finding.message for _, finding in of_column if finding.code in DOUBTFUL)]
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

    Rows of a table without a header may have its made-up names in their first line; else their number of columns must
    be right.
    """
    refused: TableError | None = None
    found: list[Table] = []
    needed, by_place = set(like.features), own.header is False and {*like.kinds} == {*_made_up(len(like.kinds))}
    header = own.header or (False if by_place else None)
    found_out = replace(own, encoding=None, delimiter=None, header=header, header_lines=None, sheet=None)
    one_line = [replace(own, header_lines=1)] * ((own.header_lines or 1) > 1)  # first, since all columns must be there
    named = [replace(choices, header=True) for choices in (own, found_out)] * by_place
    for choices in (*one_line, own, *named, found_out):
        try:
            table = read_table(source, choices, limit_bytes=limit_bytes, fewest=1)
        except TableError as error:
            refused = error
            continue
        if (
            by_place
            and table.reading.delimiter == " " != own.delimiter
            and not any(like.kinds[name] in _HOLDS for name in needed)
        ):
            continue  # words with blanks, which nothing tells from cells
        if choices in named:
            fits = not any(finding.code == "empty-names" and finding.column in needed for finding in table.findings)
        else:  # "1,5;2,5" has three cells at ",", but they are not numbers
            fits = not by_place or (_is_as_wide(table, like) and not _is_titled(table, like) and _is_read(table, like))
        if needed <= set(table.frame.columns) and fits:
            return table
        if choices not in (*one_line, *named):
            found.append(table)
    if found:
        return _by_place(found, like) if by_place else found[0]
    if refused is not None and not isinstance(refused, LayoutError):
        raise refused
    alone = " A text file with one column needs a second one, which may be empty." if len(needed) == 1 else ""
    raise TableError(
        "The file cannot be read as rows: its lines do not have the same number of cells, whatever separates "
        f"them.{alone}"
    )


def _made_up(width: int) -> list[str]:
    """Returns the names of the columns of a table without a header."""
    return [f"column_{place + 1}" for place in range(width)]


def _is_titled(rows: Table, like: ReadAs) -> bool:
    """Whether the first row holds a name of the adapter's table."""
    return any(column.examples and column.examples[0] in like.kinds for column in rows.columns)


def _is_read(rows: Table, like: ReadAs) -> bool:
    """Whether each cell of the columns of numbers, dates and times that the adapter knows can be read as such."""
    return not any(
        finding.code in UNREAD and finding.column in (*like.features, like.target) for finding in rows.findings
    )


def _is_as_wide(rows: Table, like: ReadAs) -> bool:
    """Whether rows without names have the columns of the adapter's table, or all but the target if it is the last.

    Columns without values at the end may be the table's or further ones.
    """
    whole, most = (
        len(like.kinds),
        len(rows.columns) + any(finding.code == "trailing-separator" for finding in rows.findings),
    )
    least = max((place for place, column in enumerate(rows.columns, 1) if column.missing < len(rows.frame)), default=0)
    return least <= whole <= most or (like.target == f"column_{whole}" and least <= whole - 1 <= most)


def _by_place(found: Sequence[Table], like: ReadAs) -> Table:
    """Returns the first of several readings that is as wide as the adapter's table without names; raises TableError if
    none is, or only one with cells that cannot be read while another can.
    """
    names, whole = [str(name) for name in found[0].frame.columns], len(like.kinds)
    if names != _made_up(len(names)):
        return found[0]  # of a file with names of its own, such as Parquet
    way_out = (
        f"Write all columns in their order, or the names column_1 to column_{whole} of those that you have in "
        "the first line."
    )
    if any(_is_titled(table, like) for table in found):
        told = (
            "The first line holds names of the adapter's table, but not one for each column, or not all that it "
            "predicts from"
        )
        raise TableError(f"{told}. {way_out}")
    read = [table for table in found if _is_read(table, like)] or found
    wide = [table for table in read if _is_as_wide(table, like)]
    if wide:
        return wide[0]
    without = (
        f", or {whole - 1:,} without {like.target!r}, which is predicted" if like.target == f"column_{whole}" else ""
    )
    told = f"The file has {counted(len(read[0].columns), 'column')}, but rows to predict need {whole:,}{without}"
    raise TableError(f"{told}: the adapter's table has no header, so columns are known by their place. {way_out}")


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
        f"{', '.join(lacking)}{more}. "
        f"The file has: {listed(names, 20)}. Use a file with the columns of the table, or an adapter trained on a "
        "table like this file."
    )


def unknown_column(name: str, known: Iterable[str]) -> str:
    """Returns the error text for a column that the adapter's table does not have."""
    near = nearest(name, known)
    way_out = f"Did you mean {near!r}?" if near else "Leave it out."
    return f"The table of the adapter has no column {shorten(name, LONGEST_SHOWN)!r}. {way_out}"


def misfit(name: str, found: str, what: str) -> str:
    """Returns the error text for a cell that is not of its column's kind."""
    return f"{name!r} holds {found}, but must hold {what}. Leave unknown values empty (null in JSON)."


def unknown_categories(frame: pd.DataFrame, encoder: FeatureEncoder) -> Iterator[str]:
    """Yields a sentence for each column with words that the context does not contain."""
    for name, new, _ in encoder.unknown(frame):
        if new:
            hold = "holds" if len(new) == 1 else "hold"
            shown = f"{counted(len(new), 'row')} {hold} {listed(list(dict.fromkeys(new)))} in {name!r}"
            yield f"{shown}, which the context rows do not contain: read as missing."


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
    """Returns a hash per row, equal for rows with the same values in the columns ``names``, whatever type stores them."""  # noqa: E501
    read: dict[str, Callable[[pd.Series], NDArray[Any]]] = {"number": numbers, "date": moments, "datetime": moments}
    columns = {name: (read.get(kinds[name]) or words)(frame[name]) for name in names}
    return pd.util.hash_pandas_object(pd.DataFrame(columns, index=frame.index), index=False)


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    """Lists names in quotes, at most ``most`` of them and LONGEST_SHOWN letters of each."""
    return few([repr(shorten(name, LONGEST_SHOWN)) for name in names], most)


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
            return pq.read_table(path)
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
    frame: pd.DataFrame = pq.read_table(mine).to_pandas()
    return frame
