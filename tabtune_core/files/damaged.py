"""The error of the readers in this folder for an invalid file, which the caller converts with ``refused_as``."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from tabtune_core.errors import MissingPackageError, TabTuneError, is_out_of_memory
from tabtune_core.shortage import shortage_of

LONGEST = 300
"""Most letters of an error's text, into which a crafted file may put megabytes."""
ODD = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError, EOFError),
    *(OSError, struct.error, zipfile.BadZipFile, zlib.error, SafetensorError),
)
"""Errors of the readers of Python, torch and safetensors for unexpected content."""


class Damaged(ValueError):
    """A file is truncated, changed, or made to break its reader. The text says what was found."""


@contextmanager
def refused_as(error: type[TabTuneError], start: str, end: str = "") -> Iterator[None]:
    """Turns the errors of code that only reads untrusted content into one of ``error``: ``start``, its text, ``end``.

    Errors of that class, missing packages and lack of memory pass unchanged.
    """
    try:
        yield
    except (error, MissingPackageError):
        raise
    except PermissionError as cause:
        raise error(str(shortage_of(cause) or cause)) from cause
    except (TabTuneError, *ODD) as cause:
        if isinstance(cause, RuntimeError) and is_out_of_memory(cause):  # torch's errors; others may quote the file
            raise
        raise error(f"{start}: {one_line(cause)}{end}") from cause


def one_line(error: BaseException) -> str:
    """Returns the text of an error in one line, cut if it is long; the name of its class if it has no text."""
    text = " ".join(str(error)[: 4 * LONGEST].split()) or type(error).__name__
    if isinstance(error, KeyError):
        text = f"it lacks the entry {text}"
    elif isinstance(error, TypeError | AttributeError | IndexError):
        text = f"an entry of it has the wrong type ({text})"
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text if text.endswith((".", "…")) else f"{text}."


def check_file(path: Path, *, most_bytes: int) -> int:
    """Returns the size of a file without reading it; raises Damaged if it cannot be opened, is empty or too large."""
    try:
        if not path.exists():
            raise Damaged(f"there is no file at {path}")
        if not path.is_file():
            raise Damaged(f"{path} is a folder or a device, not a file")
        with path.open("rb"):
            size = path.stat().st_size
    except PermissionError:
        raise
    except OSError as error:
        raise Damaged(f"it cannot be read ({error.strerror})") from error
    if not size:
        raise Damaged("it is empty (0 bytes)")
    if size > most_bytes:
        most = f"{most_bytes / 1e6:,.1f} MB is the most that such a file can need"
        raise Damaged(f"it has {size / 1e6:,.1f} MB, and {most}")
    return size


def read_text(path: Path, *, most_bytes: int) -> str:
    """Reads a small UTF-8 text file; raises Damaged if it cannot be read, is too large, or is not UTF-8."""
    check_file(path, most_bytes=most_bytes)
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Damaged(f"it is not text in UTF-8 (byte {error.start:,})") from error
