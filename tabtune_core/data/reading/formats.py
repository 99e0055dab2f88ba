"""Converts workbooks, Feather and JSON files to text or Parquet, which the next steps read.

First step of reading, after ``decoding`` has unpacked a file. In: a plain file. Out: the same table as CSV or Parquet,
and findings.
"""

import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from tabtune_core.data.findings import Finding, Question, ReadingChoices, shorten
from tabtune_core.data.reading.decoding import BYTE_ORDER_MARKS, decode, read_head
from tabtune_core.data.reading.dialect import MAX_COLUMNS
from tabtune_core.data.reading.parquet import check_size
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sql import first_row
from tabtune_core.data.reading.unpacking import FEATHER, JSON
from tabtune_core.data.reading.workbook import is_workbook, sheet_as_text
from tabtune_core.errors import TableError


def readable(path: Path, job: Job) -> tuple[Path, ReadingChoices, tuple[Finding, ...], tuple[Question, ...]]:
    """Returns the file itself, or its conversion, and how to read it.

    Raises TableError where it is damaged or unpacks beyond the limit.
    """
    head, choices = read_head(path), job.choices
    if is_workbook(path, head):
        text = job.folder / "sheet.csv"
        findings, questions = sheet_as_text(path, text, job)
        return text, replace(choices, encoding="utf-8", delimiter=","), findings, questions
    if head.startswith(FEATHER):
        return feather_as_parquet(path, job), choices, (), ()
    if JSON.match(head):
        return json_as_parquet(path, job), choices, (), ()
    marked = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if marked and JSON.match(head.decode(marked, "ignore").encode()):
        plain = job.folder / "plain.json"
        _, findings, _ = decode(path, plain, None)
        return json_as_parquet(plain, job), choices, findings, ()
    return path, choices, (), ()


def feather_as_parquet(path: Path, job: Job) -> Path:
    """Converts an Arrow or Feather file, batch by batch."""
    target, size = job.folder / "feather.parquet", 0
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            schema = pa.schema([field.with_type(storable(field.type)) for field in file.schema], file.schema.metadata)
            with pq.ParquetWriter(target, schema) as writer:
                for place in range(file.num_record_batches):
                    batch = file.get_batch(place)
                    size += batch.nbytes
                    check_size(size, job.limit_bytes, "Feather")
                    columns = [
                        one
                        if one.type == kind
                        else pa.DictionaryArray.from_arrays(one.indices, one.dictionary.cast(kind.value_type))
                        for one, kind in zip(batch.columns, schema.types, strict=True)
                    ]
                    writer.write_batch(pa.record_batch(columns, schema))
                    job.tell("Unpacking megabytes", size // 1_000_000, 0)
    except pa.ArrowNotImplementedError as error:
        raise TableError(
            f"The Feather file holds a column that cannot be read ({shorten(str(error), 120)}). Leave it out."
        ) from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TableError(
            f"The Feather file is damaged ({shorten(str(error), 120)}). Write it again, or save it as CSV."
        ) from error
    return target


def storable(kind: pa.DataType) -> pa.DataType:
    """Returns the type in which Parquet holds a column: the words of Polars' categories as plain strings."""
    is_view = pa.types.is_dictionary(kind) and kind.value_type == pa.string_view()
    return pa.dictionary(kind.index_type, pa.string(), kind.ordered) if is_view else kind


def json_as_parquet(path: Path, job: Job) -> Path:
    """Converts JSON with one object per row, as lines or as one list; the cells are text, unchanged.

    DuckDB's reader of objects keeps names that differ only in capitals apart; its reader of tables does not.
    """
    job.tell("Reading JSON", 0, 0)
    target, file = job.folder / "json.parquet", {"path": str(path)}
    objects = "(SELECT json, row_number() OVER () AS place FROM read_json_objects($path))"
    keys = (
        "(SELECT unnest(json_keys(json)) AS key, generate_subscripts(json_keys(json), 1) AS entry, place FROM "
        f"{objects})"
    )
    try:
        found = job.connection.execute(
            f"SELECT key FROM {keys} GROUP BY key ORDER BY min((place, entry))", file
        ).fetchall()
        names = [name for (name,) in found]
        if len(names) > MAX_COLUMNS:
            raise TableError(f"The objects have {len(names):,} entries; at most {MAX_COLUMNS:,} columns are read.")
        others_sql = "count(*) FILTER (json_type(json) NOT IN ('OBJECT', 'NULL'))"
        doubled_sql = "any_value(json_keys(json)) FILTER (len(json_keys(json)) > len(list_distinct(json_keys(json))))"
        checks = f"SELECT count(*), {others_sql}, {doubled_sql} FROM read_json_objects($path)"
        rows, others, doubled = first_row(job.connection, checks, file)
        if others or not names:
            raise duckdb.Error("JSON Error: it has rows that are not objects with entries")
        if doubled:
            twice = next(name for name in doubled if doubled.count(name) > 1)
            raise duckdb.Error(f"JSON Error: an object has the entry {twice!r} twice")
        pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
        cells = ", ".join(f"cells[{place}] AS c{place}" for place in range(1, len(names) + 1))
        query = (
            f"SELECT {cells} FROM (SELECT json_extract_string(json, $pointers) AS cells FROM read_json_objects($path))"
        )
        with pq.ParquetWriter(target, pa.schema([(name, pa.string()) for name in names])) as writer:
            for batch in job.connection.sql(query, params=file | {"pointers": pointers}).to_arrow_reader():
                only = [str(column[0]) for column in batch.columns] if rows == 1 else [""]
                if inside := [name for name, cell in zip(names, only, strict=False) if cell.startswith("[{")]:
                    raise duckdb.Error(f"JSON Error: its rows seem to be the list in {inside[0]!r}")
                if only[0].startswith(("[", "{")):
                    raise duckdb.Error("JSON Error: the whole file is one object")
                writer.write_batch(batch.rename_columns(names))
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException):
            raise
        reason = re.sub(r'in file ".*?"', "", str(error).splitlines()[0].partition(": ")[2])
        raise TableError(
            f"The file is JSON, but not one object per row with an entry for each column ({shorten(reason, 120)})."
            " Save it in that form (pandas: frame.to_json(path, orient='records', date_format='iso')), or as CSV."
        ) from error
    return target
