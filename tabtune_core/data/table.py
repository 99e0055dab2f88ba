"""Reads a file into a typed table, with findings about it and questions that it leaves open.

The start of the data path. In: a file, as a path or bytes, and the person's choices. Out: a ``Table``. The steps are in
``reading/``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from tabtune_core.data.findings import Column, DateOrder, Finding, Kind, Question, ReadingChoices, Told, shorten
from tabtune_core.data.reading.batched_queries import (
    Asking,
    among,
    answered,
    first_cells,
    groups,
    hold_batch,
    places_by,
    worded_dashes,
)
from tabtune_core.data.reading.cells import FEWEST, Cells, without_copies, without_last
from tabtune_core.data.reading.column_profile import Facts, describe, facts_of
from tabtune_core.data.reading.date_formats import ORDERS
from tabtune_core.data.reading.dates import MEANS, as_date, each_date
from tabtune_core.data.reading.decimal_marks import DecimalMarks
from tabtune_core.data.reading.decoding import decode
from tabtune_core.data.reading.formats import plain_file
from tabtune_core.data.reading.layout import find_layout
from tabtune_core.data.reading.numbers import as_number, each_number
from tabtune_core.data.reading.progress import Job, Tell, untold
from tabtune_core.data.reading.sql import connect, hold_cells, translated
from tabtune_core.data.reading.text_rows import load_text
from tabtune_core.data.reading.typed_rows import load_json, load_parquet
from tabtune_core.data.reading.words import Typed, as_words
from tabtune_core.data.reading.workbook import sheet_as_text
from tabtune_core.errors import LayoutError, nearest
from tabtune_core.scratch import scratch_folder

SAMPLE_CELLS = 2_000
EXAMPLE_CELLS, EXAMPLES = 1_000, 3
"""A column's examples are the first EXAMPLES different cells of its first EXAMPLE_CELLS."""


def type_column(
    name: str,
    sample: list[str],
    *,
    comma_first: bool,
    day_first: DateOrder | None,
    asked: Kind | None,
    unit: str | None,
    decimal_comma: bool | None,
    to_predict: bool,
) -> Asking[Typed]:
    """Decides what a column holds; ``to_predict`` says that it is a column of rows to predict, whose cells are read one
    by one.

    ``sample`` are the distinct ones of its first SAMPLE_CELLS values. ``asked`` is the kind that the person chose.
    ``unit`` (the unit after its numbers) and ``decimal_comma`` are known from an earlier reading, or None;
    ``comma_first`` says which is more likely.
    """
    if to_predict and asked in ("date", "datetime"):
        return (yield from each_date(name, asked, day_first))
    if to_predict and asked == "number":
        return (yield from each_number(name, unit=unit, comma_first=comma_first, decimal_comma=decimal_comma))
    if asked in MEANS or (asked is None and sample):
        dated = yield from as_date(name, sample, day_first, asked=asked)
        if dated is not None:
            return dated
    if asked == "number" or (asked is None and sample):
        forced = asked == "number"
        return (
            yield from as_number(
                name, sample, forced=forced, unit=unit, comma_first=comma_first, decimal_comma=decimal_comma
            )
        )
    return Typed(asked, "cell") if asked is not None else (yield from as_words())


__all__ = ["LIMIT_BYTES", "Column", "Finding", "Kind", "Question", "ReadingChoices", "Table", "read_table"]

