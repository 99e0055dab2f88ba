"""Says in a sentence what the machine lacked: room on a disk, permission to write, memory, processes, open files.

In: any error. Out: a ``ShortageError`` that says what was being done, which disk or folder is concerned and what to do;
None if the machine lacked nothing. Decided by errno, SQLite's code, or the system's words if a package hides the
number.
"""

import errno
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tabtune_core.errors import Lack, ShortageError, TabTuneError, says_out_of_memory
from tabtune_core.machine import Disk, disk_of

BY_NUMBER: dict[int, Lack] = {
    errno.ENOSPC: "room",
    errno.EDQUOT: "quota",
    errno.EROFS: "writable disk",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EIO: "sound disk",
    errno.ENOMEM: "memory",
    errno.EMFILE: "files",
    errno.ENFILE: "files",
    errno.EFBIG: "size",
    errno.ENAMETOOLONG: "path",
    errno.ELOOP: "path",
}
HIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE)
"""Numbers whose texts are searched for in errors without a number, such as those of DuckDB and of packages in Rust."""
BY_SQLITE: dict[int, Lack] = {
    5: "turn",
    6: "turn",
    7: "memory",
    8: "permission",
    10: "sound disk",
    13: "room",
    14: "sound disk",
}
"""https://www.sqlite.org/rescode.html: BUSY, LOCKED, NOMEM, READONLY, IOERR, FULL, CANTOPEN."""
BY_LONG_SQLITE: dict[int, Lack] = {3082: "memory", 1032: "database"}
"""The same for longer codes: IOERR_NOMEM, READONLY_DBMOVED."""
LEAST_BYTES = 64 * 1024
"""A disk with less free space counts as full: the index of SQLite's log alone takes 32 kB."""
START_BYTES = 8_000_000
"""Free space that a run needs to start: its log, its first events and the states of an adapter take about as much."""


LEAST_LIMITS: dict[str, tuple[int, int, Lack, str]] = {
    "n": (resource.RLIMIT_NOFILE, 512, "files", "{} open files"),
    "v": (resource.RLIMIT_AS, 4_000_000_000, "memory", "{} bytes of address space"),
    "f": (resource.RLIMIT_FSIZE, 1_000_000_000, "size", "files of {} bytes"),
    "t": (resource.RLIMIT_CPU, 600, "processor time", "{} s of processor time"),
}
"""Least limits of a worker and of a process that starts one, by the letter of ``ulimit``: resource, value, lack, words.
"""


def check_limits() -> None:
    """Checks this process's resource limits before runs reach them, and raises its limit of open files as far as
    allowed.

    Raises:
        ShortageError: a limit is too low for runs.
    """
    for letter, (limit, least, lack, words) in LEAST_LIMITS.items():
        soft, hard = resource.getrlimit(limit)
        if 0 <= soft < least:
            if letter != "n" or 0 <= hard < least:
                has, needs = words.format(f"{soft:,}"), words.format(f"{least:,}")
                text = (
                    f"A process may have {has} here (ulimit -{letter}), and runs need {needs}. Raise that, and "
                    "try again."
                )
                raise ShortageError(text, lack)
            resource.setrlimit(limit, (least, hard))


def shortage_of(
    error: BaseException, doing: str = "", folder: Path | None = None, *, starting: bool = False
) -> ShortageError | None:
    """Returns what the machine lacked according to an error or one that it was raised from; None if it lacked nothing.

    Args:
        error: any.
        doing: what was being done, as the start of a sentence: ``The table could not be added``.
        folder: where files were being written, used if the error names no file.
        starting: whether a process was being started; "try again" (EAGAIN) then means that there are too many.
    """
    if isinstance(error, TabTuneError) and not isinstance(error, ShortageError):
        return None  # its own text says what to do
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ShortageError):
            return found
        path = _path(found, folder)
        lack = _lack(found, path, starting)
        if lack is not None:
            start = f"{doing}. " if doing else ""
            return ShortageError(start + _sentence(lack, path), lack)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return None


@contextmanager
def named(doing: str = "", folder: Path | None = None, *, starting: bool = False) -> Iterator[None]:
    """Turns an error inside the block into a ShortageError if the machine lacked something; other errors pass
    unchanged.
    """
    try:
        yield
    except Exception as error:
        found = shortage_of(error, doing, folder, starting=starting)
        if found is None or found is error:
            raise
        raise found from error


def why_nothing_starts(home: Path) -> str | None:
    """Says why no run can start in a workspace now; None if runs can.

    The worker, the pages and the command line all ask here.
    """
    disk = disk_of(home)
    if disk is None:
        return None
    if disk.read_only:
        return _sentence("writable disk", home)
    for path in (home, home / "runs", home / "worker.lock"):
        if not os.access(path, os.W_OK) and (path == home or os.path.exists(path)):
            return _sentence("permission", path)
    return _sentence("room", home) if disk.free_bytes < START_BYTES or not disk.has_names else None


def _lack(error: BaseException, path: Path | None, starting: bool) -> Lack | None:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        lack = BY_LONG_SQLITE.get(code) or BY_SQLITE.get(code & 0xFF)
        return _looked_up(path, lack) if lack in ("sound disk", "permission") else lack
    if isinstance(error, FileNotFoundError) and error.filename is None and _current_folder() is None:
        return "folder"
    if isinstance(error, OSError):
        number = error.errno or 0
        return "processes" if starting and number == errno.EAGAIN else BY_NUMBER.get(number) or _by_words(error)
    if says_out_of_memory(error):
        return "memory"
    return "processes" if "can't start new thread" in str(error) else _by_words(error)


