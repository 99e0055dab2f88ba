"""Turns the given bytes into a plain file: recognizes the format, unpacks archives and decodes text to UTF-8.

First step of reading. In: a path or bytes. Out: files in a temporary folder, and findings.
"""

import codecs
import gzip
import os
import re
import shutil
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path

from charset_normalizer import from_bytes

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.names import shown_name
from tabtune_core.data.reading.progress import CHUNK_BYTES, Job, unpacked
from tabtune_core.data.reading.sql import FULL
from tabtune_core.data.reading.workbook import OLE, is_workbook
from tabtune_core.errors import LayoutError, TableError

HEAD_BYTES = 1 << 16
DOS_END = b"\x1a"
"""The end-of-file byte that old programs write after a text."""

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
    ((b"<stata_dta>", *(bytes((version, order, 1, 0)) for version in (113, 114, 115) for order in (1, 2))), "a Stata file"),
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
BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# The detector recognizes scripts far more reliably than the Latin code page of a short file.
TRUSTED_GUESSES = frozenset(
    {"big5", "big5hkscs", "cp932", "cp949", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "shift_jis", "shift_jis_2004"}
    | {"cp1251", "cp1253", "cp1255", "cp1256", "koi8_r", "koi8_u"}
)
MOST_SLIPS = 0.05
"""Largest share of the letters beyond ASCII that are not UTF-8 in a file that is."""
BY_BYTE = "one-byte"
"""Name of the error handler that reads a byte that is not UTF-8 as cp1252."""
TOO_LARGE = "The archive unpacks to more than {:,} bytes, which is the limit. Unpack it to a file and sample that."
EXPORT = "Export the table as CSV or Parquet and add that file."


def _by_byte(slip: UnicodeError) -> tuple[str, int]:
    assert isinstance(slip, UnicodeDecodeError)
    return slip.object[slip.start : slip.end].decode("cp1252", "replace"), slip.end


codecs.register_error(BY_BYTE, _by_byte)


def plain_file(source: Path | bytes, job: Job) -> tuple[Path, tuple[Finding, ...]]:
    """Returns a file that is not compressed: the source itself, or a file written to the folder of the job.

    Raises TableError for a file that is missing, empty or not a table, and for one larger than the limit (also unpacked) unless it is
    plain text to be sampled.
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
            "A file of this size can be sampled only if it is plain text: unpack it, or save it as CSV, and add that file."
            if sampled
            else "A table to learn from can be sampled: give its path to 'loralab sweep' or 'loralab train' with --rows N. "
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
        raise TableError(f"The file is a damaged or unsupported archive ({error}). Unpack it yourself and add the CSV in it.") from error
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
    if is_known(head) or wide_encoding(head) is not None or head.startswith(tuple(mark for mark, _ in BYTE_ORDER_MARKS)):
        return
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1a\x1b" for byte in head)
    if controls > len(head) * 0.02:
        raise TableError(f"The file holds binary data ({controls:,} control bytes in its first {len(head):,}), not text. {EXPORT}")


def is_packed(head: bytes) -> bool:
    """Whether the first bytes are those of a zip or a gzip file."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b"))


def is_known(head: bytes) -> bool:
    """Whether the first bytes are those of a table that is not delimited text."""
    return head.startswith((PARQUET, FEATHER, OLE, b"PK")) or JSON.match(head) is not None


