"""What the runs of a workspace share: arrays by the hash of all that they depend on.

In: what an array depends on, and how to make it. Out: the same array, mapped from a file when any run made it before. The file also holds
the seconds that making it took on a core, which every run that uses it is charged, and those that its maker waited for one.
"""

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tabtune_core.training.clock import OwnClock

FORMAT = 4
"""Part of every hash: increase it when a file's content or inputs change; files of earlier versions are then made anew."""
LIMIT_BYTES = 2_000_000_000
"""The files together; a run begins by taking away the oldest beyond half of it, so that there is room for its own."""
COUNTED_AGAIN = 0.05
"""Of that limit: whoever has written so much counts the files anew, as other runs write at the same time."""
ABANDONED_SECONDS = 3600
"""Age at which an unfinished file is deleted: its run was killed."""


@dataclass(slots=True)
class SharedArrays:
    """A folder of arrays. Safe from several processes: a file appears whole or not at all."""

    folder: Path
    salt: str = ""
    """What everything depends on: the weights, the device and the versions of the packages."""
    limit_bytes: int = LIMIT_BYTES
    clock: OwnClock = field(default_factory=OwnClock.of_this_thread)
    """The run's own, which is charged for each array once: at its first use, as if this run had made it then."""
    made: int = 0
    reused: int = 0
    refused: int = 0
    """Number of arrays made but not kept: the files were at their limit, or the disk was full."""
    _used_bytes: int = field(init=False, default=0)
    _own_bytes: int = field(init=False, default=0)
    """Written here since the files were counted."""
    _paid: set[Path] = field(init=False, default_factory=set)
    """Made here, or charged."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for begun, _, file in _by_age(self.folder, "*.partial"):
            if time.time() - begun > ABANDONED_SECONDS:
                file.unlink(missing_ok=True)
        files = _by_age(self.folder, "*.npy")
        self._used_bytes = sum(size for _, size, _ in files)
        for _, size, file in files:
            if self._used_bytes <= self.limit_bytes / 2:
                break
            file.unlink(missing_ok=True)
            self._used_bytes -= size

    def get(self, parts: Sequence[Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array that ``parts`` (arrays, tensors and what their fields or ``repr`` tell apart) lead to."""
        with self.clock.aside():
            file = self.file_of(parts)
            array = self.read(file)
        if array is None:
            began, waits = self.clock.seconds, self.clock.waited_seconds
            array = make()
            self.keep(file, array, self.clock.seconds - began, self.clock.waited_seconds - waits)
        return array

    def file_of(self, parts: Sequence[Any]) -> Path:
        """Where the array that ``parts`` lead to is kept."""
        return self.folder / f"{_digest([FORMAT, self.salt, *parts])}.npy"

    def read(self, file: Path) -> NDArray[Any] | None:
        """Maps a file into memory; what is written into the array stays this reader's own. None: not there, or damaged."""
        try:
            array: NDArray[Any] = np.load(file, mmap_mode="c", allow_pickle=False)
            with file.open("rb") as opened:
                opened.seek(getattr(array, "offset", 0) + array.nbytes)
                seconds, waits, checksum = map(float, np.load(opened, allow_pickle=False))
            whole = checksum == _checksum(array, seconds, waits)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, TypeError, SyntaxError, TokenError):
            whole = False
        if not whole:  # as good as none
            with suppress(OSError):
                file.unlink()
            return None
        self.reused += 1
        if file not in self._paid:
            self._paid.add(file)
            self.clock.charge(seconds, waits)
        return array

    def keep(self, file: Path, array: NDArray[Any], seconds: float, waits: float) -> None:
        """Writes an array, where it is not there; on a full disk or at the limit the run goes on without.

        Making it took ``seconds``, and ``waits`` for a core that others used.
        """
        seconds, waits = max(0.0, seconds), max(0.0, waits)  # the kernel tells of waits late, so that a short time may come out below 0
        with self.clock.aside():
            self.made += 1
            self._paid.add(file)
            if not file.exists():
                self._write(file, array, np.array([seconds, waits, _checksum(array, seconds, waits)]))

    @property
    def paid(self) -> list[str]:
        """Names of what the run has made, or was charged for."""
        return sorted(file.name for file in self._paid)

    def count_as_paid(self, names: Sequence[str]) -> None:
        """What an earlier process of the run has made, or was charged for."""
        self._paid |= {self.folder / name for name in names}

    def _write(self, file: Path, array: NDArray[Any], costs: NDArray[np.float64]) -> None:
        partial_file = file.with_suffix(f".{os.getpid()}.partial")
        if self._own_bytes > COUNTED_AGAIN * self.limit_bytes:
            self._used_bytes, self._own_bytes = sum(size for _, size, _ in _by_age(self.folder, "*.npy")), 0
        if self._used_bytes + array.nbytes > self.limit_bytes:
            self.refused += 1
            return
        try:
            with partial_file.open("wb") as opened:
                np.save(opened, array)
                np.save(opened, costs)
            partial_file.replace(file)
            self._used_bytes, self._own_bytes = self._used_bytes + array.nbytes, self._own_bytes + array.nbytes
        except OSError:
            self.refused += 1
            partial_file.unlink(missing_ok=True)


def _by_age(folder: Path, pattern: str) -> list[tuple[float, int, Path]]:
    """Time, bytes and path of files, the oldest first; without what another run takes away meanwhile."""
    files = []
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):
            status = file.stat()
            files.append((status.st_mtime, status.st_size, file))
    return sorted(files)


def _checksum(array: NDArray[Any], seconds: float, waits: float) -> int:
    """Of all that a file holds, since a disk may give back other values than were written; the sum of their bits: 7 GB a second."""
    bits = np.ascontiguousarray(array).reshape(-1).view(f"u{min(array.itemsize, 4)}")
    told = zlib.crc32(f"{array.dtype.str} {array.shape} {seconds} {waits}".encode())
    return (int(bits.sum(dtype=np.uint64)) + told) % 2**53  # a float64 holds it


def _digest(parts: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        _update(digest, part)
    return digest.hexdigest()


def _update(digest: Any, part: Any) -> None:
    if isinstance(part, torch.Tensor):
        part = part.detach().cpu().numpy()
    if isinstance(part, np.ndarray):
        digest.update(f"{part.dtype}{part.shape}".encode())
        digest.update(np.ascontiguousarray(part).data)
    elif hasattr(part, "__dict__") and not isinstance(part, type):
        digest.update(type(part).__name__.encode())
        for name, value in vars(part).items():
            digest.update(f"{name}=".encode())
            _update(digest, value)
    else:
        digest.update(repr(part).encode())
    digest.update(b"\0")
