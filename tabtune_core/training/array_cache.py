"""The cache that the runs of a workspace share: arrays, keyed by the hash of everything that they depend on.

In: what an array depends on, and how to make it. Out: the array, from a file if any run made it before. Every run
that uses it is charged the seconds that making it took; the file keeps them.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tabtune_core.files.damaged import ODD
from tabtune_core.training.clock import OwnClock

FORMAT = 1
"""Part of every hash: increase it when a file's content or inputs change."""
LIMIT_BYTES = 2_000_000_000
"""Limit of all files together; a run begins by deleting the oldest files beyond half of it."""
COUNTED_AGAIN = 0.05
"""Share of the limit after whose writing a run counts the files again, because other runs write at the same time."""
ABANDONED_SECONDS = 3600
"""Age at which an unfinished file is deleted: its run was killed."""


@dataclass(slots=True)
class SharedArrays:
    """A folder of arrays. Safe for several processes: a file appears whole or not at all."""

    folder: Path
    salt: str = ""
    """What every array depends on: the weights, the device and the package versions."""
    limit_bytes: int = LIMIT_BYTES
    clock: OwnClock = field(default_factory=OwnClock.of_this_thread)
    """The run's own clock. It is charged once per array, at its first use, as if this run had made it then."""
    made: int = 0
    reused: int = 0
    _used_bytes: int = field(init=False, default=0)
    _own_bytes: int = field(init=False, default=0)
    """Bytes written here since the files were counted."""
    paid: set[Path] = field(init=False, default_factory=set)
    """Files that this run made or was charged for."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for begun, _, file in _by_age(self.folder, "*.partial"):
            if time.time() - begun > ABANDONED_SECONDS:
                file.unlink(missing_ok=True)
        files = _by_age(self.folder, "*.npz")
        self._used_bytes = sum(size for _, size, _ in files)
        for _, size, file in files:
            if self._used_bytes <= self.limit_bytes / 2:
                break
            file.unlink(missing_ok=True)
            self._used_bytes -= size

    def get(self, parts: Sequence[Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Reads or makes the array that depends on ``parts``: arrays, tensors, other values by their ``repr``."""
        with self.clock.aside():
            file = self.file_of(parts)
            array = self.read(file)
        if array is None:
            began = self.clock.seconds
            array = make()
            self.keep(file, array, self.clock.seconds - began)
        return array

    def file_of(self, parts: Sequence[Any]) -> Path:
        """Returns the file of the array that depends on ``parts``."""
        digest = hashlib.sha256()
        for part in (FORMAT, self.salt, *parts):
            _update(digest, part)
        return self.folder / f"{digest.hexdigest()}.npz"

    def read(self, file: Path) -> NDArray[Any] | None:
        """Returns the array of a file, whose checksum the zip has; None if it does not exist or is damaged."""
        try:
            with file.open("rb") as opened, np.load(opened) as held:
                array: NDArray[Any] = held["array"]
                seconds = float(held["seconds"])
        except FileNotFoundError:
            return None
        except (TokenError, *ODD):
            with suppress(OSError):
                file.unlink()
            return None
        self.reused += 1
        if file not in self.paid:
            self.paid.add(file)
            self.clock.charge(seconds)
        return array

    def keep(self, file: Path, array: NDArray[Any], seconds: float) -> None:
        """Writes an array that took ``seconds`` to make, unless the disk or the cache is full."""
        seconds = max(0.0, seconds)  # the kernel reports waits late, so a short time may be below 0
        with self.clock.aside():
            self.made += 1
            self.paid.add(file)
            if not file.exists():
                self._write(file, array, seconds)

    def _write(self, file: Path, array: NDArray[Any], seconds: float) -> None:
        partial_file = file.with_suffix(f".{os.getpid()}.partial")
        if self._own_bytes > COUNTED_AGAIN * self.limit_bytes:
            self._used_bytes, self._own_bytes = sum(size for _, size, _ in _by_age(self.folder, "*.npz")), 0
        if self._used_bytes + array.nbytes > self.limit_bytes:
            return
        try:
            with partial_file.open("wb") as opened:
                np.savez(opened, array=array, seconds=seconds)
            partial_file.replace(file)
            self._used_bytes, self._own_bytes = self._used_bytes + array.nbytes, self._own_bytes + array.nbytes
        except OSError:
            partial_file.unlink(missing_ok=True)


def _by_age(folder: Path, pattern: str) -> list[tuple[float, int, Path]]:
    """Returns time, bytes and path of files, oldest first, without those that another run deletes meanwhile."""
    files = []
    for file in folder.glob(pattern):
        with suppress(FileNotFoundError):
            status = file.stat()
            files.append((status.st_mtime, status.st_size, file))
    return sorted(files)


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
