"""Recognizes the format of a file by its content, unpacks gzip and zip, and refuses what is not a table by its name."""

import gzip
import re
import zipfile
import zlib
from pathlib import Path
from typing import IO, Literal

from tabtune_core.data.reading.decoding import marked_encoding, read_head
from tabtune_core.data.reading.names import shown_name
from tabtune_core.data.reading.progress import CHUNK_BYTES, Job
from tabtune_core.data.reading.sql import FULL
from tabtune_core.errors import TableError

Format = Literal["text", "parquet", "json", "workbook"]
PARQUET, OLE, ZIP, GZIP = b"PAR1", b"\xd0\xcf\x11\xe0", (b"PK\x03\x04", b"PK\x05\x06"), b"\x1f\x8b"
JSON = re.compile(r"\ufeff?\s*(\{\s*\"|\[\s*[{\[])")
"""The first letters of JSON that could be a table; a list is refused where it is read."""
REFUSED: dict[str, tuple[bytes, ...]] = {
    "a picture": (b"\x89png", b"\xff\xd8\xff", b"gif8"),
    "a PDF document": (b"%pdf",),
    "a text in UTF-32": (b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"),
    "a web page (HTML or XML), often an error page": (b"<!doctype html", b"<html", b"<table", b"<?xml"),
    "a Weka file (ARFF)": (b"@relation ",),
}
"""What could be taken for text, by the first letters in lower case."""


def plain_file(source: Path | bytes, job: Job) -> tuple[Path, Format]:
    """Returns the source, or a file unpacked from it into the folder of the job, and its format. First step of reading.

    Raises TableError for what is missing, empty, not a table, or over the limit unless it is text to be sampled.
    """
    path = source if isinstance(source, Path) else job.folder / "given"
    if isinstance(source, bytes):
        path.write_bytes(source)
    check_is_file(path)
    size, head = path.stat().st_size, read_head(path)
    if size == 0:
        raise TableError("The file is empty (0 bytes). Check that the export or the upload finished.")
    packed = head.startswith((*ZIP, GZIP)) and not is_workbook(path, head)
    kind = "text" if packed else format_of(path, head)
    if size > job.limit_bytes and (job.choices.rows is None or packed or kind != "text"):
        way_out = "Take a sample of the rows: loralab sweep and loralab train read one with --rows N from plain text."
        raise TableError(f"The file has {size:,} bytes and the limit is {job.limit_bytes:,}. {way_out}")
    if not packed:
        return path, kind
    unpacked = job.folder / "unpacked"
    try:
        unpack(path, unpacked, job)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        damaged = f"The file is a damaged or unsupported archive ({error})"
        raise TableError(f"{damaged}. Unpack it yourself and add the CSV in it.") from error
    inner = read_head(unpacked)
    if not inner:
        raise TableError("The archive holds an empty file. Check that the export finished.")
    if inner.startswith((*ZIP, GZIP, OLE)):
        raise TableError("The archive holds another archive or a workbook. Unpack it and add the table in it.")
    return unpacked, format_of(unpacked, inner)


def unpack(path: Path, target: Path, job: Job) -> None:
    """Writes the content of a gzip file, or the one file of a zip. Raises TableError once it exceeds the limit."""
    with gzip.open(path) if read_head(path).startswith(GZIP) else only_member(path) as stream, target.open("wb") as out:
        while block := stream.read(CHUNK_BYTES):
            if out.tell() + len(block) > job.limit_bytes:
                more = f"The file unpacks to more than {job.limit_bytes:,} bytes, which is the limit"
                raise TableError(f"{more}. Unpack it, and take a sample of the rows.")
            out.write(block)
            job.tell("Unpacking megabytes", out.tell() // 1_000_000, 0)


def check_is_file(path: Path) -> None:
    """Raises TableError for a missing file, a folder, and a pipe or device, which may be endless."""
    shown = shown_name(str(path))
    if path.is_dir():
        raise TableError(f"{shown} is a folder. Give the path of one file in it.")
    if not path.exists():
        raise TableError(f"There is no file at {shown}. Check the path.")
    if not path.is_file():
        raise TableError(f"{shown} is a pipe or a device, not a file. Write the table to a file first.")


def format_of(path: Path, head: bytes) -> Format:
    """Returns the format of a plain file. Raises TableError where it is known and not a table, or is binary."""
    start, encoding = head.lstrip().lower(), marked_encoding(head)
    kind = next((kind for kind, marks in REFUSED.items() if start.startswith(marks)), None)
    if kind is not None:
        raise TableError(f"The file is {kind}, not a table of text. Save it as CSV or Parquet.")
    if is_workbook(path, head):
        return "workbook"
    if head.startswith(PARQUET):
        return "parquet"
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1a\x1b" for byte in head)
    if controls > len(head) * 0.02 and encoding is None:
        kinds = "as pictures, archives and files of statistics programs do"
        raise TableError(f"The file holds binary data, {kinds}, not a table of text. Save it as CSV or Parquet.")
    return "json" if JSON.match(head[:1000].decode(encoding or "utf-8", "ignore")) else "text"


def is_workbook(path: Path, head: bytes) -> bool:
    """Whether a file is a workbook: of Excel before 2007, or a zip with the parts of a newer one or of an ODS."""
    if not head.startswith(ZIP):
        return head.startswith(OLE)
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return False
    return "[Content_Types].xml" in names or {"mimetype", "content.xml"} <= names


def only_member(path: Path) -> IO[bytes]:
    """Opens the one file of a zip."""
    with zipfile.ZipFile(path) as archive:  # stays open until the file in it is closed
        members = [member for member in archive.infolist() if not member.is_dir()]
        members = [one for one in members if not re.match(r"__MACOSX|(.*/)?\.(?!/)", one.filename)]
        if len(members) != 1:
            shown = ", ".join(shown_name(member.filename) for member in members[:5]) or "nothing"
            raise TableError(f"The zip holds {len(members)} files ({shown}); one is expected. Add the one you mean.")
        if members[0].flag_bits & 1:
            raise TableError("The zip is locked with a password. Unpack it and add the CSV in it.")
        return archive.open(members[0])
