"""Temporary folders. Each is deleted after use; the folder of a killed process is deleted when the next one is made.

In: the parent folder. Out: a locked folder. The kernel releases the lock when the process ends, so a locked folder is
in use.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, SUFFIX = "tabtune-", ".tmp"
"""Ends of a folder's name in the machine's temporary folder; short, because the path of a socket in it has at most 103
letters.
"""


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = PREFIX) -> Iterator[Path]:
    """Yields a new folder and deletes it afterwards, unless it was renamed meanwhile; deletes folders of dead processes
    beside it first.

    Args:
        parent: the folder that it lies in; None: the machine's temporary folder.
        prefix: how its name begins.
    """
    sweep(parent, prefix)
    folder, lock = _locked(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def shared_scratch_folder(name: str) -> Path:
    """Returns a temporary folder that all processes of this user share by ``name``; this process holds it until it
    ends.

    Its files stay for the next process. When no process holds the folder, the next sweep deletes it.

    Raises:
        OSError: the folder is another user's, or cannot be made.
    """
    folder = Path(tempfile.gettempdir()) / f"{PREFIX}{name}{SUFFIX}"
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):  # deleted by a sweep before it was locked: make it again
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if os.fstat(lock).st_uid != os.getuid():
                raise PermissionError(f"{folder} belongs to another user.")
            with suppress(OSError):  # a file system without locks, where folders are never swept
                fcntl.flock(lock, fcntl.LOCK_SH)
            if os.path.samestat(folder.stat(), os.fstat(lock)):
                return folder


def sweep(parent: Path | None = None, prefix: str = PREFIX) -> None:
    """Deletes the folders of this user's dead processes; a folder that cannot be locked is in use or has no locks, and
    is left alone.
    """
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
    """Makes a folder, opens it and locks it if the file system has locks, else it is never swept; returns it and its
    descriptor.
    """
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=SUFFIX, dir=parent))
        with suppress(FileNotFoundError):  # deleted by a sweep before it was locked: make another
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(folder.stat(), os.fstat(lock)):
                return folder, lock
