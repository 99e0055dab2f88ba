"""Loads Parquet and JSON lines into a DuckDB table of text cells.

Third step of reading, beside ``text_rows``. The limit applies to the unpacked cells: kilobytes may hold gigabytes.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tabtune_core.data.findings import shorten
from tabtune_core.data.reading import cells
from tabtune_core.data.reading.cells import Cells
from tabtune_core.data.reading.names import column_name
from tabtune_core.data.reading.progress import Job
from tabtune_core.data.reading.sql import Source, count_rows, first_row, hold_cells, unplanned
from tabtune_core.errors import TableError

LEFT_INDEX = re.compile(r"__index_level_\d+__")
"""The name under which pandas stores row numbers without a name."""
AS_ROWS = "Save it as JSON lines (pandas: frame.to_json(path, orient='records', lines=True)), or as CSV."


def load_parquet(path: Path, job: Job) -> Cells:
    """Reads a Parquet file into ``cells``. Raises TableError where it is damaged or unpacks beyond the limit."""
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            unpacked = sum(metadata.row_group(place).total_byte_size for place in range(metadata.num_row_groups))
        for field in schema:  # DuckDB reads durations and periods as bare numbers
            if pa.types.is_duration(field.type) or isinstance(field.type, pa.BaseExtensionType):
                message = f"The column {column_name(field.name)!r} of the Parquet file ({field.type}) is not read."
                raise TableError(f"{message} Write it as numbers, text or dates, or leave it out.")
        share = cells.share_to_read(metadata.num_rows, job.choices.rows)
        check_size(int(share * max(unpacked, metadata.num_rows * len(schema))), job)
        source = "FROM read_parquet($path, hive_partitioning=false)", {"path": str(path)}
        index = [one.name for one in schema if LEFT_INDEX.fullmatch(one.name) and pa.types.is_integer(one.type)]
        return load(source, schema.names, share, job, left_out=index)
    except (pa.ArrowException, duckdb.Error, OSError) as error:
        if isinstance(error, duckdb.OutOfMemoryException) or getattr(error, "errno", None) is not None:
            raise
        way_out = "Write it again, or save it as CSV."
        raise TableError(f"The Parquet file is damaged, or holds values that have no text. {way_out}") from error


def load_json(path: Path, job: Job) -> Cells:
    """Reads JSON lines, one object per row, into ``cells``; cells keep their text."""
    job.tell("Reading JSON", 0, 0)
    how = "format='newline_delimited', maximum_depth=1, sample_size=-1, hive_partitioning=false"
    source = f"FROM read_json($path, {how})", {"path": str(path)}
    try:
        kinds = job.connection.execute(f"DESCRIBE {source[0]}", source[1]).fetchall()
        if any(kind != "JSON" for _, kind, *_ in kinds):
            raise duckdb.Error("JSON Error: it has rows that are not objects with entries")
        share = cells.share_to_read(count_rows(job.connection, source), job.choices.rows)
        return load(source, [name for name, *_ in kinds], share, job, text="{} ->> '$'")
    except duckdb.Error as error:
        if isinstance(error, duckdb.OutOfMemoryException):
            raise
        why = shorten(re.sub(r'in file ".*?"', "", str(error).splitlines()[0].partition(": ")[2]), 120)
        message = f"The file is JSON, but not one object per line with an entry for each column ({why})."
        raise TableError(f"{message} {AS_ROWS}") from error


def load(
    source: Source,
    names: Sequence[str],
    share: float,
    job: Job,
    *,
    left_out: Sequence[str] = (),
    text: str = "CAST({} AS VARCHAR)",
) -> Cells:
    """Fills ``cells`` with a share of the rows of ``source``; ``text`` is SQL for the text of a column."""
    connection, kept = job.connection, [place for place, name in enumerate(names) if name not in left_out]
    cells.check_width(len(kept), job.fewest)
    hold_cells(connection, job.folder, len(kept))
    texts = [text.format(f"c{place}") for place in kept]
    renamed = f"{source[0]} AS given({', '.join(f'c{place}' for place in range(len(names)))})"
    lengths = " + ".join(f"coalesce(strlen({one}), 0)" for one in texts)
    (size,) = first_row(connection, f"SELECT sum({lengths}) {renamed}", source[1])
    check_size(int(share * (size or 0)), job)
    job.tell("Reading rows", 0, 0)
    selected = ", ".join(f"{cells.cleaned(one)} AS c{place}" for place, one in enumerate(texts))
    with unplanned(connection):
        query = f"CREATE OR REPLACE TABLE cells AS SELECT {selected} FROM ({cells.drawn(renamed, share)})"
        connection.execute(query, source[1] | cells.missing_pattern(job.choices.missing_marks))
    tidy, findings = cells.tidy_names([names[place] for place in kept], named=True)
    return cells.tidied(job, tidy, (), [*findings, *cells.sampled_finding(count_rows(connection), share)])


def check_size(size: int, job: Job) -> None:
    """Raises TableError where the cells exceed the limit."""
    if size > job.limit_bytes:
        way_out = "Take a sample of the rows, or leave out the longest columns."
        raise TableError(f"The file unpacks to {size:,} bytes or more, and the limit is {job.limit_bytes:,}. {way_out}")
