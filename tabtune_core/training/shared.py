"""What the runs of a workspace share: arrays by the hash of all that they depend on, and the frozen first stages of a model.

In: what an array depends on, and how to make it. Out: the same array, from a file when any run made it before.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

LIMIT_BYTES = 2_000_000_000
"""The files together; a run begins by taking away the oldest beyond half of it, so that there is room for its own."""


@dataclass(slots=True)
class SharedArrays:
    """A folder of arrays. Safe from several processes: a file appears whole or not at all."""

    folder: Path
    salt: str = ""
    """What everything depends on: the weights, the device and the versions of the packages."""
    limit_bytes: int = LIMIT_BYTES
    seconds: float = 0.0
    """Spent here, on making and reading; not a run's own work, so that the runs of a sweep can be compared."""
    made: int = 0
    reused: int = 0
    _used_bytes: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self.folder.glob("*.npy"))
        self._used_bytes = sum(size for _, size, _ in files)
        for _, size, file in files:
            if self._used_bytes <= self.limit_bytes / 2:
                break
            file.unlink(missing_ok=True)
            self._used_bytes -= size

    def get(self, parts: Sequence[Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array that ``parts`` (arrays, tensors and what their fields or ``repr`` tell apart) lead to."""
        started = time.monotonic()
        file = self.folder / f"{_digest([self.salt, *parts])}.npy"
        try:
            array: NDArray[Any] = np.load(file, allow_pickle=False)
            self.reused += 1
        except (OSError, ValueError):  # not there, or damaged
            array = make()
            self.made += 1
            if self._used_bytes + array.nbytes <= self.limit_bytes:
                self._keep(file, array)
        self.seconds += time.monotonic() - started
        return array

    def _keep(self, file: Path, array: NDArray[Any]) -> None:
        """Writes a file; where it cannot be written, on a full disk, the run goes on without it."""
        partial_file = file.with_suffix(f".{os.getpid()}.partial")
        try:
            with partial_file.open("wb") as opened:
                np.save(opened, array)
            partial_file.replace(file)
            self._used_bytes += array.nbytes
        except OSError:
            partial_file.unlink(missing_ok=True)


def _digest(parts: Sequence[Any]) -> str:
    told = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            told.update(f"{part.dtype}{part.shape}".encode())
            told.update(np.ascontiguousarray(part).tobytes())
        else:
            told.update(repr(getattr(part, "__dict__", part)).encode())
        told.update(b"\0")
    return told.hexdigest()


@dataclass(frozen=True, slots=True)
class _Given:
    """Stands for the output of the stages before; only the last frozen stage is asked for more."""

    run: Callable[[], torch.Tensor]
    parts: tuple[Any, ...]


def frozen_stages(module: nn.Module, stages: Sequence[str]) -> list[str]:
    """The first of the stages in which nothing trains and nothing is drawn at random."""
    return list(takewhile(lambda path: _is_frozen(module.get_submodule(path)), stages))


def _is_frozen(stage: nn.Module) -> bool:
    drops = any((getattr(part, "p", 0.0) if isinstance(part, nn.Dropout) else getattr(part, "dropout", 0.0)) for part in _floats(stage))
    return not drops and not any(parameter.requires_grad for parameter in stage.parameters())


def _floats(stage: nn.Module) -> Iterator[nn.Module]:
    """Submodules whose dropout, if they have one, is a number; one that is a module is among them itself."""
    return (part for part in stage.modules() if isinstance(part, nn.Dropout) or isinstance(getattr(part, "dropout", None), float))


@contextmanager
def shared_prefix(module: nn.Module, stages: Sequence[str], arrays: SharedArrays | None) -> Iterator[list[str]]:
    """While the context lasts, the frozen first stages of a model run once for each input, without a graph, whoever asks.

    Exact, without autocast: the stages give the same numbers for the same input, and all that goes into them is in the key.

    Args:
        module: whose ``forward`` calls the stages one after the other, each with the output of the one before as its first argument.
        stages: their names in that order, for example ``("col_embedder", "row_interactor")``.
        arrays: where outputs are kept; None shares nothing.

    Yields:
        The stages that are shared.
    """
    shared = frozen_stages(module, stages) if arrays is not None else []
    forwards = {name: module.get_submodule(name).forward for name in shared}
    for name in shared:
        assert arrays is not None
        last = arrays if name == shared[-1] else None
        vars(module.get_submodule(name))["forward"] = partial(_stage, forwards[name], name, module, last)
    try:
        yield shared
    finally:
        for name in shared:
            del vars(module.get_submodule(name))["forward"]


def _stage(
    forward: Callable[..., torch.Tensor], name: str, module: nn.Module, arrays: SharedArrays | None, x: Any, *more: Any, **named: Any
) -> Any:
    """Puts one stage off, or, at the last one, takes its output from the shared arrays."""
    before = x if isinstance(x, _Given) else _Given(lambda: x, (x, module.training))
    told = [part for pair in named.items() for part in pair]
    given = _Given(lambda: forward(before.run(), *more, **named), (*before.parts, name, *more, *told))
    if arrays is None:
        return given

    def make() -> NDArray[Any]:
        with torch.no_grad():
            return np.asarray(given.run().cpu().numpy())

    return torch.from_numpy(arrays.get(given.parts, make)).to(next(module.parameters()).device)
