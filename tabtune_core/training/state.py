"""The best state so far, kept on disk so that it adds nothing to the memory that is measured."""

from pathlib import Path

import safetensors.torch
import torch
from torch import nn


class BestState:
    """The trainable parameters of a module at their best. Begins with the state it is given: candidate 0."""

    def __init__(self, module: nn.Module, folder: Path) -> None:
        self._trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._file = folder / "best.safetensors"
        self.keep()

    @property
    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """The trainable parameters themselves."""
        return list(self._trainable.items())

    def keep(self) -> None:
        """Makes the present state the best."""
        partial = self._file.with_suffix(".partial")
        safetensors.torch.save_file({name: p.detach().contiguous() for name, p in self._trainable.items()}, partial)
        partial.replace(self._file)

    def restore(self) -> None:
        """Puts the best state back and removes its file."""
        for name, value in safetensors.torch.load_file(self._file).items():
            with torch.no_grad():
                self._trainable[name].copy_(value)
        self._file.unlink()
