"""Files that are there whole or not at all: written beside their place, and moved there."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Of a write, for which the system names no file."""


@contextmanager
def in_one_move(path: Path, *, mark: str = "partial") -> Iterator[Path]:
    """Gives a file beside ``path`` to write, and moves it there; where writing fails it is removed, or a full disk would stay full of it.

    A link is followed, the mode of an earlier file is kept, and what is no file (a pipe, a device) is written as it stands. An error of
    the system names ``path``. ``mark`` ends the name of the file: one of each process, where several may write the same file.
    """
    place = Path(os.path.realpath(path))
    partial = place.with_name(f"{place.name}.{mark}") if place.is_file() or not place.exists() else place
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
        if isinstance(error, OSError) and (error.filename == str(partial) or (error.filename is None and error.errno in FULL)):
            error.filename, error.filename2 = str(path), None
        raise


def write_text(path: Path, text: str, *, mark: str = "partial") -> None:
    """Writes a text in UTF-8 in one move."""
    with in_one_move(path, mark=mark) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def keep_folder(folder: Path, place: Path) -> None:
    """Gives a folder its place, whole; one that another process has kept there stays."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