def read_head(path: Path) -> bytes:
    """Reads the first 64 KiB of a file."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def count_lines(path: Path) -> int:
    """Counts the lines of a decoded file, also a last line without a line end."""
    count, last = 0, b"\n"
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            count, last = count + chunk.count(b"\n"), chunk[-1:]
    return count + (last != b"\n")


def unzip(path: Path, target: Path, job: Job) -> str:
    """Writes the one file of a zip to ``target`` and returns its name."""
    with zipfile.ZipFile(path) as archive:
        files = [member for member in archive.infolist() if not member.is_dir()]
        members = [file for file in files if not file.filename.startswith("__MACOSX") and not Path(file.filename).name.startswith(".")]
        names = [shown_name(member.filename) for member in members]
        if len(members) != 1:
            shown = ", ".join(names[:5]) or "nothing"
            raise TableError(f"The zip holds {len(members)} files ({shown}); one CSV was expected. Unpack it and add the CSV you mean.")
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


def decode(path: Path, target: Path, encoding: str | None) -> tuple[str, tuple[Finding, ...], tuple[Question, ...]]:
    r"""Writes ``path`` to ``target`` as UTF-8 with ``\n`` at the line ends; returns its encoding, with findings and questions about it.

    Raises TableError where ``encoding`` does not exist or does not fit the bytes.
    """
    if encoding is not None:
        return encoding, transcode_as_asked(path, target, encoding), ()
    head = read_head(path)
    for mark, name in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            transcode_as_asked(path, target, name)
            code = "bom" if name == "utf-8-sig" else name
            return name, (Finding("info", code, f"The file starts with a byte order mark: read as {name}."),), ()
    wide = wide_encoding(head)
    if wide is not None:
        transcode_as_asked(path, target, wide)
        message = f"Every second byte is zero: read as {wide}."
        return wide, (Finding("warning", "utf-16", message),), (encoding_question(wide, message),)
    if transcode(path, target, "utf-8"):
        return "utf-8", (), ()
    evidence = beyond_ascii(path)
    if slips := with_slips(path, target, evidence):
        return "utf-8", slips, ()
    guess = from_bytes(evidence).best() if other_script(evidence) else None
    guessed = [guess.encoding] if guess is not None and guess.encoding in TRUSTED_GUESSES else []
    used = next(name for name in (*guessed, "cp1252", "latin-1") if transcode(path, target, name))
    message = f"The bytes are not UTF-8. They were read as {used}, which gives text such as {foreign_words(target)!r}."
    code = "latin-1" if used in ("cp1252", "latin-1") else "encoding"
    return used, (Finding("warning", code, message),), (encoding_question(used, message),)


def wide_encoding(head: bytes) -> str | None:
    """Detects UTF-16 without a byte order mark, by the zero bytes of ASCII text in it."""
    if len(head) < 4:
        return None
    half = len(head) // 2
    even, odd = head[0::2].count(0) / half, head[1::2].count(0) / half
    if odd > 0.4 and even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.05 else None


def encoding_question(used: str, message: str) -> Question:
    """Asks which encoding is right, for a person who sees wrong letters."""
    others = (
        *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp874", "mac_roman"),
        *("gb18030", "big5", "shift_jis", "euc_jp", "cp949", "utf-16-le", "utf-16-be"),
    )
    options = (used, *(name for name in others if name != used))
    return Question("encoding", f"{message} If letters look wrong, choose another encoding.", "encoding", options)


def transcode_as_asked(path: Path, target: Path, encoding: str) -> tuple[Finding, ...]:
    """Transcodes as ``transcode`` does, but raises LayoutError where the encoding is unknown or does not fit."""
    try:
        fits = transcode(path, target, encoding)
        is_utf8 = codecs.lookup(encoding).name == "utf-8"
    except (LookupError, ValueError) as error:  # ValueError: the name contains a zero byte
        known = "utf-8, utf-16, cp1252, latin-1, cp1250, shift_jis"
        raise LayoutError(f"Unknown encoding {shorten(encoding)!r}. Known ones: {known}.") from error
    slips = with_slips(path, target, beyond_ascii(path)) if is_utf8 and not fits else ()
    if not fits and not slips:
        raise LayoutError(f"The file is not valid {encoding}: some bytes cannot be decoded. Leave the encoding open, or choose another.")
    return slips


def with_slips(path: Path, target: Path, evidence: bytes) -> tuple[Finding, ...]:
    """Transcodes a file in UTF-8 of which a few bytes are not, and warns of them; does nothing for another file."""
    shown = slips_in_utf8(evidence)
    if not shown:
        return ()
    transcode(path, target, "utf-8", BY_BYTE)
    message = f"A few bytes are not UTF-8, as all others are. They were read as cp1252, which gives text such as {shown!r}."
    return (Finding("warning", "latin-1", message),)


def transcode(path: Path, target: Path, encoding: str, errors: str = "strict") -> bool:
    """Writes the file as UTF-8 in bounded memory; returns False where its bytes are invalid in ``encoding``."""
    try:
        with path.open(encoding=encoding, errors=errors) as text, target.open("w", encoding="utf-8", newline="\n") as out:
            shutil.copyfileobj(text, out, CHUNK_BYTES)
    except UnicodeError:
        return False
    with target.open("rb+") as out:
        if out.seek(0, os.SEEK_END) and out.seek(-1, os.SEEK_END) and out.read() == DOS_END:
            out.seek(-1, os.SEEK_END)
            out.truncate()
    return True


def beyond_ascii(path: Path) -> bytes:
    """Collects lines with letters beyond ASCII from the whole file, about a thousand at most, for the encoding detector."""
    lines: list[bytes] = []
    with path.open("rb") as stream:
        while line := stream.readline(CHUNK_BYTES):
            if not line.isascii():
                lines.append(line[:4096])
            if len(lines) * 64 > HEAD_BYTES:
                break
    return b"".join(lines)


def slips_in_utf8(text: bytes) -> str:
    """Returns the letters around the first byte that is not UTF-8, if nearly all letters beyond ASCII are; else an empty text."""
    letters = text.decode("utf-8", "surrogateescape")
    bad = [place for place, letter in enumerate(letters) if "\udc80" <= letter <= "\udcff"]
    if not bad or len(bad) > MOST_SLIPS * sum(not letter.isascii() for letter in letters):
        return ""
    line = letters[max(letters.rfind("\n", 0, bad[0]) + 1, bad[0] - 15) : bad[0] + 15].split("\n")[0]
    return line.encode("utf-8", "surrogateescape").decode("utf-8", BY_BYTE).strip()


def other_script(text: bytes) -> bool:
    """Whether most bytes beyond ASCII are adjacent, as in other scripts; accented letters in Latin text stand alone."""
    beyond = sum(byte > 127 for byte in text)
    return 2 * sum(len(run) for run in re.findall(rb"[\x80-\xff]{2,}", text)) > beyond


def foreign_words(path: Path) -> str:
    """Returns the first words with a letter beyond ASCII, to show the result of an encoding."""
    with path.open(encoding="utf-8") as text:
        line = next(line for line in iter(lambda: text.readline(CHUNK_BYTES), "") if not line.isascii())
    at = next(place for place, letter in enumerate(line) if not letter.isascii())
    first, last = max(at - 15, 0), at + 15
    first -= len(re.split(r"\W", line[max(first - 25, 0) : first])[-1])  # do not cut words
    last += len(re.split(r"\W", line[last : last + 25])[0])
    return line[first:last].strip()
