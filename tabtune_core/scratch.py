"""Temporary folders. Each is deleted after use; the folder of a killed process is deleted when the next one is made."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, SUFFIX = "tabtune-", ".tmp"


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """Yields a new folder in ``parent`` (None: the machine's temporary folder), deleted afterwards unless renamed."""
    sweep(parent, prefix)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX, dir=parent))
        with suppress(FileNotFoundError):  # deleted by a sweep before it was locked: make another
            lock = locked(folder, fcntl.LOCK_EX)
            if folder.exists():
                break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Deletes the folders of this user's dead processes; one that cannot be locked is in use, and is left alone."""
    for folder in (parent or Path(tempfile.gettempdir())).glob(f"{prefix}*{SUFFIX}"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                lock = locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def locked(folder: Path, how: int) -> int:
    """Opens and locks a folder; the system releases it when the returned descriptor is closed or this process ends."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, how)
    except OSError:
        os.close(lock)
        raise
    return lock
