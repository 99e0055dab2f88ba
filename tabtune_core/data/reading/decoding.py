"""Decodes a text to UTF-8.

First step of reading, after unpacking. In: a plain file. Out: a file in a temporary folder, findings and questions.
"""

import codecs
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from charset_normalizer import from_bytes

from tabtune_core.data.findings import Finding, Question, shorten
from tabtune_core.data.reading.progress import CHUNK_BYTES
from tabtune_core.errors import LayoutError

HEAD_BYTES = 1 << 16
DOS_END = b"\x1a"
"""The end-of-file byte that old programs write after a text."""

BYTE_ORDER_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# The detector recognizes scripts far more reliably than the Latin code page of a short file.
TRUSTED_GUESSES = frozenset(
    {
        "big5",
        "big5hkscs",
        "cp932",
        "cp949",
        "euc_jp",
        "euc_kr",
        "gb18030",
        "gb2312",
        "gbk",
        "shift_jis",
        "shift_jis_2004",
    }
    | {"cp1251", "cp1253", "cp1255", "cp1256", "koi8_r", "koi8_u"}
)
MOST_SLIPS = 0.05
"""Largest share of the letters beyond ASCII that are not UTF-8 in a file that is."""
BY_BYTE = "one-byte"
"""Name of the error handler that reads a byte that is not UTF-8 as cp1252."""


def _by_byte(slip: UnicodeError) -> tuple[str, int]:
    assert isinstance(slip, UnicodeDecodeError)
    return slip.object[slip.start : slip.end].decode("cp1252", "replace"), slip.end


codecs.register_error(BY_BYTE, _by_byte)


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


def decode(
    path: Path, target: Path, encoding: str | None, *, to_predict: bool = False
) -> tuple[str, tuple[Finding, ...], tuple[Question, ...]]:
    r"""Writes ``path`` to ``target`` as UTF-8 with ``\n`` at the line ends; returns its encoding, with findings and
    questions about it.

    Rows ``to_predict`` may be in UTF-8 although the ``encoding`` of their adapter's table is another one, in which any
    bytes are letters.

    Raises TableError where ``encoding`` does not exist or does not fit the bytes.
    """
    other = to_predict and encoding is not None and has_one_byte_letters(encoding) and beyond_ascii(path)
    if encoding is not None and not (other and transcode(path, target, "utf-8")):
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


def has_one_byte_letters(encoding: str) -> bool:
    """Whether each byte is a letter in an encoding, as in cp1252.

    >>> list(map(has_one_byte_letters, ["cp1252", "koi8_r", "gb18030", "utf-16", "unheard of"]))
    [True, True, False, False, False]
    """
    with suppress(LookupError, ValueError):
        return len(bytes(range(256)).decode(encoding, "replace")) == 256
    return False


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
        raise LayoutError(
            f"The file is not valid {encoding}: some bytes cannot be decoded. Leave the encoding open, or choose "
            "another."
        )
    return slips


def with_slips(path: Path, target: Path, evidence: bytes) -> tuple[Finding, ...]:
    """Transcodes a file in UTF-8 of which a few bytes are not, and warns of them; does nothing for another file."""
    shown = slips_in_utf8(evidence)
    if not shown:
        return ()
    transcode(path, target, "utf-8", BY_BYTE)
    message = (
        f"A few bytes are not UTF-8, as all others are. They were read as cp1252, which gives text such as {shown!r}."
    )
    return (Finding("warning", "latin-1", message),)


def transcode(path: Path, target: Path, encoding: str, errors: str = "strict") -> bool:
    """Writes the file as UTF-8 in bounded memory; returns False where its bytes are invalid in ``encoding``."""
    try:
        with (
            path.open(encoding=encoding, errors=errors) as text,
            target.open("w", encoding="utf-8", newline="\n") as out,
        ):
            shutil.copyfileobj(text, out, CHUNK_BYTES)
    except UnicodeError:
        return False
    with target.open("rb+") as out:
        if out.seek(0, os.SEEK_END) and out.seek(-1, os.SEEK_END) and out.read() == DOS_END:
            out.seek(-1, os.SEEK_END)
            out.truncate()
    return True


def beyond_ascii(path: Path) -> bytes:
    """Collects lines with letters beyond ASCII from the whole file, about a thousand at most, for the encoding
    detector.
    """
    lines: list[bytes] = []
    with path.open("rb") as stream:
        while line := stream.readline(CHUNK_BYTES):
            if not line.isascii():
                lines.append(line[:4096])
            if len(lines) * 64 > HEAD_BYTES:
                break
    return b"".join(lines)


def slips_in_utf8(text: bytes) -> str:
    """Returns the letters around the first byte that is not UTF-8, if nearly all letters beyond ASCII are; else an
    empty text.
    """
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
