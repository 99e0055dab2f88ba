"""The frozen first stages of a model, run once for each input, without a graph, for every step, evaluation and other run.

In: a model, its stages in the order of their calls, and a folder of arrays. Out: the same numbers and gradients, sooner. The cut lies after
the last stage before which nothing trains; what goes on from there comes from a file by the hash of all that went into the model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tabtune_core.devices import synchronize
from tabtune_core.lora.attach import adapted_paths
from tabtune_core.lora.names import under
from tabtune_core.models.stages import Stage, Stages, replaced
from tabtune_core.training.array_cache import SharedArrays

STEPS_IN_FULL = 8
"""Steps of a run in which the frozen stages run though a file has what they give: for about as long the heap grows by gaps on the CPU.
With one or two, the peak of memory was 23 and 11 MB below the 140 of an empty folder (TabICL mini 1, 1,024 context rows x 40 columns)."""


def frozen_stages(module: nn.Module, stages: Sequence[Stage]) -> list[Stage]:
    """The first stages, up to the cut, in which nothing trains, no adapter sits and nothing is drawn at random.

    None where something outside all stages trains, as it may be read at any time.
    """
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if any(not any(under(name, stage.path) for stage in stages) for name in trained):
        return []
    frozen = list(takewhile(lambda stage: _is_frozen(module.get_submodule(stage.path)), stages))
    while frozen and frozen[-1].give is None:
        frozen.pop()
    return frozen


def _is_frozen(stage: nn.Module) -> bool:
    drops = any((getattr(layer, "p", 0.0) if isinstance(layer, nn.Dropout) else getattr(layer, "dropout", 0.0)) for layer in _floats(stage))
    return not drops and not any(adapted_paths(stage)) and not any(parameter.requires_grad for parameter in stage.parameters())


def _floats(stage: nn.Module) -> Iterator[nn.Module]:
    """Submodules with dropout as a number; a dropout that is a module is listed itself."""
    return (layer for layer in stage.modules() if isinstance(layer, nn.Dropout) or isinstance(getattr(layer, "dropout", None), float))


@dataclass(slots=True)
class SharedPrefix:
    """Stages of one model. Exact without autocast: frozen stages give the same numbers for the same input, and the key covers it all."""

    module: nn.Module
    stages: Stages
    arrays: SharedArrays
    on: bool = True
    """When off, nothing is read from or written to the cache."""
    _frozen: list[Stage] = field(init=False, default_factory=list)
    _within: bool = False
    """Whether a forward pass of the model is running."""
    _found: NDArray[Any] | None = None
    """What an earlier forward with the same input kept, flat; None while it is made."""
    _taken: int = 0
    _made: list[NDArray[Any]] = field(init=False, default_factory=list)
    _seconds: float = 0.0
    """Seconds that the frozen stages of this forward pass took, which a file would save."""
    _waits: float = 0.0
    """Seconds that they waited for a core besides."""
    _in_full: dict[tuple[str, bool], list[int]] | None = field(init=False, default=None)
    """How many numbers went into each forward that was computed in full, by entry and whether it was a step's; None: files go first."""

    @property
    def cut(self) -> str | None:
        """Path of the last stage that runs once for each input, or None."""
        frozen = frozen_stages(self.module, self.stages.every) if self.on else []
        return frozen[-1].path if frozen else None

    def begin_in_full(self) -> None:
        """From here on the first forwards are computed in full, though files have them: ``STEPS_IN_FULL`` steps, and one evaluation.

        So the peak of memory is the same as with an empty folder.
        """
        self._in_full = {}

    @contextmanager
    def use(self, when: bool = True) -> Iterator[None]:
        """While the context lasts, forward passes read from the cache and fill it. May be nested."""
        before = self._frozen
        if when and self.on and not before:
            self._frozen = frozen_stages(self.module, self.stages.every)
        wrapped = [*self._entries(), *self._stand_ins()] if self._frozen and not before else []
        try:
            with replaced(wrapped):
                yield
        finally:
            self._frozen = before

    def _entries(self) -> Iterator[tuple[nn.Module, str, Any]]:
        for name in self.stages.entries:
            yield self.module, name, partial(self._run, name, getattr(self.module, name))

    def _stand_ins(self) -> Iterator[tuple[nn.Module, str, Any]]:
        for stage in self._frozen:
            owner = self.module.get_submodule(stage.path)
            yield owner, "forward", partial(self._stand_in, stage, owner.forward)

    def _run(self, name: str, forward: Any, *positional: Any, **named: Any) -> Any:
        """The model's forward, or another method that calls the stages."""
        if self._within:
            return forward(*positional, **named)
        inputs = [*positional, sorted(named), *map(named.get, sorted(named))]
        with self.arrays.clock.aside():
            file = self.arrays.file_of([self._frozen[-1].path, self.module.training, *inputs])
            self._found = None if self._is_early(name, inputs) else self.arrays.read(file)
            self._taken, self._made, self._seconds, self._waits = 0, [], 0.0, 0.0
        self._within = True
        try:
            result = forward(*positional, **named)
        finally:
            self._within = False
        if self._made:
            with self.arrays.clock.aside():
                self.arrays.keep(file, self._made[0] if len(self._made) == 1 else np.concatenate(self._made), self._seconds, self._waits)
        self._found, self._made = None, []
        return result

    def _is_early(self, name: str, inputs: Sequence[Any]) -> bool:
        """Whether it is among the first of its kind; of several sizes, among the largest so far."""
        if self._in_full is None:
            return False
        size, trains = sum(tensor.numel() for tensor in inputs if isinstance(tensor, torch.Tensor)), torch.is_grad_enabled()
        sizes = self._in_full.setdefault((name, trains), [])  # ``training`` says less: TabDPT's steps run with that of prediction
        early = sum(other >= size for other in sizes) < (STEPS_IN_FULL if trains else 1)
        if early:
            sizes.append(size)
        return early

    def _stand_in(self, stage: Stage, forward: Any, *positional: Any, **named: Any) -> Any:
        """One frozen stage: runs, passes over, or at the cut gives what was kept."""
        if not self._within:
            return forward(*positional, **named)
        last, clock = stage is self._frozen[-1], self.arrays.clock
        with torch.no_grad():
            if self._found is not None and last:
                assert stage.give is not None
                with clock.aside():
                    return stage.give(self._take, *positional, **named)
            if self._found is not None and stage.skip is not None:
                return stage.skip(*positional, **named)
            began, waits = clock.seconds, clock.waited_seconds
            output = forward(*positional, **named)
            if last:
                synchronize(next(self.module.parameters()).device)  # otherwise the copy below would wait for the work that is timed here
            if last or stage.skip is not None:
                self._seconds, self._waits = self._seconds + clock.seconds - began, self._waits + clock.waited_seconds - waits
            if last:
                assert stage.keep is not None
                with clock.aside():
                    self._made += [tensor.cpu().numpy().reshape(-1) for tensor in stage.keep(output, *positional, **named)]
        return output

    def _take(self, *shape: int) -> torch.Tensor:
        assert self._found is not None
        size = prod(shape) if -1 not in shape else len(self._found) - self._taken
        tensor = torch.from_numpy(self._found[self._taken : self._taken + size].reshape(shape))
        self._taken += size
        return tensor.to(next(self.module.parameters()).device)
