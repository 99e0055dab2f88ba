"""Loads a Parquet file into a DuckDB table of text cells, batch by batch.

Third step of reading, beside ``cells``. The limit applies to the unpacked cells: with a dictionary of one long word, a
file of kilobytes can unpack to gigabytes.
"""

import json
import re
from contextlib import closing, suppress
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tabtune_core.data.findings import Finding
from tabtune_core.data.reading.cells import Cells, check_width, cleaned, missing_pattern, tidied, tidy_names
from tabtune_core.data.reading.names import column_name
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sampling import drawn, sampled_finding, share_to_read
from tabtune_core.data.reading.sql import connect, count_rows, first_row, hold_cells, unplanned
from tabtune_core.errors import TableError

CELLS_AT_ONCE = 8_000_000
ROWS_AT_ONCE = 65_536
FEW_ROWS = 256
"""Rows per batch if a cell may be huge and Arrow keeps the column without a dictionary."""
UNREAD = (
    *(duckdb.InternalException, duckdb.NotImplementedException, duckdb.InvalidInputException),
    *(duckdb.ConversionException, duckdb.OutOfRangeException),  # DuckDB 1 raises the last for bytes that are not UTF-8
)
"""Errors of DuckDB for a value that it cannot write as text."""
WAY_OUT = "Write it as text in the program that made the file, or leave it out."
LEFT_INDEX = re.compile(r"__index_level_\d+__")
"""The name under which pandas stores an index without a name."""
PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def load_parquet(path: Path, job: Job) -> Cells:
    """Reads a Parquet file into ``cells``. Raises TableError where it is damaged or unpacks beyond the limit."""
    connection, choices = job.connection, job.choices
    try:
        with closing(pq.ParquetFile(path)) as plain:
            schema, metadata = plain.schema_arrow, plain.metadata
            spans = [
                place for place in range(len(plain.schema)) if plain.schema.column(place).converted_type == "INTERVAL"
            ]
        if spans:  # Arrow reads their bytes
            raise TableError(f"{unwritable(plain.schema.column(spans[0]).path, 'INTERVAL')} {WAY_OUT}")
        kept = [
            place
            for place, field in enumerate(schema)
            if not (LEFT_INDEX.fullmatch(field.name) and pa.types.is_integer(field.type))
        ]
        index = [schema.names[place] for place in sorted({*range(len(schema))} - {*kept})]
        schema = pa.schema([schema.field(place) for place in kept])
        check_width(len(schema), job.fewest)
        share = share_to_read(metadata.num_rows, choices.rows)
        unpacked = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
        check_size(int(share * max(unpacked, metadata.num_rows * len(schema))), job.limit_bytes)
        names = [f"c{place}" for place in range(len(schema))]
        hold_cells(connection, job.folder, len(names))
        connection.execute(f"CREATE TABLE cells ({', '.join(f'{name} VARCHAR' for name in names)})")
        missing = missing_pattern(choices.missing_marks)
        selected = ", ".join(cleaned(f"CAST({name} AS VARCHAR)") for name in names)
        shared = prefixed(metadata)
        texts = [
            field.name for field in schema if field.name not in shared and any(is_text(field.type) for is_text in TEXTS)
        ]
        read, size = 0, 0.0
        with closing(pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)) as file, unplanned(connection):
            for batch in file.iter_batches(rows_at_once(schema, shared)):
                size += share * sum(map(unpacked_bytes, batch.columns))
                check_size(int(size), job.limit_bytes)
                table = pa.table(
                    [plain_type(batch.column(place), schema.field(at)) for at, place in enumerate(kept)], names
                )
                try:
                    connection.register("batch", table)
                    connection.execute(
                        f"INSERT INTO cells SELECT {selected} FROM ({drawn('FROM batch', share, before=read)})", missing
                    )
                    connection.unregister("batch")
                except UNREAD as error:
                    raise TableError(f"{without_text(table, schema)} {WAY_OUT}") from error
                read += batch.num_rows
                job.tell("Reading rows", read, metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a system error, translated where reading begins
        untyped = (
            "FROM parquet_schema($path) WHERE type = 'FIXED_LEN_BYTE_ARRAY' AND coalesce(converted_type, "
            "logical_type) IS NULL"
        )
        if isinstance(error, pa.ArrowNotImplementedError) and (
            odd := first_row(connection, f"SELECT name {untyped}", {"path": str(path)})
        ):
            raise TableError(f"{unwritable(odd[0], f'Arrow: {error}')} {WAY_OUT}") from error
        raise TableError(
            "The Parquet file is damaged or holds columns that cannot be written as text. Write it again, or save it "
            "as CSV."
        ) from error
    tidy, findings = tidy_names(tuple(schema.names), told=True)
    if index:
        findings.append(
            Finding(
                "info", "index", f"The row numbers that pandas stored as {', '.join(map(repr, index))} were left out."
            )
        )
    return tidied(job, tidy, (), [*findings, *sampled_finding(count_rows(connection), share)])


def plain_type(column: pa.Array, field: pa.Field) -> pa.Array:
    """Returns a column whose cells DuckDB writes as other sources do: half floats as floats, durations as "90 s",
    periods as dates.
    """
    if frequency := period_of(field):
        numbers = pd.Series(
            (column.storage if isinstance(column, pa.ExtensionArray) else column).to_pandas(), dtype="Int64"
        ).dropna()
        with suppress(ValueError):  # an unknown frequency
            texts = pd.PeriodIndex.from_ordinals(numbers.astype("int64"), freq=frequency).astype(str)  # type: ignore[attr-defined]
            written = pd.Series(texts.str.split("/").str[0], numbers.index).reindex(
                range(len(column))
            )  # a week is written as two days
            return pa.array(written, pa.string(), from_pandas=True)
    if column.type == pa.float16():
        return column.cast(pa.float32())
    if pa.types.is_duration(column.type):
        parts = column.cast(pa.int64()).cast(pa.float64(), safe=False)
        seconds = pc.divide(parts, PER_SECOND[column.type.unit]).cast(pa.string())  # type: ignore[attr-defined]
        return pc.binary_join_element_wise(seconds, "s", " ")  # type: ignore[attr-defined]
    return column


def period_of(field: pa.Field) -> str:
    """Returns the frequency of a column of pandas periods; empty for others."""
    if isinstance(field.type, pa.BaseExtensionType):  # as soon as pandas has registered it
        return str(getattr(field.type, "freq", ""))
    told = field.metadata or {}
    if told.get(b"ARROW:extension:name") != b"pandas.period":
        return ""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(told[b"ARROW:extension:metadata"])["freq"])
    return ""


