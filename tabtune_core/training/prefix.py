"""The frozen first parts of a model, run once for each input, without a graph, whoever asks: a step, a look, another run.

In: a model, its parts in the order of their calls, and a folder of arrays. Out: the same numbers and gradients, sooner. The cut lies after
the last part before which nothing trains; what goes on from there comes from a file by the hash of all that went into the model.
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

from tabtune_core.lora.attach import adapted_paths
from tabtune_core.lora.names import under
from tabtune_core.models.parts import Part, Parts
from tabtune_core.training.shared import SharedArrays


def frozen_parts(module: nn.Module, parts: Sequence[Part]) -> list[Part]:
    """The first parts, up to the cut, in which nothing trains, no adapter sits and nothing is drawn at random.

    None where something trains that is in no part: nobody knows when it is read.
    """
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if any(not any(under(name, part.path) for part in parts) for name in trained):
        return []
    frozen = list(takewhile(lambda part: _is_frozen(module.get_submodule(part.path)), parts))
    while frozen and frozen[-1].give is None:
        frozen.pop()
    return frozen


def _is_frozen(part: nn.Module) -> bool:
    drops = any((getattr(one, "p", 0.0) if isinstance(one, nn.Dropout) else getattr(one, "dropout", 0.0)) for one in _floats(part))
    return not drops and not any(adapted_paths(part)) and not any(parameter.requires_grad for parameter in part.parameters())


def _floats(part: nn.Module) -> Iterator[nn.Module]:
    """Submodules whose dropout, if they have one, is a number; one that is a module is among them itself."""
    return (one for one in part.modules() if isinstance(one, nn.Dropout) or isinstance(getattr(one, "dropout", None), float))


@dataclass(slots=True)
class SharedPrefix:
    """Of one model. Exact, without autocast: frozen parts give the same numbers for the same input, all of which is in the key."""

    module: nn.Module
    parts: Parts
    arrays: SharedArrays
    on: bool = True
    """Off, nobody takes or keeps anything."""
    _frozen: list[Part] = field(init=False, default_factory=list)
    _within: bool = False
    """A forward of the model is going on."""
    _found: NDArray[Any] | None = None
    """What an earlier forward with the same input kept, flat; None while it is made."""
    _taken: int = 0
    _made: list[NDArray[Any]] = field(init=False, default_factory=list)

    @property
    def cut(self) -> str | None:
        """Path of the last part that runs once; None where there is none."""
        frozen = frozen_parts(self.module, self.parts.every) if self.on else []
        return frozen[-1].path if frozen else None

    @contextmanager
    def use(self, when: bool = True) -> Iterator[None]:
        """While the context lasts, whoever runs the model takes what was kept, and keeps what was not there. May be nested."""
        before = self._frozen
        if when and self.on and not before:
            self._frozen = frozen_parts(self.module, self.parts.every)
        wrapped = [*self._entries(), *self._stand_ins()] if self._frozen and not before else []
        own = [(owner, name, vars(owner).get(name)) for owner, name, _ in wrapped]
        for owner, name, function in wrapped:
            vars(owner)[name] = function
        try:
            yield
        finally:
            self._frozen = before
            for owner, name, function in own:
                if function is None:
                    del vars(owner)[name]
                else:
                    vars(owner)[name] = function

    def _entries(self) -> Iterator[tuple[nn.Module, str, Any]]:
        for name in self.parts.entries:
            yield self.module, name, partial(self._run, getattr(self.module, name))

    def _stand_ins(self) -> Iterator[tuple[nn.Module, str, Any]]:
        for part in self._frozen:
            owner = self.module.get_submodule(part.path)
            yield owner, "forward", partial(self._stand_in, part, owner.forward)

    def _run(self, forward: Any, *given: Any, **named: Any) -> Any:
        """The model's forward, or another method that calls the parts."""
        if self._within:
            return forward(*given, **named)
        with self.arrays.timed():
            file = self.arrays.file_of([self._frozen[-1].path, self.module.training, *given, sorted(named), *map(named.get, sorted(named))])
            self._found, self._taken, self._made = self.arrays.read(file), 0, []
        self._within = True
        try:
            result = forward(*given, **named)
        finally:
            self._within = False
        if self._made:
            with self.arrays.timed():
                self.arrays.keep(file, self._made[0] if len(self._made) == 1 else np.concatenate(self._made))
        self._found, self._made = None, []
        return result

    def _stand_in(self, part: Part, forward: Any, *given: Any, **named: Any) -> Any:
        """One frozen part: runs, passes over, or at the cut gives what was kept."""
        if not self._within:
            return forward(*given, **named)
        last = part is self._frozen[-1]
        with self.arrays.timed(), torch.no_grad():
            if self._found is not None and last:
                assert part.give is not None
                return part.give(self._take, *given, **named)
            if self._found is not None and part.skip is not None:
                return part.skip(*given, **named)
            output = forward(*given, **named)
            if last and self._found is None:
                assert part.keep is not None
                self._made += [tensor.cpu().numpy().reshape(-1) for tensor in part.keep(output, *given, **named)]
        return output

    def _take(self, *shape: int) -> torch.Tensor:
        assert self._found is not None
        size = prod(shape) if -1 not in shape else len(self._found) - self._taken
        tensor = torch.from_numpy(self._found[self._taken : self._taken + size].reshape(shape))
        self._taken += size
        return tensor.to(next(self.module.parameters()).device)
