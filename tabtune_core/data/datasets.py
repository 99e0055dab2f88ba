"""The tables of a workspace, each kept under the hash of its bytes and of how it was read.

After reading. ``home/datasets/<id>/`` holds ``source`` (the bytes as given), ``table.parquet`` and ``table.json``. A
folder appears whole or not at all, and is never written to again.
"""

import functools
import hashlib
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tabtune_core.data.findings import Column, Finding, Question, ReadingChoices
from tabtune_core.data.reading.decoding import check_is_file
from tabtune_core.data.reading.names import shown_name
from tabtune_core.data.reading.progress import Tell, untold
from tabtune_core.data.reading.sql import translated
from tabtune_core.data.sources import fetch, recorded
from tabtune_core.data.table import LIMIT_BYTES, Table, read_table
from tabtune_core.errors import TableError
from tabtune_core.files.whole import keep_folder
from tabtune_core.scratch import scratch_folder
from tabtune_core.shortage import shortage_of

SAMPLES = {"breast_cancer": "diagnosis", "wine": "cultivar", "iris": "species", "diabetes": "progression"}
"""The name of each sample's label. Diabetes has a number to predict, the others have classes."""


def sample_frame(name: str) -> pd.DataFrame:
    """A sample with its label last, classes as words. Raises TableError for a name that is not in SAMPLES."""
    from sklearn import datasets  # a second to import, and most tables come from people

    if name not in SAMPLES:
        raise TableError(f"There is no sample {name!r}. There are: {', '.join(SAMPLES)}.")
    label = SAMPLES[name]
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    frame: pd.DataFrame = bunch.frame.rename(columns={"target": label})
    words = bunch.get("target_names")
    return frame if words is None else frame.assign(**{label: pd.Series(words[bunch.target], dtype=object)})


@functools.cache
def sample_csv(name: str) -> bytes:
    """A sample as a file. Raises TableError for a name that is not in SAMPLES."""
    return sample_frame(name).to_csv(index=False).encode()