def without_text(table: pa.Table, schema: pa.Schema) -> str:
    """Names the first column that DuckDB cannot write as text; each is tried in a new database, since a failure ends
    the old one.
    """
    for place, name in enumerate(table.column_names):
        try:
            with connect() as connection:
                connection.register("one", table.select([name]))
                connection.execute(f"CREATE TABLE text AS SELECT CAST({name} AS VARCHAR) FROM one")
        except UNREAD:
            field = schema.field(place)
            return unwritable(field.name, str(field.type))
    return "The Parquet file holds a column that cannot be written as text."


def unwritable(name: str, kind: str) -> str:
    """Names a column whose values have no text."""
    return f"The column {column_name(name)!r} of the Parquet file ({kind}) holds values that cannot be written as text."


def check_size(found: int, limit_bytes: int, kind: str = "Parquet") -> None:
    """Raises TableError where the cells exceed the limit."""
    if found > limit_bytes:
        raise TableError(
            f"The {kind} file unpacks to more than {limit_bytes:,} bytes, the limit: {found:,} or more. "
            "Take a sample of the rows, or leave out the longest columns."
        )


def prefixed(metadata: pq.FileMetaData) -> set[str]:
    """Returns columns whose words are stored as differences from the previous word; Arrow reads them without a
    dictionary.
    """
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    return {chunk.path_in_schema for chunk in chunks if any("DELTA" in encoding for encoding in chunk.encodings)}


def rows_at_once(schema: pa.Schema, shared: set[str]) -> int:
    """Returns the rows per batch: few for a wide table, and few if a cell may unpack to megabytes."""
    if shared or any(pa.types.is_nested(field.type) for field in schema):
        return FEW_ROWS
    return max(1, min(ROWS_AT_ONCE, CELLS_AT_ONCE // len(schema)))


def unpacked_bytes(column: pa.Array) -> int:
    """Returns the bytes that a column's cells would take without a dictionary."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    if not any(is_text(column.type.value_type) for is_text in TEXTS):
        return 8 * len(column)
    lengths = pc.take(pc.binary_length(column.dictionary), column.indices)  # type: ignore[attr-defined]
    return int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)  # type: ignore[attr-defined]