def _by_words(error: BaseException) -> Lack | None:
    text = str(error).lower()
    return next((BY_NUMBER[number] for number in HIDDEN if os.strerror(number).lower() in text), None)


def _looked_up(path: Path | None, lack: Lack) -> Lack:
    """Finds what is wrong with a disk of which SQLite says only that it could not be read or written."""
    disk = None if path is None else disk_of(path)
    if 0 <= resource.getrlimit(resource.RLIMIT_FSIZE)[0] < LEAST_LIMITS["f"][1]:
        return "size"
    if disk is None or path is None:
        return lack
    if disk.read_only:
        return "writable disk"
    if lack == "permission" or (path.is_dir() and not os.access(path, os.W_OK)):
        return "permission"
    return "room" if disk.free_bytes < LEAST_BYTES or not disk.has_names else lack


def _path(error: BaseException, folder: Path | None) -> Path | None:
    """Returns the file that the error names; else, of ``folder``, the temporary and current folders and standard
    output, the fullest.
    """
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return Path(os.fsdecode(error.filename2 or error.filename))
    if folder is not None and hasattr(error, "sqlite_errorcode"):
        return next(
            (file for file in folder.glob("*.sqlite-*") if file.exists() and not os.access(file, os.W_OK)), folder
        )
    output = _standard_output()
    places = [
        place
        for place in (folder, Path(tempfile.gettempdir()), _current_folder(), output)
        if place and not place.is_char_device()
    ]
    disks = [(place, disk) for place in places if (disk := disk_of(place))]
    fullest, disk = min(disks, key=lambda one: one[1].free_bytes, default=(folder, None))
    has_room = disk is None or (disk.free_bytes >= START_BYTES and disk.has_names)
    return output if output and output.is_char_device() and has_room else fullest


def _current_folder() -> Path | None:
    """Returns this process's current folder; None if it was deleted."""
    with suppress(FileNotFoundError):
        return Path.cwd()
    return None


def _standard_output() -> Path | None:
    """Returns the file or device (other than a terminal) that this process's output goes to; None for anything else, or
    if unknown.
    """
    with suppress(OSError):
        file = Path(os.readlink("/proc/self/fd/1"))
        if file.is_file() or (file.is_char_device() and str(file) != os.devnull and not os.isatty(1)):
            return file
    return None


SENTENCES: dict[Lack, str] = {
    "room": "{Where} is full{room}. Delete runs that you no longer need, or other files there; then try again.",
    "quota": "Your quota on {where} is used up{room}. Delete files there, or ask for more; then try again.",
    "writable disk": "Nothing can be written to {where}{mount}: it is read-only. Mount it for writing, or choose "
    "another folder.",
    "permission": "This user may not open or write to {path}. Change its permissions, or choose another.",
    "sound disk": "{Where} reports an error in reading or writing. Look for damage in the system's log, and try again.",
    "turn": "Another program has kept the database in {path} locked for too long. Close what uses it, and try again.",
    "database": "The database in {path} was deleted or moved while this program had it open. A new start opens or "
    "makes it again.",
    "memory": "There was not enough memory. End other programs, or ask for less at once; then try again.",
    "processes": "The system cannot start more processes or threads here (ulimit -u, or a container's limit). End "
    "some; then try again.",
    "folder": "The current folder was deleted, so nothing can be found from there. Change to another one (cd), and "
    "try again.",
    "path": "The file {path:.100} cannot exist: the path is too long, or its links lead in a circle. Choose another.",
    "size": "A file may have {size:,} bytes here (ulimit -f), which is too little. Raise that, and try again.",
    "files": "Too many files are open; a process may have {files:,} (ulimit -n). Raise that or end other programs, "
    "and try again.",
}
NO_NAMES = (
    "No more files fit on {where}, because all of its inodes are in use{mount}. Delete files there, and try again."
)


def _sentence(lack: Lack, path: Path | None) -> str:
    disk = None if path is None or lack == "path" else disk_of(path)
    where = "a disk" if path is None else f"the disk of {path}"
    text = SENTENCES[lack]
    if disk and lack == "room" and not disk.has_names and disk.free_bytes >= LEAST_BYTES:
        text = NO_NAMES
    if lack == "room" and path is not None and path.is_char_device():
        text = "Nothing more can be written to {path}. Send the output elsewhere, and try again."
    return text.format(
        where=where,
        Where=where[0].upper() + where[1:],
        path=str(path or "a file"),
        room=_room(disk),
        mount=f" (mounted at {disk.mount})" if disk else "",
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        size=resource.getrlimit(resource.RLIMIT_FSIZE)[0],
    )


def _room(disk: Disk | None) -> str:
    if disk is None:
        return ""
    least = (
        f"; at least {START_BYTES / 1e6:,.0f} MB are kept for running work" if 0 < disk.free_bytes < START_BYTES else ""
    )
    return f" ({disk.free_bytes / 1e6:,.1f} MB of {disk.total_bytes / 1e6:,.0f} MB are free at {disk.mount}{least})"