ID = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a workspace knows of a table without opening it."""

    id: str
    """SHA-256 of the bytes and the choices, in hex; the name of its folder."""

    name: str
    """For people; never part of a path."""

    created: float
    """Seconds since 1970, UTC."""

    rows: int
    columns: tuple[Column, ...]
    findings: tuple[Finding, ...]
    questions: tuple[Question, ...]
    reading: ReadingChoices
    """As used, with what was found out."""

    size_bytes: int
    """Of the file as given."""

    owner: str = ""
    """Who added it, where people log in; empty where not known."""

    origin: tuple[str, ...] = ()
    """The words of a command line that say where it came from, such as an address; empty for one file that was given."""

    target: str = ""
    """The column to predict, where the source names one."""

    def words(self) -> list[str]:
        """What names the table on another machine: where it came from, or its file, and which sheet."""
        return [*(self.origin or (self.name,)), *(("--sheet", self.reading.sheet) if self.reading.sheet else ())]


def add_dataset(
    home: Path,
    source: Path | bytes,
    name: str,
    choices: ReadingChoices = ReadingChoices(),  # noqa: B008 (frozen)
    *,
    owner: str = "",
    limit_bytes: int = LIMIT_BYTES,
    inside: Path | None = None,
    tell: Tell = untold,
    origin: tuple[str, ...] = (),
    target: str = "",
) -> Dataset:
    """Reads a file and keeps it. The same bytes read the same way are kept once, under the first name and owner.

    All that is written on the way lies in a folder of ``inside``, which is on the disk of the workspace; ``tell`` is as in ``read_table``,
    and ``owner`` is the person who logged in to add it.
    Raises TableError where ``read_table`` does; then nothing is kept.
    """
    with incoming(home, inside) as folder:
        kept, table = folder / "source", None
        if isinstance(source, Path) and choices.rows and source.is_file() and source.stat().st_size > limit_bytes:
            table = read_table(source, choices, limit_bytes=limit_bytes, inside=folder, sample=folder / "drawn", tell=tell)
            table, source = replace(table, reading=replace(table.reading, encoding="utf-8")), folder / "drawn"
        with translated():
            digest, size = keep(source, kept, limit_bytes)
            (folder / "drawn").unlink(missing_ok=True)
        digest.update(json.dumps(choices.to_json(), sort_keys=True).encode())
        identity = digest.hexdigest()
        final = home / "datasets" / identity
        if not final.exists():
            table = table or read_table(kept, choices, limit_bytes=limit_bytes, inside=folder, tell=tell)
            facts = (table.columns, table.findings, table.questions, table.reading)
            dataset = Dataset(identity, shown_name(name), time.time(), len(table.frame), *facts, size, owner, origin, target)
            write(folder, table, dataset)
            keep_folder(folder, final)
    return get_dataset(home, identity)


def add_source(
    home: Path,
    words: Sequence[str],
    choices: ReadingChoices = ReadingChoices(),  # noqa: B008 (frozen)
    *,
    owner: str = "",
    limit_bytes: int = LIMIT_BYTES,
    inside: Path | None = None,
    tell: Tell = untold,
    guarded: bool = False,
) -> Dataset:
    """Fetches a table from one of ``sources.SOURCES``, and keeps it. Raises TableError where one of both cannot be."""
    with incoming(home, inside) as folder:
        got = fetch(words, folder, limit_bytes=limit_bytes, tell=tell, guarded=guarded)
        more: dict[str, Any] = {"owner": owner, "limit_bytes": limit_bytes, "inside": inside, "tell": tell}
        return add_dataset(home, got.path, got.name, choices, **more, origin=recorded(words), target=got.target)


def add_sample(home: Path, name: str, *, owner: str = "") -> Dataset:
    """Keeps one of ``samples.SAMPLES``. Raises TableError for another name."""
    return add_dataset(home, sample_csv(name), f"{name}.csv", owner=owner)


def list_datasets(home: Path) -> list[Dataset]:
    """All tables of a workspace that can be read, the newest first."""
    datasets_or_reasons = (_get_or_why(home, folder.name) for folder in (home / "datasets").glob("*") if ID.fullmatch(folder.name))
    return sorted(
        (dataset for dataset in datasets_or_reasons if isinstance(dataset, Dataset)), key=lambda dataset: dataset.created, reverse=True
    )


def damaged_datasets(home: Path) -> dict[str, str]:
    """Id -> why, of the tables of a workspace whose description cannot be read."""
    names = sorted(folder.name for folder in (home / "datasets").glob("*") if ID.fullmatch(folder.name))
    datasets_or_reasons = {name: _get_or_why(home, name) for name in names}
    return {name: why for name, why in datasets_or_reasons.items() if isinstance(why, str)}


def _get_or_why(home: Path, identity: str) -> Dataset | str:
    try:
        return get_dataset(home, identity)
    except TableError as error:
        return str(error)


def get_dataset(home: Path, id: str) -> Dataset:
    """One table's description. Raises TableError where the workspace does not hold it, or it cannot be read."""
    folder = folder_of(home, id)
    try:
        data = json.loads((folder / "table.json").read_text(encoding="utf-8"))
        facts = {
            "columns": tuple(Column.from_json(item) for item in data["columns"]),
            "findings": tuple(Finding.from_json(item) for item in data["findings"]),
            "questions": tuple(Question.from_json(item) for item in data["questions"]),
            "reading": ReadingChoices.from_json(data["reading"]),
            "origin": tuple(data.get("origin", ())),
        }
        dataset = Dataset(**{**data, **facts})
        texts = [
            dataset.id,
            dataset.name,
            dataset.owner,
            dataset.target,
            *dataset.origin,
            *(text for column in dataset.columns for text in (column.name, column.kind)),
        ]
        numbers = [dataset.created, dataset.rows, dataset.size_bytes, *(n for c in dataset.columns for n in (c.missing, c.unique))]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("an entry has the wrong type")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, PermissionError):
            raise TableError(f"The table {id[:12]} of the workspace cannot be read. {shortage_of(error)}") from error
        raise TableError(
            f"The table {id[:12]} of the workspace cannot be read ({type(error).__name__}: {error}). It is damaged or of another version:"
            f" delete it and add the file again; the file as it was given may still be at {folder / 'source'}."
        ) from error
    return dataset


