"""Files that are there whole or not at all: written beside their place, and moved there."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def in_one_move(path: Path, *, mark: str = "partial") -> Iterator[Path]:
    """Gives a place beside ``path`` to write a file or a folder of files, and moves it there; what was there stays where writing fails.

    What was written is removed then, or a full disk would stay full of it. An error of the system names ``path``, also where the system
    named none. ``mark`` ends the name of the place: one of each process, where several may write the same file.
    """
    partial = path.with_name(f"{path.name}.{mark}")
    try:
        yield partial
        if partial.is_dir():
            path.mkdir(exist_ok=True)
            for file in partial.iterdir():
                file.replace(path / file.name)
            partial.rmdir()
        else:
            partial.replace(path)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.errno and str(partial) in str(error.filename or partial):
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
