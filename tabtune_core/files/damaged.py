"""The error of the readers in this folder for an invalid file, and its conversion to an error for the caller.

Used for every file that a person opens on the page, the command line or in Python: an adapter package, a pipeline,
weights, settings. A reader raises ``Damaged`` with what it found; the caller, which knows what the file should be,
converts it with ``refused_as``.
"""

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
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    EOFError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    SafetensorError,
)
"""Errors of the readers of Python, torch and safetensors for unexpected content."""


class Damaged(ValueError):
    """A file is truncated, changed, or made to break its reader. The text says what was found."""


@contextmanager
def refused_as(error: type[TabTuneError], start: str, end: str = "") -> Iterator[None]:
    """Turns the errors of reading untrusted content into one sentence: ``start``, what was found, ``end``; or that
    permission is missing.

    Use it only around code that reads such content and does nothing else.

    Raises:
        TabTuneError: of the class ``error``. Errors of that class, missing packages and out-of-memory errors pass
        unchanged.
    """
    try:
        yield
    except (error, MissingPackageError):
        raise
    except PermissionError as found:
        raise error(str(shortage_of(found) or found)) from found
    except (TabTuneError, *ODD) as found:
        if isinstance(found, RuntimeError) and is_out_of_memory(
            found
        ):  # only torch's errors: others may quote the file
            raise
        raise error(f"{start}: {one_line(found)}{end}") from found


def one_line(found: BaseException) -> str:
    """Returns the text of an error in one line, cut if it is long; the name of its class if it has no text."""
    text = " ".join(str(found)[: 4 * LONGEST].split()) or type(found).__name__
    told = f"it lacks the entry {text}" if isinstance(found, KeyError) else text
    if isinstance(found, TypeError | AttributeError | IndexError):
        told = f"an entry of it has the wrong type ({text})"
    told = told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
    return told if told.endswith((".", "…")) else f"{told}."


def check_file(path: Path, *, most_bytes: int) -> int:
    """Checks that a file can be opened and returns its size, without reading it.

    Raises:
        Damaged: the file does not exist, is a folder or a device, is empty or too large.
    """
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
        raise Damaged(
            f"it has {size / 1e6:,.1f} MB, and {most_bytes / 1e6:,.1f} MB is the most that such a file can need"
        )
    return size


def read_text(path: Path, *, most_bytes: int) -> str:
    """Reads a small UTF-8 text file.

    Raises:
        Damaged: the file cannot be read, is too large, or is not UTF-8.
    """
    check_file(path, most_bytes=most_bytes)
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Damaged(f"it is not text in UTF-8 (byte {error.start:,})") from error
