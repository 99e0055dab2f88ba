"""Reads a file into a typed table, with findings about it and questions that it leaves open.

The start of the data path; the steps are in ``reading/``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tabtune_core.data.findings import Column, Finding, Kind, Question, ReadingChoices, absent, shorten
from tabtune_core.data.reading import batched_queries
from tabtune_core.data.reading.batched_queries import Asking, among, places_by
from tabtune_core.data.reading.cells import FEWEST, Cells, without_rows
from tabtune_core.data.reading.column_profile import Facts, describe, facts_of
from tabtune_core.data.reading.dates import MEANS, ORDERS, as_date, each_date
from tabtune_core.data.reading.decoding import decode
from tabtune_core.data.reading.formats import plain_file
from tabtune_core.data.reading.layout import find_layout
from tabtune_core.data.reading.numbers import as_number, ask_about_points, decimal_commas, each_number
from tabtune_core.data.reading.progress import Job, Tell, untold
from tabtune_core.data.reading.sql import Connection, connect, hold_cells, translated
from tabtune_core.data.reading.text_rows import load_text
from tabtune_core.data.reading.typed_rows import load_json, load_parquet
from tabtune_core.data.reading.words import Typed, as_words
from tabtune_core.data.reading.workbook import sheet_as_text
from tabtune_core.errors import LayoutError
from tabtune_core.scratch import scratch_folder

__all__ = ["LIMIT_BYTES", "Column", "Finding", "Kind", "Question", "ReadingChoices", "Table", "read_table"]

LIMIT_BYTES = 1_000_000_000
SAMPLE_CELLS = 2_000
EXAMPLE_CELLS, EXAMPLES = 1_000, 3
"""A column's examples are the first EXAMPLES different cells of its first EXAMPLE_CELLS."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it was read."""

    frame: pd.DataFrame
    """Numbers as float64, dates as datetime64, times as Python objects, else text; NaN, NaT or None where missing."""
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
    """Reads a CSV (any usual separator and encoding, also zipped or gzipped), Parquet, JSON lines, or a sheet.

    Args:
        source: the file.
        choices: what the person decided; everything else is detected.
        limit_bytes: most bytes of the file and of its unpacked content; of a sampled text, the limit of the sample.
        fewest: fewest rows and columns; 1 for rows to predict, where blank rows are kept.
        inside: folder for temporary files, up to a few times ``limit_bytes``; the system's own unless given.
        sample: file that receives the rows sampled from a text, as CSV in UTF-8 with the same separator.
        tell: is called with the progress.

    Raises:
        TableError: the file is not a readable table.
    """
    with scratch_folder(inside) as folder, translated(), connect(folder) as connection:
        job = Job(connection, folder, choices, limit_bytes=limit_bytes, fewest=fewest, tell=tell)
        path, kind = plain_file(Path(source) if isinstance(source, str) else source, job)
        used, asked, own = choices, list[Question](), None
        if kind == "parquet":
            cells = load_parquet(path, job)
        else:
            given, text = choices, folder / "text.csv"
            if kind == "workbook":
                asked += sheet_as_text(path, folder / "sheet.csv", job)
                path, given = folder / "sheet.csv", replace(choices, encoding="utf-8", delimiter=",")
            tell("Decoding the text", 0, 0)
            encoding, about_text = decode(path, text, given.encoding, to_predict=fewest == 1)
            asked += about_text
            used = replace(choices, encoding=encoding)
            if kind == "json":
                cells = load_json(text, job)
            else:
                tell("Finding the layout", 0, 0)
                layout = find_layout(connection, text, given)
                tell("Splitting lines into cells", 0, 0)
                hold_cells(connection, folder, layout.width)
                cells = load_text(text, layout, job, sample=sample or folder / "sample.csv")
                used = replace(used, delimiter=layout.delimiter, header=layout.header)
                own = kind == "text" if choices.delimiter is not None else fewest > 1
        cells = without_rows(cells, job)
        table = finish(cells, replace(job, choices=used), asked, own=own)
    return table if own is None or choices.header is not None else ask_about_header(table, cells)


def finish(cells: Cells, job: Job, asked: Sequence[Question], *, own: bool | None) -> Table:
    """Types the cells, describes the columns and takes the frame out of the database; the table also has ``asked``.

    ``own`` says that the file has the layout that ``choices`` describe; any other file has decimal commas only if it
    shows some itself; it is None for a typed file, whose numbers have points.
    """
    choices, known = job.choices, dict(job.choices.kinds)
    for name in known.keys() - {*cells.names} if job.fewest > 1 else ():  # of rows to predict, the caller names all
        raise LayoutError(absent(name, cells.names))
    commas = decimal_commas(cells, job, own=own)
    typed, facts, taken, dashes = type_columns(cells, job, commas)
    described, findings, questions = describe(job.connection, cells, typed, facts)
    by_name = dict(zip(cells.names, typed, strict=True))
    orders = {name: kind.day_first for name, kind in by_name.items() if kind.day_first is not None}
    first = next((order for order in ORDERS if order in orders.values()), None)
    day_first = first if choices.day_first is None else choices.day_first
    job.tell("Building the table", 0, 0)
    frame = as_frame(taken, cells.names)
    about_points = ask_about_points(by_name) if own is not None and job.fewest > 1 else ()
    numbers = {name: kind for name, kind in by_name.items() if kind.kind == "number"}
    chosen = {name: comma for name, comma in choices.decimal_commas if name in numbers}
    marks = {name: commas.get(name) or kind.decimal_comma for name, kind in numbers.items()}
    used = replace(
        choices,
        day_first=day_first,
        date_orders=tuple((name, order) for name, order in orders.items() if order != day_first),
        units=tuple((name, kind.unit) for name, kind in by_name.items() if kind.unit),
        decimal_commas=tuple((chosen | {name: mark for name, mark in marks.items() if mark is not None}).items()),
        dashes=tuple(dashes),
    )
    return Table(frame, described, (*cells.findings, *findings), (*asked, *about_points, *questions), used)


