"""The tables of a workspace, each stored under a hash of its bytes and its reading choices.

``home/datasets/<id>/`` holds ``source`` (the bytes as given), ``table.parquet`` and ``table.json``. A folder is created
in one step and never changed afterwards.
"""

import functools
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tabtune_core.data.findings import Column, Finding, Question, ReadingChoices
from tabtune_core.data.reading.formats import check_is_file
from tabtune_core.data.reading.names import shown_name
from tabtune_core.data.reading.progress import CHUNK_BYTES, Tell, untold
from tabtune_core.data.reading.sql import translated
from tabtune_core.data.sources import fetch, recorded
from tabtune_core.data.table import LIMIT_BYTES, Table, read_table
from tabtune_core.errors import TableError, TabTuneError
from tabtune_core.files.plain_values import SHA256, restored
from tabtune_core.files.whole import keep_folder
from tabtune_core.scratch import scratch_folder
from tabtune_core.shortage import shortage_of

SAMPLES = {"breast_cancer": "diagnosis", "wine": "cultivar", "iris": "species", "diabetes": "progression"}
"""Target of each sample. Diabetes has numbers to predict, the others classes."""


@functools.cache
def sample_csv(name: str) -> bytes:
    """Returns a sample as a CSV file, with its label last and classes as words; TableError for an unknown name."""
    from sklearn import datasets  # takes a second to import, and samples are rarely used

    if name not in SAMPLES:
        raise TableError(f"There is no sample {name!r}. There are: {', '.join(SAMPLES)}.")
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    frame: pd.DataFrame = bunch.frame.rename(columns={"target": SAMPLES[name]})
    if "target_names" in bunch:
        frame[SAMPLES[name]] = bunch.target_names[bunch.target]
    return frame.to_csv(index=False).encode()


Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class Dataset:
    """The description of a table in a workspace, stored beside the table."""

    id: str
    """SHA-256 of the bytes and the choices, in hex; also the name of the table's folder."""
    name: str
    """Name shown to people; never part of a path."""
    created: float
    """Seconds since 1970, UTC."""
    rows: int
    columns: tuple[Column, ...]
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]
    reading: ReadingChoices
    """The choices as used, including what was detected."""
    size_bytes: int
    """Size of the given file."""
    source_sha256: str
    """SHA-256 of the given file, in hex."""
    origin: tuple[str, ...] = ()
    """The address that the table came from, as a command-line argument; empty for a file."""
    target: str = ""
    """The column to predict, where the source names one."""

    def words(self) -> list[str]:
        """Returns the command-line arguments that name the table on another machine, with its sheet."""
        return [*(self.origin or (self.name,)), *(("--sheet", self.reading.sheet) if self.reading.sheet else ())]


def add_dataset(
    home: Path,
    source: Path | bytes,
    name: str,
    choices: ReadingChoices = ReadingChoices(),  # noqa: B008 (frozen)
    *,
    limit_bytes: int = LIMIT_BYTES,
    inside: Path | None = None,
    tell: Tell = untold,
    origin: tuple[str, ...] = (),
    target: str = "",
) -> Dataset:
    """Reads a file and stores it; the same bytes read with the same choices are stored once, under the first name.

    ``inside`` is a folder for temporary files on the disk of the workspace. Raises the errors of ``read_table``.
    """
    with incoming(home, inside) as folder:
        kept, table, drawn = folder / "source", None, folder / "drawn"
        if isinstance(source, Path) and choices.rows and source.is_file() and source.stat().st_size > limit_bytes:
            table = read_table(source, choices, limit_bytes=limit_bytes, inside=folder, sample=drawn, tell=tell)
            table, source = replace(table, reading=replace(table.reading, encoding="utf-8")), drawn
        with translated():
            digest, size = keep(source, kept, limit_bytes)
            drawn.unlink(missing_ok=True)
        sha256 = digest.hexdigest()
        digest.update(json.dumps(asdict(choices), sort_keys=True).encode())
        identity = digest.hexdigest()
        final = home / "datasets" / identity
        if not final.exists():
            table = table or read_table(kept, choices, limit_bytes=limit_bytes, inside=folder, tell=tell)
            facts = (len(table.frame), table.columns, table.findings, table.questions, table.reading, size, sha256)
            write(folder, table, Dataset(identity, shown_name(name), time.time(), *facts, origin, target))
            keep_folder(folder, final)
    return get_dataset(home, identity)


def add_source(
    home: Path,
    address: str,
    choices: ReadingChoices = ReadingChoices(),  # noqa: B008 (frozen)
    *,
    limit_bytes: int = LIMIT_BYTES,
    inside: Path | None = None,
    tell: Tell = untold,
    guarded: bool = False,
) -> Dataset:
    """Fetches a table from one of ``sources.SOURCES`` and stores it. Raises TableError where either fails."""
    with incoming(home, inside) as folder:
        got = fetch(address, folder, limit_bytes=limit_bytes, tell=tell, guarded=guarded)
        more: dict[str, Any] = {"limit_bytes": limit_bytes, "inside": inside, "tell": tell}
        return add_dataset(home, got.path, got.name, choices, **more, origin=(recorded(address),), target=got.target)


def add_sample(home: Path, name: str) -> Dataset:
    """Stores one of ``SAMPLES``. Raises TableError for another name."""
    return add_dataset(home, sample_csv(name), f"{name}.csv")