LIMIT_BYTES = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read."""

    frame: pd.DataFrame
    """Numbers as float64, dates as datetime64, times of day as Python objects, all else as text; NaN, NaT or None where
    missing.
    """
    columns: tuple[Column, ...]
    """In the order of the frame."""
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]
    reading: ReadingChoices
    """The choices as used: where the person left one open, it holds what was detected."""


def read_table(
    source: Path | str | bytes,
    choices: ReadingChoices = ReadingChoices(),  # noqa: B008 (frozen)
    *,
    limit_bytes: int = LIMIT_BYTES,
    fewest: int = FEWEST,
    inside: Path | None = None,
    sample: Path | None = None,
    tell: Tell = untold,
) -> Table:
    """Reads a CSV (any usual separator and encoding, also zipped or gzipped), a Parquet file, JSON with one object per
    row, or a sheet of a workbook.

    Args:
        source: the file.
        choices: what the person decided; everything else is detected.
        limit_bytes: most bytes of the file and of its unpacked content; of a sampled text, the limit of the sample.
        fewest: fewest rows and columns; 1 for rows to predict, where blank rows are kept.
        inside: folder for temporary files, up to a few times ``limit_bytes``; the system's own unless given.
        sample: file that receives the rows sampled from a text, as CSV in UTF-8 with the same separator.
        tell: is called with the progress.

    Raises:
        TableError: the file is not a readable table; the text says the way out.
    """
    with scratch_folder(inside) as folder, translated(), connect(folder) as connection:
        job = Job(
            connection=connection, folder=folder, choices=choices, limit_bytes=limit_bytes, fewest=fewest, tell=tell
        )
        path, kind = plain_file(Path(source) if isinstance(source, str) else source, job)
        if kind in ("parquet", "json"):
            cells = (load_parquet if kind == "parquet" else load_json)(path, job)
            return finish(without_rows(cells, job), job, ([], []), own=None)
        asked = choices
        of_sheet: Told = ((), ())
        if kind == "workbook":
            of_sheet = sheet_as_text(path, folder / "sheet.csv", job)
            path, asked = folder / "sheet.csv", replace(choices, encoding="utf-8", delimiter=",")
        tell("Decoding the text", 0, 0)
        text = folder / "text.csv"
        encoding, of_text, about_text = decode(path, text, asked.encoding, to_predict=fewest == 1)
        tell("Finding the layout", 0, 0)
        layout = find_layout(connection, text, asked)
        tell("Splitting lines into cells", 0, 0)
        hold_cells(connection, folder, layout.width)
        cells = without_rows(load_text(text, layout, job, sample=sample or folder / "sample.csv"), job)
        used = replace(choices, encoding=encoding, delimiter=layout.delimiter, header=layout.header)
        told = ([*of_sheet[0], *of_text], [*of_sheet[1], *about_text])
        own = kind == "text" if choices.delimiter is not None else fewest > 1
        table = finish(cells, replace(job, choices=used), told, own=own)
    return table if choices.header is not None else ask_about_header(table, cells)


def without_rows(cells: Cells, job: Job) -> Cells:
    """Removes the rows that the person left out."""
    if job.choices.skip_last:
        cells = without_last(job.connection, cells, job.choices.skip_last)
    return without_copies(job.connection, cells) if job.choices.drop_copies else cells


def finish(cells: Cells, job: Job, told: Told, *, own: bool | None) -> Table:
    """Types the cells, describes the columns and takes the frame out of the database.

    Where commas are known to be decimal, "1.234" is read as 1234. ``own`` says that the file has the layout that
    ``choices`` describe; any other file is read so only if it contains decimal commas itself; it is None for a typed
    file, whose numbers have points.
    """
    connection, choices, to_predict = job.connection, job.choices, job.fewest == 1
    chosen_kinds = dict(choices.kinds)
    for name in (
        () if to_predict else chosen_kinds.keys() - set(cells.names)
    ):  # of rows to predict, the caller names all
        near = nearest(name, cells.names)
        way_out = f"Did you mean {near!r}?" if near else f"It has: {', '.join(cells.names[:20])}."
        asked = "is to be left out" if chosen_kinds[name] == "ignored" else "is to be read in another way"
        raise LayoutError(f"The column {name!r} {asked}, but the table has no such column. {way_out}")
    marks = DecimalMarks.of(cells, job, own=own)
    typed, facts, taken, dashes = type_columns(cells, job, marks)
    findings, questions = told
    described, (of_columns, raised) = describe(connection, cells, typed, facts)
    orders = {name: kind.day_first for name, kind in zip(cells.names, typed, strict=True) if kind.day_first is not None}
    first_seen = next((order for order in ORDERS if order in orders.values()), None)
    day_first = first_seen if choices.day_first is None else choices.day_first
    others = tuple((name, first) for name, first in orders.items() if first != day_first)
    job.tell("Building the table", 0, 0)
    frame = as_frame(taken, cells.names)
    of_points, about_points = marks.told()
    all_findings = [*findings, *cells.findings, *of_points, *of_columns]
    raised = [*about_points, *raised]
    units = tuple((name, kind.unit) for name, kind in zip(cells.names, typed, strict=True) if kind.unit)
    commas = tuple(marks.recorded().items())
    known = replace(
        choices, day_first=day_first, date_orders=others, units=units, decimal_commas=commas, dashes=tuple(dashes)
    )
    return Table(frame, described, tuple(all_findings), (*questions, *raised), known)


def type_columns(
    cells: Cells, job: Job, marks: DecimalMarks
) -> tuple[list[Typed], list[Facts], list[pa.ChunkedArray], list[str]]:
    """Types the columns in groups; returns the type, facts and values of each, and the columns where a dash counts as a
    word.
    """
    connection, choices = job.connection, job.choices
    kinds, units, orders = dict(choices.kinds), dict(choices.units), dict(choices.date_orders)
    typed: list[Typed] = []
    facts: list[Facts] = []
    taken: list[pa.ChunkedArray] = []
    dashes: list[str] = []
    for start, end in groups(len(cells.names), cells.rows):
        job.tell("Looking at columns", start, len(cells.names))
        hold_batch(connection, start, end)
        known_dashes = [place for place, name in enumerate(cells.names[start:end]) if name in choices.dashes]
        dashes += [cells.names[start + place] for place in sorted(worded_dashes(connection, known_dashes))]
        firsts = first_cells(connection, end - start, SAMPLE_CELLS)
        samples = [list(dict.fromkeys(first)) for first in firsts]
        works = [
            type_column(
                name,
                sample,
                comma_first=marks.comma_first,
                day_first=orders.get(name, choices.day_first),
                asked=kinds.get(name),
                unit=units.get(name),
                decimal_comma=marks.decimal_comma(name),
                to_predict=job.fewest == 1,
            )
            for name, sample in zip(cells.names[start:end], samples, strict=True)
        ]
        for kind, first in zip(answered(connection, works, samples), firsts, strict=True):
            different = list(dict.fromkeys(first[:EXAMPLE_CELLS]))
            typed.append(replace(kind, examples=tuple(map(shorten, different[:EXAMPLES]))))
        marks.see(cells.names[start:end], typed[start:], samples)
        facts += facts_of(connection, typed[start:])
        taken += values_of(connection, typed[start:], cells.rows)
    return typed, facts, taken, dashes


def values_of(connection: duckdb.DuckDBPyConnection, typed: Sequence[Typed], rows: int) -> list[pa.ChunkedArray]:
    """Returns the values of each column of ``batch``, in the order of the rows."""
    found: dict[int, pa.ChunkedArray] = {}
    for value, places in places_by(enumerate(kind.value for kind in typed)).items():
        query = f"SELECT {value} FROM batch WHERE {among(places)} ORDER BY place, number"
        values = connection.sql(query).to_arrow_table().column(0)
        found |= {place: values.slice(at * rows, rows) for at, place in enumerate(places)}
    return [found[place] for place in range(len(typed))]


def as_frame(columns: list[pa.ChunkedArray], names: Sequence[str]) -> pd.DataFrame:
    """Returns the typed columns as one frame, and empties the list so that no column stays in memory twice."""
    arrow = pa.table(columns, names=[f"c{place}" for place in range(len(columns))])
    columns.clear()
    frame: pd.DataFrame = arrow.to_pandas(split_blocks=True, self_destruct=True)
    frame.columns = pd.Index(names)
    return frame


def names_a_column(first: str | None, values: pd.Series, kind: Kind) -> bool:
    """Whether the first cell of a column must be its name: it is of another kind than the values, or the only one that
    does not recur.
    """
    recurring = kind == "category" and values.nunique() * 10 <= len(values)
    return kind in ("number", "boolean", *MEANS) or (recurring and not (values == first).any())


def ask_about_header(table: Table, cells: Cells) -> Table:
    """Asks whether the first line is a header, where names and values look alike or no header was found."""
    if not table.reading.header:
        message = (
            "No header was found: the first line looks like the others. The columns are called column_1, column_2, ..."
        )
        finding = Finding("info", "no-header", message)
        question = Question("header", f"{message} If it holds the names, say so.", "header", ("false", "true"))
        return replace(table, findings=(finding, *table.findings), questions=(question, *table.questions))
    if any(
        names_a_column(name, table.frame[column.name], column.kind)
        for name, column in zip(cells.header, table.columns, strict=True)
    ):
        return table
    if any(finding.code in ("missing-marks", "kept-as-text") for finding in table.findings):
        return table
    names = ", ".join(name or "" for name in cells.header)[:80]
    message = f"All cells are words, so the first line ({names}) may hold names or values; it was read as names."
    return replace(table, questions=(Question("header", message, "header", ("true", "false")), *table.questions))