def source_of(home: Path, id: str) -> Path:
    """The file that a table was read from, as it was given. Raises TableError where it is not there any more, or has other bytes."""
    dataset, path = get_dataset(home, id), folder_of(home, id) / "source"
    if not path.is_file() or path.stat().st_size != dataset.size_bytes:
        raise TableError(f"{path}, from which the table {dataset.name!r} was read, is damaged or gone. Add the file again.")
    return path


def load_frame(home: Path, id: str) -> pd.DataFrame:
    """The whole table. Raises TableError where the workspace does not hold it, or its file is damaged."""
    dataset, path = get_dataset(home, id), folder_of(home, id) / "table.parquet"
    with _readable(path):
        # column by column out of Arrow's memory, or a large table would be held twice
        frame: pd.DataFrame = pq.read_table(path, page_checksum_verification=True).to_pandas(self_destruct=True)
        if [*frame] != [column.name for column in dataset.columns] or len(frame) != dataset.rows:
            raise ValueError("it is not the table that table.json beside it describes")
    return frame


def preview(home: Path, id: str, rows: int = 100) -> pd.DataFrame:
    """The first rows; the rest is not read. Raises TableError where the workspace does not hold the table."""
    path = folder_of(home, id) / "table.parquet"
    with _readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        frame: pd.DataFrame = next(file.iter_batches(batch_size=rows)).to_pandas()
    return frame


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException, StopIteration, ValueError, KeyError, TypeError) as error:
        raise TableError(f"The table's file {path} is damaged ({error}). Delete the table and add its file again.") from error


def delete_dataset(home: Path, id: str) -> None:
    """Removes a table and its source. Raises TableError where the workspace does not hold it."""
    with incoming(home) as folder:
        try:
            folder_of(home, id).rename(folder / "deleted")
        except FileNotFoundError:
            folder_of(home, id)  # where it was deleted in another tab, this raises


def folder_of(home: Path, identity: str) -> Path:
    """The folder of a table, from an id that we made."""
    folder = home / "datasets" / identity
    if not ID.fullmatch(identity) or not folder.is_dir():
        raise TableError(f"The workspace {home} holds no dataset {identity!r}. Add the file again.")
    return folder


@contextmanager
def incoming(home: Path, inside: Path | None = None) -> Iterator[Path]:
    """A temporary folder on the disk of the workspace; it is removed afterwards unless it was renamed."""
    datasets = home / "datasets"
    datasets.mkdir(parents=True, exist_ok=True)
    with scratch_folder(inside or datasets, "incoming-") as folder:
        yield folder


def keep(source: Path | bytes, target: Path, limit_bytes: int) -> "tuple[hashlib._Hash, int]":
    """Copies the bytes, at most one chunk over the limit (reading then refuses them); their hash and number."""
    if isinstance(source, bytes):
        target.write_bytes(source)
        return hashlib.sha256(source), len(source)
    check_is_file(source)
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as stream, target.open("wb") as out:
        while size <= limit_bytes and (chunk := stream.read(CHUNK_BYTES)):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
    return digest, size


def write(folder: Path, table: Table, dataset: Dataset) -> None:
    """Writes the table and its description."""
    pq.write_table(pa.Table.from_pandas(table.frame, preserve_index=False), folder / "table.parquet", write_page_checksum=True)
    text = json.dumps(asdict(dataset), ensure_ascii=False, indent=1)
    (folder / "table.json").write_text(text, encoding="utf-8")
