"""Turns the given path or bytes into a plain file: recognizes the format and unpacks archives.

First step of reading. In: a path or bytes. Out: a file, perhaps in the temporary folder, and findings.
"""

import gzip
import re
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path

from tabtune_core.data.findings import Finding
from tabtune_core.data.reading.decoding import BYTE_ORDER_MARKS, read_head, wide_encoding
from tabtune_core.data.reading.names import shown_name
from tabtune_core.data.reading.progress import Job, unpacked
from tabtune_core.data.reading.sql import FULL
from tabtune_core.data.reading.workbook import OLE, is_workbook
from tabtune_core.errors import TableError

WEB_PAGE = "a web page (HTML), often an error page, or a table that Excel can save as .xlsx or CSV"
REFUSED: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"RIFF", "a sound, video or WebP file"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89HDF", "an HDF5 file"),
    (b"FEA1", "a Feather file of version 1"),
    (b"\x93NUMPY", "a NumPy array"),
    ((b"\x80\x04\x95", b"\x80\x05\x95"), "a Python pickle"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    ((b"\x7fELF", b"MZ\x90"), "a program"),
    ((b"<!doctype html", b"<html"), WEB_PAGE),
    (
        (b"<stata_dta>", *(bytes((version, order, 1, 0)) for version in (113, 114, 115) for order in (1, 2))),
        "a Stata file",
    ),
    ((b"X\n\x00\x00\x00", b"RDX2\n", b"RDX3\n"), "an R file"),
    ((b"$FL2@(#)", b"$FL3@(#)"), "an SPSS file"),
    ((bytes(12) + b"\xc2\xea\x81\x60", b"HEADER RECORD*******"), "a SAS file"),
    (b"<?xml", "XML"),
)
REFUSED_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\s*<table(\s[^<>]*)?>\s*(<|$)", re.IGNORECASE), WEB_PAGE),
    (re.compile(rb"(\s*%.*\n)*\s*@relation[ \t][^\0]*\n[ \t]*@attribute\s", re.IGNORECASE), "a Weka file (ARFF)"),
)
"""Formats whose first letters may also begin the name of a column."""
PARQUET, FEATHER = b"PAR1", b"ARROW1"
JSON = re.compile(rb"\s*(\{\s*\"|\[\s*[{\[])")
"""The first letters of JSON that could be a table."""
TOO_LARGE = "The archive unpacks to more than {:,} bytes, which is the limit. Unpack it to a file and sample that."
EXPORT = "Export the table as CSV or Parquet and add that file."


def plain_file(source: Path | bytes, job: Job) -> tuple[Path, tuple[Finding, ...]]:
    """Returns a file that is not compressed: the source itself, or a file written to the folder of the job.

    Raises TableError for a file that is missing, empty or not a table, and for one larger than the limit (also
    unpacked) unless it is plain text to be sampled.
    """
    path, sampled = source if isinstance(source, Path) else job.folder / "given", job.choices.rows is not None
    if isinstance(source, bytes):
        path.write_bytes(source)
    check_is_file(path)
    size = path.stat().st_size
    if size == 0:
        raise TableError("The file is empty (0 bytes). Check that the export or the upload finished.")
    head = read_head(path)
    workbook = is_workbook(path, head)
    if size > job.limit_bytes and (not sampled or workbook or is_packed(head) or is_known(head)):
        way_out = (
            "A file of this size can be sampled only if it is plain text: unpack it, or save it as CSV, and add that "
            "file."
            if sampled
            else "A table to learn from can be sampled: give its path to 'loralab sweep' or 'loralab train' with "
            "--rows N. "
            "Rows to predict can be split over several files."
        )
        raise TableError(f"The file has {size:,} bytes and the limit is {job.limit_bytes:,}. {way_out}")
    if workbook or not is_packed(head):
        refuse_other_formats(head)
        return path, ()
    unpacked = job.folder / "unpacked"
    try:
        name = unzip(path, unpacked, job) if head.startswith(b"PK") else gunzip(path, unpacked, job)
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise  # any other OSError comes from a broken bzip2 stream or an odd offset
        raise TableError(
            f"The file is a damaged or unsupported archive ({error}). Unpack it yourself and add the CSV in it."
        ) from error
    inner = read_head(unpacked)
    if not inner:
        raise TableError("The archive holds an empty file. Check that the export finished.")
    if is_packed(inner):
        raise TableError("The archive holds another archive. Unpack it and add the CSV in it.")
    refuse_other_formats(inner)
    return unpacked, (Finding("info", "compressed", f"The file was compressed; {name} in it was read."),)


def check_is_file(path: Path) -> None:
    """Raises TableError for a missing file, a folder, and a pipe or device, which may be endless."""
    shown = shown_name(str(path))
    if path.is_dir():
        raise TableError(f"{shown} is a folder. Give the path of one file in it.")
    if path.exists() and not path.is_file():
        raise TableError(f"{shown} is a pipe or a device, not a file. Write the table to a file first.")
    if not path.is_file():
        raise TableError(f"There is no file at {shown}. Check the path.")


def refuse_other_formats(head: bytes) -> None:
    """Raises TableError where the first bytes are those of a known format that is not a table, or of binary data."""
    start = head.lstrip()[:64].lower()
    what = next((what for magic, what in REFUSED if head.startswith(magic) or start.startswith(magic)), None)
    what = what or next((what for pattern, what in REFUSED_TEXTS if pattern.match(head)), None)
    if what is not None:
        raise TableError(f"The file is {what}, not a table of text, whatever its name says. {EXPORT}")
    if (
        is_known(head)
        or wide_encoding(head) is not None
        or head.startswith(tuple(mark for mark, _ in BYTE_ORDER_MARKS))
    ):
        return
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1a\x1b" for byte in head)
    if controls > len(head) * 0.02:
        raise TableError(
            f"The file holds binary data ({controls:,} control bytes in its first {len(head):,}), not text. {EXPORT}"
        )


def is_packed(head: bytes) -> bool:
    """Whether the first bytes are those of a zip or a gzip file."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b"))


def is_known(head: bytes) -> bool:
    """Whether the first bytes are those of a table that is not delimited text."""
    return head.startswith((PARQUET, FEATHER, OLE, b"PK")) or JSON.match(head) is not None


def unzip(path: Path, target: Path, job: Job) -> str:
    """Writes the one file of a zip to ``target`` and returns its name."""
    with zipfile.ZipFile(path) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        members = [
            file
            for file in files
            if not file.filename.startswith("__MACOSX") and not Path(file.filename).name.startswith(".")
        ]
        names = [shown_name(member.filename) for member in members]
        if len(members) != 1:
            shown = ", ".join(names[:5]) or "nothing"
            raise TableError(
                f"The zip holds {len(members)} files ({shown}); one CSV was expected. Unpack it and add the CSV you "
                "mean."
            )
        if members[0].flag_bits & 1:
            raise TableError("The zip is locked with a password. Unpack it and add the CSV in it.")
        with archive.open(members[0]) as stream, target.open("wb") as out:
            out.writelines(unpacked([stream], TOO_LARGE, job))
        return names[0]


def gunzip(path: Path, target: Path, job: Job) -> str:
    """Writes the content of a gzip file to ``target``."""
    with gzip.open(path) as stream, target.open("wb") as out:
        out.writelines(unpacked([stream], TOO_LARGE, job))
    return "the file"
