r"""Decodes a text to UTF-8 with ``\n`` at the line ends.

In: a plain file. Out: a file in a temporary folder, the encoding, and what to ask about it.
"""

import re
import shutil
from contextlib import suppress
from itertools import islice
from pathlib import Path

from charset_normalizer import from_bytes

from tabtune_core.data.findings import Question, shorten
from tabtune_core.data.reading.progress import CHUNK_BYTES
from tabtune_core.errors import LayoutError

HEAD_BYTES = 1 << 16
BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
OFFERED = "cp1252 cp1250 cp1251 cp1253 cp1254 cp1255 cp1256 mac_roman gb18030 big5 shift_jis euc_jp cp949 utf-16-le"
SCRIPTS = ("big5", "big5hkscs", "cp932", "cp949", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "shift_jis")
GUESSED = (*SCRIPTS, "cp1251", "cp1253", "cp1255", "cp1256", "koi8_r", "koi8_u")
"""Guesses of the detector that are used; it mistakes the Latin code pages of short files for each other."""


def read_head(path: Path) -> bytes:
    """Reads the first 64 KiB of a file."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def marked_encoding(head: bytes) -> str | None:
    """Returns the encoding that a byte order mark, or zeros in every second byte, tell."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)
    half = max(len(head) // 2, 1)
    even, odd = head[0::2].count(0) / half, head[1::2].count(0) / half
    return marked or ("utf-16-le" if odd > 0.4 > 8 * even else "utf-16-be" if even > 0.4 > 8 * odd else None)


def decode(
    path: Path, target: Path, encoding: str | None, *, to_predict: bool = False
) -> tuple[str, tuple[Question, ...]]:
    """Writes ``path`` to ``target`` as UTF-8; rows ``to_predict`` may be in UTF-8 whatever their adapter's table was.

    Raises LayoutError where ``encoding`` does not exist or does not fit the bytes.
    """
    marked = marked_encoding(read_head(path))
    if encoding is not None and not (to_predict and (marked or transcode(path, target, "utf-8"))):
        marked = encoding
    if marked:
        try:
            fits = transcode(path, target, marked)
        except (LookupError, ValueError) as error:  # ValueError: the name contains a zero byte
            known = "utf-8, utf-16, cp1252, latin-1, cp1250, shift_jis"
            raise LayoutError(f"Unknown encoding {shorten(marked)!r}. Known ones: {known}.") from error
        if not fits:
            way_out = "Leave the encoding open, or choose another."
            raise LayoutError(f"The file is not valid {marked}: some bytes cannot be decoded. {way_out}")
        return marked, ()
    if transcode(path, target, "utf-8"):
        return "utf-8", ()
    with path.open("rb") as file:
        lines = (line[:4096] for line in iter(lambda: file.readline(CHUNK_BYTES), b"") if not line.isascii())
        evidence = b"".join(islice(lines, HEAD_BYTES >> 6))
    guess = from_bytes(evidence).best() if other_script(evidence) else None
    guessed = [guess.encoding] if guess is not None and guess.encoding in GUESSED else []
    used = next(name for name in (*guessed, "cp1252", "latin-1") if transcode(path, target, name))
    words = re.search(r"\w*.{0,15}[^\x00-\x7f].{0,15}\w*", evidence.decode(used, "replace"))
    shown = words[0].strip() if words else ""
    message = f"The bytes are not UTF-8. They were read as {used}, which gives text such as {shown!r}."
    options = (used, *(name for name in OFFERED.split() if name != used))
    return used, (Question("encoding", f"{message} If letters look wrong, choose another.", options),)


def transcode(path: Path, target: Path, encoding: str) -> bool:
    """Writes the file as UTF-8 in bounded memory; returns False where its bytes are invalid in ``encoding``."""
    with suppress(UnicodeError), path.open(encoding=encoding) as text:
        with target.open("w", encoding="utf-8", newline="\n") as out:
            shutil.copyfileobj(text, out, CHUNK_BYTES)
        return True
    return False


def other_script(text: bytes) -> bool:
    """Whether most bytes beyond ASCII are adjacent, as in other scripts; accented letters in Latin text stand alone."""
    beyond = sum(byte > 127 for byte in text)
    return 2 * sum(len(run) for run in re.findall(rb"[\x80-\xff]{2,}", text)) > beyond
