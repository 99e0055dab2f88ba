"""The best state so far, kept on disk so that it does not add to the measured memory."""

from pathlib import Path

import torch
from torch import nn

from tabtune_core.training.state_file import read_state, write_state


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
        """Makes the state that an earlier process saved at ``step`` the best.

        Raises:
            Damaged: it is missing or damaged; the text says which.
        """
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
