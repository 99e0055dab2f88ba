"""Converts workbooks, Feather and JSON files to text or Parquet, which the next steps read.

First step of reading, after ``decoding`` has unpacked a file. In: a plain file. Out: the same table as CSV or Parquet, and findings.
"""

import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from tabtune_core.data.findings import Finding, Question, ReadingChoices, shorten
from tabtune_core.data.reading.decoding import BYTE_ORDER_MARKS, FEATHER, JSON, decode, read_head
from tabtune_core.data.reading.dialect import MAX_COLUMNS
from tabtune_core.data.reading.parquet import check_size
from tabtune_core.data.reading.progress import Tell
from tabtune_core.data.reading.sql import connect
from tabtune_core.data.reading.workbook import is_workbook, sheet_as_text
from tabtune_core.errors import TableError


def readable(
    path: Path, folder: Path, choices: ReadingChoices, *, limit_bytes: int, tell: Tell
) -> tuple[Path, ReadingChoices, tuple[Finding, ...], tuple[Question, ...]]:
    """Returns the file itself, or its conversion in ``folder``, and how to read it. Raises TableError where it is damaged or unpacks beyond
    the limit.
    """
    head = read_head(path)
    if is_workbook(path, head):
        text = folder / "sheet.csv"
        findings, questions = sheet_as_text(path, choices.sheet, text, limit_bytes=limit_bytes, tell=tell)
        return text, replace(choices, encoding="utf-8", delimiter=","), findings, questions
    if head.startswith(FEATHER):
        return feather_as_parquet(path, folder / "feather.parquet", limit_bytes, tell), choices, (), ()
    if JSON.match(head):
        return json_as_parquet(path, folder, tell), choices, (), ()
    marked = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    if marked and JSON.match(head.decode(marked, "ignore").encode()):
        plain = folder / "plain.json"
        _, findings, _ = decode(path, plain, None)
        return json_as_parquet(plain, folder, tell), choices, findings, ()
    return path, choices, (), ()


def feather_as_parquet(path: Path, target: Path, limit_bytes: int, tell: Tell) -> Path:
    """Converts an Arrow or Feather file, batch by batch."""
    size = 0
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            schema = pa.schema([field.with_type(storable(field.type)) for field in file.schema], file.schema.metadata)
            with pq.ParquetWriter(target, schema) as writer:
                for place in range(file.num_record_batches):
                    batch = file.get_batch(place)
                    size += batch.nbytes
                    check_size(size, limit_bytes, "Feather")
                    columns = [
                        one if one.type == kind else pa.DictionaryArray.from_arrays(one.indices, one.dictionary.cast(kind.value_type))
                        for one, kind in zip(batch.columns, schema.types, strict=True)
                    ]
                    writer.write_batch(pa.record_batch(columns, schema))
                    tell("Unpacking megabytes", size // 1_000_000, 0)
    except pa.ArrowNotImplementedError as error:
        raise TableError(f"The Feather file holds a column that cannot be read ({shorten(str(error), 120)}). Leave it out.") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TableError(f"The Feather file is damaged ({shorten(str(error), 120)}). Write it again, or save it as CSV.") from error
    return target


def storable(kind: pa.DataType) -> pa.DataType:
    """Returns the type in which Parquet holds a column: the words of Polars' categories as plain strings."""
    is_view = pa.types.is_dictionary(kind) and kind.value_type == pa.string_view()
    return pa.dictionary(kind.index_type, pa.string(), kind.ordered) if is_view else kind


ONE_OBJECT = "JSON Error: the whole file is one object"
RENAMED = re.compile(r"_\d+$")
"""What DuckDB adds to a name that differs from another only in capitals."""


def _by_exact_names(connection: duckdb.DuckDBPyConnection, path: Path, target: Path) -> Path:
    """Converts JSON whose names may differ only in capitals, which are the same name to DuckDB's own reader."""
    objects = "(SELECT json, row_number() OVER () AS place FROM read_json_objects($path))"
    keys = f"(SELECT unnest(json_keys(json)) AS key, generate_subscripts(json_keys(json), 1) AS entry, place FROM {objects})"
    found = connection.execute(f"SELECT key FROM {keys} GROUP BY key ORDER BY min((place, entry))", {"path": str(path)}).fetchall()
    twice = f"SELECT 1 FROM {objects} WHERE len(json_keys(json)) > len(list_distinct(json_keys(json))) LIMIT 1"
    if connection.execute(twice, {"path": str(path)}).fetchall():
        raise duckdb.Error("JSON Error: an object has an entry twice")
    pointers = {f"p{i}": "/" + name.replace("~", "~0").replace("/", "~1") for i, (name,) in enumerate(found)}
    cells = ", ".join(f"json_extract_string(json, ${place}) AS {place}" for place in pointers)
    query = f"SELECT {cells} FROM {objects} ORDER BY place"
    texts = connection.sql(query, params={"path": str(path), **pointers}).to_arrow_table()
    if texts.num_rows == 1 and str(texts[0][0]).startswith(("[", "{")):
        raise duckdb.Error(ONE_OBJECT)
    pq.write_table(texts.rename_columns([name for (name,) in found]), target)
    return target


def json_as_parquet(path: Path, folder: Path, tell: Tell) -> Path:
    """Converts JSON with one object per row, as lines or as one list; the cells are text, unchanged."""
    tell("Reading JSON", 0, 0)
    target = folder / "json.parquet"
    with connect(folder) as connection:
        try:
            # the first pass reads all objects for the names of their entries
            found = "SELECT * FROM read_json(?, records=true, sample_size=-1, map_inference_threshold=-1) LIMIT 0"
            names = [name for name, *_ in connection.execute(found, [str(path)]).description]
            if len(names) > MAX_COLUMNS:
                raise TableError(f"The objects have {len(names):,} entries; at most {MAX_COLUMNS:,} columns are read.")
            if {name.lower() for name in names} & {RENAMED.sub("", name).lower() for name in names if RENAMED.search(name)}:
                return _by_exact_names(connection, path, target)
            columns = dict.fromkeys(names, "VARCHAR")
            texts = "SELECT * FROM read_json($path, records=true, columns=$columns)"
            connection.execute(f"CREATE TEMP TABLE rows AS {texts}", {"path": str(path), "columns": columns})
            first = connection.execute("SELECT * FROM rows LIMIT 2").fetchall()
            if len(first) == 1 and str(first[0][0]).startswith(("[", "{")):
                raise duckdb.Error(ONE_OBJECT)
            connection.table("rows").write_parquet(str(target))
        except duckdb.Error as error:
            if isinstance(error, duckdb.OutOfMemoryException):
                raise
            reason = re.sub(r'in file ".*?"', "", str(error).splitlines()[0].partition(": ")[2])
            raise TableError(
                f"The file is JSON, but not one object per row with an entry for each column ({shorten(reason, 120)})."
                " Save it in that form (pandas: frame.to_json(path, orient='records', lines=True)), or as CSV."
            ) from error
    return target
