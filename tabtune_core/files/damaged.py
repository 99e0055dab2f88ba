"""What the readers in this folder say of a file that is not what it should be, and how a door passes it on.

Every file that a person opens passes here, whether the page, the command line or Python asks: an adapter package, a pipeline, weights,
settings. A reader raises ``Damaged`` with what it found; the door that knows what the file should be makes its own error of it.
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
"""Letters of what was found; a crafted file may put megabytes of itself into an error's text."""
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
"""What Python's, torch's and safetensors' own readers raise for content that is not as they expect."""


class Damaged(ValueError):
    """A file that is cut short, changed, or made to break its reader. The text says what was found."""


@contextmanager
def refused_as(error: type[TabTuneError], start: str, end: str = "") -> Iterator[None]:
    """Turns whatever untrusted content raises into one sentence: ``start``, what was found, ``end``; or that the file may not be read.

    Only for a block that reads such content and does nothing else.

    Raises:
        TabTuneError: of the class ``error``. One that is of it already passes, and so do a package that is not installed and a full memory.
    """
    try:
        yield
    except (error, MissingPackageError):
        raise
    except PermissionError as found:
        raise error(str(shortage_of(found) or found)) from found
    except (TabTuneError, *ODD) as found:
        if isinstance(found, RuntimeError) and is_out_of_memory(found):  # not by a word that the file itself may hold
            raise
        raise error(f"{start}: {one_line(found)}{end}") from found


def one_line(found: BaseException) -> str:
    """The text of an error in one line, cut where it is long; its class where it has none."""
    text = " ".join(str(found)[: 4 * LONGEST].split()) or type(found).__name__
    told = f"it lacks the entry {text}" if isinstance(found, KeyError) else text
    if isinstance(found, TypeError | AttributeError | IndexError):
        told = f"an entry of it has the wrong type ({text})"
    told = told if len(told) <= LONGEST else f"{told[: LONGEST - 1]}…"
    return told if told.endswith((".", "…")) else f"{told}."


def check_file(path: Path, *, most_bytes: int) -> int:
    """The size of a file that can be read; nothing of it is read.

    Raises:
        Damaged: it does not exist, is a folder or a device, is empty or too large.
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
        raise Damaged(f"it has {size / 1e6:,.1f} MB, and {most_bytes / 1e6:,.1f} MB is the most that such a file can need")
    return size


def read_text(path: Path, *, most_bytes: int) -> str:
    """The text of a small file in UTF-8.

    Raises:
        Damaged: it cannot be read, is too large, or is not UTF-8.
    """
    check_file(path, most_bytes=most_bytes)
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Damaged(f"it is not text in UTF-8 (byte {error.start:,})") from error
