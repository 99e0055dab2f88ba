"""Makes a table of files on this machine: several Parquet files with the same columns, or the rows of an SQL query."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tabtune_core.data.reading.decoding import read_head
from tabtune_core.data.reading.formats import PARQUET, check_is_file
from tabtune_core.data.reading.progress import Tell
from tabtune_core.data.reading.sql import connect, translated
from tabtune_core.data.sources.base import Fetched
from tabtune_core.errors import TableError


def joined(words: Sequence[str], folder: Path, *, limit_bytes: int, tell: Tell) -> Fetched:
    """Joins the rows of several files into one, in the order given; those of a folder in the order of their names."""
    first, target = Path(words[0]), folder / "joined.parquet"
    one_folder = len(words) == 1 and first.is_dir()
    paths = sorted(first.glob("[!._]*.parquet")) if one_folder else [Path(word) for word in words]
    if not paths:
        raise TableError(f"The folder {str(first)!r} holds no file that ends in .parquet. Give the path of one file.")
    with translated():
        for path in paths:
            check_is_file(path)
            if not read_head(path).startswith(PARQUET):
                raise TableError(f"{str(path)!r} is not a Parquet file; only those are joined. Give one file.")
        if (size := sum(path.stat().st_size for path in paths)) > limit_bytes:
            raise TableError(f"The files have {size:,} bytes together; the limit is {limit_bytes:,}. Give fewer.")
        try:
            _write(paths, target, tell)
        except pa.ArrowException as error:
            why = f"one is damaged ({str(error)[:120]})"
            raise TableError(f"The Parquet files cannot be joined: {why}. Write it again.") from error
    return Fetched(target, f"{first.stem} and {len(paths) - 1} more" if len(words) > 1 else first.name)


def _write(paths: Sequence[Path], target: Path, tell: Tell) -> None:
    schemas = [pq.read_schema(path) for path in paths]
    names = schemas[0].names
    for path, schema in zip(paths, schemas, strict=True):
        if differ := sorted(set(schema.names) ^ set(names)):
            others = f"has other columns than {str(paths[0])!r}: only one has {', '.join(map(repr, differ[:5]))}"
            raise TableError(f"{str(path)!r} {others}.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise TableError(f"{twice[0]!r} is the name of two columns of the files. Rename one in every file.")
    types = [{schema.field(name).type for schema in schemas} for name in names]
    common = [pa.string() if len(some) > 1 else some.pop() for some in types]  # as its kind is decided later
    schema = pa.schema(list(zip(names, common, strict=True)))
    with pq.ParquetWriter(target, schema) as writer:
        for number, path in enumerate(paths):
            tell("Joining files", number, len(paths))
            with closing(pq.ParquetFile(path)) as file:
                for batch in file.iter_batches(columns=names):
                    writer.write_table(pa.Table.from_batches([batch]).select(names).cast(schema, safe=False))


QUERY = "query:"
ROWS_AT_ONCE = 50_000


def query(asked: str, folder: Path, *, limit_bytes: int, tell: Tell, guarded: bool) -> Fetched:
    """Runs one SELECT, which cannot write or change anything, and writes its rows to a Parquet file."""
    tell("Running the query", 0, 0)
    target = folder / "query.parquet"
    with connect(folder) as connection:
        connection.execute("SET lock_configuration = true")
        try:
            statements = connection.extract_statements(asked.removeprefix(QUERY))
            if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
                raise TableError("The query is not one SELECT. Write one that begins with SELECT or FROM.")
            reader = connection.sql(statements[0].query).to_arrow_reader(ROWS_AT_ONCE)
            with pq.ParquetWriter(target, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
                    if target.stat().st_size > limit_bytes:
                        message = f"The query gives more than {limit_bytes:,} bytes, which is the limit."
                        raise TableError(f"{message} Select fewer rows or columns.")
        except (duckdb.OutOfMemoryException, MemoryError) as error:
            message = "The query needs more memory than reading may take (1 GB). Select fewer rows or columns."
            raise TableError(message) from error
        except (duckdb.Error, pa.ArrowException) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise TableError(f"The query cannot be run. {' '.join(lines)}") from error
    return Fetched(target, "query")
