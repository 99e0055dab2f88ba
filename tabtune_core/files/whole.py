"""Files that are there whole or not at all: written beside their place, and moved there."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def in_one_move(path: Path, *, mark: str = "partial") -> Iterator[Path]:
    """Gives a file beside ``path`` to write, and moves it there; where writing fails it is removed, or a full disk would stay full of it.

    ``mark`` ends its name: one of each process, where several may write the same file.
    """
    partial = path.with_name(f"{path.name}.{mark}")
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def write_text(path: Path, text: str, *, mark: str = "partial") -> None:
    """Writes a text in UTF-8 in one move."""
    with in_one_move(path, mark=mark) as partial:
        partial.write_text(text, encoding="utf-8")


def keep_folder(folder: Path, place: Path) -> None:
    """Gives a folder its place, whole; one that another process has kept there stays."""
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
