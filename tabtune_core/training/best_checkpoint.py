"""The best state so far, kept on disk so that it adds nothing to the memory that is measured."""

from pathlib import Path

import safetensors.torch
import torch
from torch import nn


class BestState:
    """The trainable parameters of a module at their best. Begins with the state it is given: candidate 0, which is kept to the end."""

    def __init__(self, module: nn.Module, folder: Path) -> None:
        self._trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._file, self._first = folder / "best.safetensors", folder / "first.safetensors"
        self._write(self._first)
        self._best = self._first

    @property
    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable parameters themselves."""
        return list(self._trainable.items())

    def keep(self) -> None:
        """Makes the present state the best."""
        self._write(self._file)
        self._best = self._file

    def restore(self) -> None:
        """Puts the best state back."""
        self._read(self._best)

    def restore_first(self) -> None:
        """Puts candidate 0 back."""
        self._read(self._first)

    def remove(self) -> None:
        """Takes the files away."""
        for file in (self._file, self._first):
            file.unlink(missing_ok=True)

    def _write(self, file: Path) -> None:
        partial = file.with_suffix(".partial")
        safetensors.torch.save_file({name: p.detach().contiguous() for name, p in self._trainable.items()}, partial)
        partial.replace(file)

    def _read(self, file: Path) -> None:
        for name, value in safetensors.torch.load_file(file).items():
            with torch.no_grad():
                self._trainable[name].copy_(value)
