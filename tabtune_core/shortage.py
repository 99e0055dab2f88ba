"""Says in a sentence what the machine lacked: room on a disk, permission to write, or memory.

In: any error. Out: a ``ShortageError`` that names the disk or folder and what to do; None if it lacked nothing.
"""

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabtune_core.errors import Lack, ShortageError, TabTuneError, says_out_of_memory
from tabtune_core.machine import disk_of

BY_NUMBER: dict[int, Lack] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EIO), "room"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "permission"),
    errno.ENOMEM: "memory",
}
BY_SQLITE: dict[int, Lack] = {
    **dict.fromkeys((5, 6), "turn"),
    **dict.fromkeys((8, 14), "permission"),
    **dict.fromkeys((10, 13), "room"),
    7: "memory",
}
"""https://www.sqlite.org/rescode.html: BUSY, LOCKED; READONLY, CANTOPEN; IOERR, FULL; NOMEM."""
START_BYTES = 8_000_000
"""Free space that a run needs to start: its log, its first events and the states of an adapter take about as much."""
OPEN_FILES = 4096
SENTENCES: dict[Lack, str] = {
    "room": "The disk of {path} is full or damaged{room}. Delete runs that you no longer need, or other files there; "
    "then try again.",
    "permission": "This user may not open or write to {path}, or its disk is read-only. Change that, or take another.",
    "turn": "Another program has kept the database in {path} locked for too long. Close what uses it, and try again.",
    "memory": "There was not enough memory. End other programs, or ask for less at once; then try again.",
}


def raise_file_limit() -> None:
    """Raises this process's limit of open files, which some systems set to 256, as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def shortage_of(error: BaseException, doing: str = "", folder: Path | None = None) -> ShortageError | None:
    """Returns what the machine lacked by an error or one that it was raised from; None if it lacked nothing.

    Args:
        error: any.
        doing: what was being done, as the start of a sentence: ``The table could not be added``.
        folder: where files were being written, used if the error names no file.
    """
    if isinstance(error, TabTuneError) and not isinstance(error, ShortageError):
        return None  # its own text says what to do
    raised: BaseException | None = error
    while raised is not None:
        if isinstance(raised, ShortageError):
            return raised
        if lack := _lack(raised):
            text = _sentence(lack, _path(raised, folder))
            return ShortageError(f"{doing}. {text}" if doing else text, lack)
        raised = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
    return None


@contextmanager
def named(doing: str = "", folder: Path | None = None) -> Iterator[None]:
    """Turns an error inside the block into a ShortageError if the machine lacked something; others pass unchanged."""
    try:
        yield
    except Exception as error:
        shortage = shortage_of(error, doing, folder)
        if shortage is None or shortage is error:
            raise
        raise shortage from error


def why_nothing_starts(home: Path) -> str | None:
    """Says why no run can start in a workspace now, for the worker, pages and command line; None if runs can."""
    for path in (home, home / "runs", home / "worker.lock"):
        if os.path.exists(path) and not os.access(path, os.W_OK):
            return _sentence("permission", path)
    disk = disk_of(home)
    return _sentence("room", home) if disk is not None and disk[0] < START_BYTES else None


def _lack(error: BaseException) -> Lack | None:
    if (code := getattr(error, "sqlite_errorcode", None)) is not None:
        return BY_SQLITE.get(code & 0xFF)
    number = error.errno if isinstance(error, OSError) else None
    if number in BY_NUMBER:
        return BY_NUMBER[number]
    if number is None and says_out_of_memory(error):
        return "memory"
    text = str(error).lower()  # DuckDB and packages in Rust hide the number
    words = (known for known in BY_NUMBER if os.strerror(known).lower() in text and BY_NUMBER[known] != "permission")
    return next((BY_NUMBER[known] for known in words), None)


def _path(error: BaseException, folder: Path | None) -> Path | None:
    """Returns the file that the error names; else the fuller of ``folder`` and the temporary folder."""
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return Path(os.fsdecode(error.filename2 or error.filename))
    places = [place for place in (folder, Path(tempfile.gettempdir())) if place]
    free = {place: disk[0] for place in places if (disk := disk_of(place))}
    return folder if hasattr(error, "sqlite_errorcode") else min(free, key=free.__getitem__, default=folder)


def _sentence(lack: Lack, path: Path | None) -> str:
    disk = disk_of(path) if path is not None else None
    room = f" ({disk[0] / 1e6:,.1f} MB of {disk[1] / 1e6:,.0f} MB are free)" if disk else ""
    return SENTENCES[lack].format(path=path or "a file", room=room)
