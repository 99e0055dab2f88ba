"""State files of a training, whole or absent even after a power failure, and the best state so far, kept in one.

torch writes tensor by tensor: a copy of all tensors would count as memory of the training. Reading runs no code.
"""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tabtune_core.files.damaged import ODD, Damaged
from tabtune_core.files.whole import lasting


def write_state(file: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Writes a temporary file, waits for the disk, and moves it to its place; an OSError leaves an earlier file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    with lasting(file) as opened:
        try:
            torch.save({"facts": json.dumps(facts), "tensors": plain}, opened)
        except RuntimeError as error:  # torch still ends its zip, which hides why writing failed
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read_state(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads tensors, on the CPU, and facts; raises Damaged, which says what is wrong."""
    try:
        with zipfile.ZipFile(file) as archive:
            torn = archive.testzip()  # compares checksums, which torch only writes
        content = torch.load(file, map_location="cpu", weights_only=True)
        tensors, facts = content["tensors"], json.loads(content["facts"])
    except (pickle.UnpicklingError, *ODD) as error:
        raise Damaged(f"{file.name} cannot be read ({error})") from error
    if torn is not None:
        raise Damaged(f"{file.name} is damaged: its content is not what was written")
    return tensors, facts


class BestState:
    """The best state of a module's trainable parameters; candidate 0, the state at the start, is kept to the end."""

    def __init__(self, module: nn.Module, folder: Path) -> None:
        self.trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        """Parameters by name."""
        self._folder = folder
        self._best = self._relied_on = 0
        write_state(self._file(0), self.trainable, {})

    def keep(self, step: int) -> None:
        """Saves the present state, that of ``step``, as the best."""
        write_state(self._file(step), self.trainable, {})
        self._best = step
        self._tidy()

    def rely(self) -> None:
        """Keeps the best state's file until the next call, because a saved last state names it."""
        self._relied_on = self._best
        self._tidy()

    def take(self, step: int) -> None:
        """Makes the state that an earlier process saved at ``step`` the best; raises Damaged if it cannot be read."""
        if step:
            read_state(self._file(step))
        self._best = step
        self.rely()

    def restore(self, *, first: bool = False) -> None:
        """Restores the best state, or candidate 0 with ``first``."""
        for name, value in read_state(self._file(0 if first else self._best))[0].items():
            with torch.no_grad():
                self.trainable[name].copy_(value)

    def _file(self, step: int) -> Path:
        return self._folder / f"best-{step}.pt"

    def _tidy(self) -> None:
        needed = {self._file(step) for step in (0, self._best, self._relied_on)}
        for file in self._folder.glob("best-*"):
            if file not in needed:
                file.unlink(missing_ok=True)
