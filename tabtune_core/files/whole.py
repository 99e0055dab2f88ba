"""Writes files atomically: beside their final place first, then moved there."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of a write, in which the system names no file."""


@contextmanager
def in_one_move(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """Yields a temporary file beside ``path`` and moves it there, or removes it if writing fails.

    Links are followed, modes kept, and pipes and devices written directly; system errors name ``path``. Of several
    processes that write at once the last one wins. With ``alone``, for a file of one process, the next write replaces
    what a killed one left.
    """
    place = Path(os.path.realpath(path))
    name = f"{place.name}.partial" if alone else f"{place.name}.{secrets.token_hex(3)}~"
    partial = place.with_name(name) if place.is_file() or not place.exists() else place
    try:
        yield partial
        if partial is not place:
            with suppress(FileNotFoundError):
                shutil.copymode(place, partial)
            partial.replace(place)
    except BaseException as error:
        if partial is not place:
            with suppress(OSError):
                partial.unlink()
        named = error.filename if isinstance(error, OSError) else ""
        if isinstance(error, OSError) and (named == str(partial) or (named is None and error.errno in FULL)):
            error.filename = str(path)
            del error.filename2  # None would be shown as a second file
        raise


@contextmanager
def lasting(path: Path) -> Iterator[BinaryIO]:
    """Yields a stream to a file of one process that is complete or unchanged even after a power failure."""
    with in_one_move(path, alone=True) as partial, partial.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Writes a text in UTF-8 atomically."""
    with in_one_move(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def keep_folder(folder: Path, place: Path) -> None:
    """Moves a folder to its place; does nothing if another process has already put one there."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
