"""Temporary folders. Each is deleted after use; that of a killed process is deleted when the next one is made.

In: the parent folder. Out: a folder under a lock, which the kernel releases with the process; a locked folder is in use.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, SUFFIX = "tabtune-", ".tmp"
"""Prefix of their names in the machine's temporary folder. Short: a socket's path, which may lie in one, has 103 letters at most."""


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """A folder of this process, unless it was renamed to its place meanwhile; those of dead processes beside it are swept up first.

    Args:
        parent: where it lies; None: in the machine's temporary folder.
        prefix: of its name.
    """
    sweep(parent, prefix)
    folder, lock = _locked(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def shared_scratch_folder(name: str) -> Path:
    """A folder in the machine's temporary folder for all processes of this user that know its name, this one's for its life.

    What lies in it stays for the next one; with no process left, the next sweep deletes it.

    Raises:
        OSError: the folder is another user's, or cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"{PREFIX}{name}{SUFFIX}"
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # swept up before it was locked: another
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if os.fstat(lock).st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to another user.")
            with suppress(OSError):  # where the file system has no locks, folders are not swept
                fcntl.flock(lock, fcntl.LOCK_SH)
            if os.path.samestat(folder.stat(), os.fstat(lock)):
                return folder


def sweep(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Takes away the folders of dead processes of this user; one that cannot be locked, or where locks are unknown, is left alone."""
    place = parent or Path(tempfile.gettempdir())
    for folder in place.glob(f"{prefix}*{SUFFIX}"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(lock)


def _locked(parent: Path | None, prefix: str) -> tuple[Path, int]:
    """A new folder and its lock, or None where the file system has no locks; folders there are never swept either."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX, dir=parent))
        with suppress(FileNotFoundError):  # swept up before it was locked: another
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(folder.stat(), os.fstat(lock)):
                return folder, lock