def type_columns(
    cells: Cells, job: Job, commas: dict[str, bool]
) -> tuple[list[Typed], list[Facts], list[pa.ChunkedArray], list[str]]:
    """Types the columns in groups; returns type, facts and values of each, and the columns where a dash is a word."""
    connection, choices = job.connection, job.choices
    typed, facts, taken, dashes = list[Typed](), list[Facts](), list[pa.ChunkedArray](), list[str]()
    for start, end in batched_queries.groups(len(cells.names), cells.rows):
        job.tell("Looking at columns", start, len(cells.names))
        batched_queries.hold_batch(connection, start, end)
        names = cells.names[start:end]
        known_dashes = [place for place, name in enumerate(names) if name in choices.dashes]
        dashes += [names[place] for place in sorted(batched_queries.worded_dashes(connection, known_dashes))]
        firsts = batched_queries.first_cells(connection, end - start, SAMPLE_CELLS)
        samples = [list(dict.fromkeys(first)) for first in firsts]
        works = [type_column(name, sample, job, commas.get(name)) for name, sample in zip(names, samples, strict=True)]
        for kind, first in zip(batched_queries.answered(connection, works, samples), firsts, strict=True):
            different = list(dict.fromkeys(first[:EXAMPLE_CELLS]))
            typed.append(replace(kind, examples=tuple(map(shorten, different[:EXAMPLES]))))
        facts += facts_of(connection, typed[start:])
        taken += values_of(connection, typed[start:], cells.rows)
    return typed, facts, taken, dashes


def type_column(name: str, sample: list[str], job: Job, decimal_comma: bool | None) -> Asking[Typed]:
    """Decides what a column holds by its ``sample`` of distinct cells; those of rows to predict are read one by one."""
    choices, to_predict = job.choices, job.fewest == 1
    asked = dict(choices.kinds).get(name)
    day_first = dict(choices.date_orders).get(name, choices.day_first)
    unit, comma_first = dict(choices.units).get(name), choices.delimiter == ";"
    if to_predict and asked in ("date", "datetime"):
        return (yield from each_date(name, asked, day_first))
    if to_predict and asked == "number":
        return (yield from each_number(name, unit=unit, comma_first=comma_first, decimal_comma=decimal_comma))
    if asked in MEANS or (asked is None and sample):
        dated = yield from as_date(name, sample, day_first, asked=asked)
        if dated is not None:
            return dated
    if asked == "number" or (asked is None and sample):
        marks: dict[str, Any] = {"unit": unit, "comma_first": comma_first, "decimal_comma": decimal_comma}
        return (yield from as_number(name, sample, forced=asked is not None, **marks))
    return Typed(asked, "cell") if asked is not None else (yield from as_words())


def values_of(connection: Connection, typed: Sequence[Typed], rows: int) -> list[pa.ChunkedArray]:
    """Returns the values of each column of ``batch``, in the order of the rows."""
    arrays: dict[int, pa.ChunkedArray] = {}
    for value, places in places_by(enumerate(kind.value for kind in typed)).items():
        query = f"SELECT {value} FROM batch WHERE {among(places)} ORDER BY place, number"
        values = connection.sql(query).to_arrow_table().column(0)
        arrays |= {place: values.slice(at * rows, rows) for at, place in enumerate(places)}
    return [arrays[place] for place in range(len(typed))]


def as_frame(columns: list[pa.ChunkedArray], names: Sequence[str]) -> pd.DataFrame:
    """Returns the typed columns as one frame, and empties the list so that no column stays in memory twice."""
    arrow = pa.table(columns, names=[f"c{place}" for place in range(len(columns))])
    columns.clear()
    frame: pd.DataFrame = arrow.to_pandas(split_blocks=True, self_destruct=True)
    frame.columns = pd.Index(names)
    return frame


def ask_about_header(table: Table, cells: Cells) -> Table:
    """Asks whether the first line is a header, where names and values look alike or no header was found."""
    if not table.reading.header:
        message = "No header was found, as the first line looks like the others: columns are called column_1, column_2."
        question = Question("header", f"{message} If it holds the names, say so.", ("false", "true"))
        return replace(table, questions=(question, *table.questions))
    recurring = [one.kind == "category" and one.unique * 10 <= len(table.frame) for one in table.columns]
    named = any(
        column.kind in ("number", "boolean", *MEANS) or (recurs and not (table.frame[column.name] == name).any())
        for name, column, recurs in zip(cells.header, table.columns, recurring, strict=True)
    )
    codes = {finding.code for finding in table.findings} | {question.field for question in table.questions}
    if named or codes & {"missing_marks", "kept-as-text"}:
        return table
    names = ", ".join(name or "" for name in cells.header)[:80]
    message = f"All cells are words, so the first line ({names}) may hold names or values; it was read as names."
    return replace(table, questions=(Question("header", message, ("true", "false")), *table.questions))