def list_datasets(home: Path) -> list[Dataset]:
    """Returns all readable tables of a workspace, the newest first."""
    return kept_in(home / "datasets", partial(get_dataset, home), TableError)[0]


def damaged_datasets(home: Path) -> dict[str, str]:
    """Maps the id of each table whose description cannot be read to the reason."""
    return kept_in(home / "datasets", partial(get_dataset, home), TableError)[1]


def kept_in(place: Path, read: Callable[[str], Kept], refused: type[TabTuneError]) -> tuple[list[Kept], dict[str, str]]:
    """Reads the folders of ``place`` named by a SHA-256: what can be read, newest first, and why others cannot."""
    kept, damaged = list[Kept](), dict[str, str]()
    for name in sorted(folder.name for folder in place.glob("*") if SHA256.fullmatch(folder.name)):
        try:
            kept.append(read(name))
        except refused as error:
            damaged[name] = str(error)
    return sorted(kept, key=attrgetter("created"), reverse=True), damaged


def get_dataset(home: Path, id: str) -> Dataset:
    """Returns one table's description. Raises TableError where the workspace does not hold it, or it cannot be read."""
    folder = folder_of(home, id)
    try:
        data = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        if data.pop("sha256") != _sha256(data) or data["id"] != id:
            raise ValueError("its content does not match its SHA-256 or its folder")
        return restored(Dataset, data)
    except PermissionError as error:
        raise TableError(f"The table {id[:12]} of the workspace cannot be read. {shortage_of(error)}") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"is damaged or of another version ({type(error).__name__}: {error})"
        way_out = f"Delete it and add the file again; it may still be at {folder / 'source'}."
        raise TableError(f"The table {id[:12]} of the workspace {why}. {way_out}") from error


def source_of(home: Path, id: str) -> Path:
    """Returns the file that a table was read from. Raises TableError where it is gone or has changed."""
    dataset, path = get_dataset(home, id), folder_of(home, id) / "source"
    with suppress(FileNotFoundError), path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() == dataset.source_sha256:
            return path
    raise TableError(f"The file of the table {dataset.name!r}, {path}, is damaged or gone. Add it again.")


def load_frame(home: Path, id: str) -> pd.DataFrame:
    """Loads the whole table. Raises TableError where the workspace does not hold it, or its file is damaged."""
    dataset, path = get_dataset(home, id), folder_of(home, id) / "table.parquet"
    with _readable(path):
        # self_destruct frees Arrow's memory column by column; otherwise a large table would be in memory twice
        arrow = pq.read_table(path, page_checksum_verification=True, partitioning=None)  # a folder may be called x=y
        frame: pd.DataFrame = arrow.to_pandas(self_destruct=True)
        if [*frame] != [column.name for column in dataset.columns] or len(frame) != dataset.rows:
            raise ValueError("it is not the table that table.json beside it describes")
    return frame


def preview(home: Path, id: str, rows: int = 100) -> pd.DataFrame:
    """Loads the first rows only. Raises TableError where the workspace does not hold the table."""
    path = folder_of(home, id) / "table.parquet"
    with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        frame: pd.DataFrame = next(file.iter_batches(batch_size=rows)).to_pandas()
    return frame


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, StopIteration, ValueError, KeyError, TypeError) as error:
        way_out = "Delete the table and add its file again."
        raise TableError(f"The table's file {path} is damaged ({error}). {way_out}") from error


def delete_dataset(home: Path, id: str) -> None:
    """Removes a table and its source. Raises TableError where the workspace does not hold it."""
    with incoming(home) as folder:
        try:
            folder_of(home, id).rename(folder / "deleted")
        except FileNotFoundError:
            folder_of(home, id)  # raises if it was deleted meanwhile, for example in another browser tab


def folder_of(home: Path, identity: str) -> Path:
    """Returns the folder of a table. Raises TableError for an invalid or unknown id."""
    folder = home / "datasets" / identity
    if not SHA256.fullmatch(identity) or not folder.is_dir():
        raise TableError(f"The workspace {home} holds no dataset {identity!r}. Add the file again.")
    return folder


@contextmanager
def incoming(home: Path, inside: Path | None = None) -> Iterator[Path]:
    """Yields a temporary folder on the disk of the workspace; it is removed afterwards unless it was renamed."""
    datasets = home / "datasets"
    datasets.mkdir(parents=True, exist_ok=True)
    with scratch_folder(inside or datasets, "incoming-") as folder:
        yield folder


def keep(source: Path | bytes, target: Path, limit_bytes: int) -> "tuple[hashlib._Hash, int]":
    """Copies the bytes, at most one chunk over the limit, which reading then refuses; returns hash and size."""
    if isinstance(source, Path):
        check_is_file(source)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as stream, target.open("wb") as out:
        while size <= limit_bytes and (chunk := stream.read(CHUNK_BYTES)):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
    return digest, size


def write(folder: Path, table: Table, dataset: Dataset) -> None:
    """Writes the table and its description."""
    arrow = pa.Table.from_pandas(table.frame, preserve_index=False)
    pq.write_table(arrow, folder / "table.parquet", write_page_checksum=True)
    values = asdict(dataset)
    text = json.dumps({**values, "sha256": _sha256(values)}, ensure_ascii=False, indent=1)
    (folder / "table.json").write_text(text, encoding="utf-8")


def _sha256(values: dict[str, Any]) -> str:
    """Returns the hash of a description, whatever its spaces and the order of its entries."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
