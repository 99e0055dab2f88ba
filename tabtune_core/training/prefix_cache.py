"""The cache of frozen first stages: they run once per input, without a graph, for all steps, evaluations and runs.

In: a model, its stages in call order, and a folder of arrays. Out: the same numbers and gradients, sooner. The cut
lies after the last stage up to which nothing trains; the hash of the model's inputs is the key of its output.
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
"""First steps with the frozen stages run although cached: gaps make the CPU's heap grow for about as long."""


def frozen_stages(module: nn.Module, stages: Sequence[Stage]) -> list[Stage]:
    """Returns the first stages without trained parameters, adapters or random numbers; none if another part trains."""
    trained = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    if any(not any(under(name, stage.path) for stage in stages) for name in trained):
        return []
    frozen = list(takewhile(lambda stage: _is_frozen(module.get_submodule(stage.path)), stages))
    while frozen and frozen[-1].give is None:
        frozen.pop()
    return frozen


def _is_frozen(stage: nn.Module) -> bool:
    layers = list(stage.modules())
    shares = [float(layer.p) if isinstance(layer, nn.Dropout) else getattr(layer, "dropout", None) for layer in layers]
    drops = any(isinstance(share, float) and share for share in shares)  # a dropout that is a module comes by itself
    trains = any(parameter.requires_grad for parameter in stage.parameters())
    return not drops and not trains and not any(adapted_paths(stage))


@dataclass(slots=True)
class SharedPrefix:
    """The cached stages of one model; exact, as they return equal numbers for equal inputs without autocast."""

    module: nn.Module
    stages: Stages
    arrays: SharedArrays
    on: bool = True
    """When off, nothing is read from or written to the cache."""
    _frozen: list[Stage] = field(init=False, default_factory=list)
    _within: bool = False
    """Whether a forward pass of the model is running."""
    _found: NDArray[Any] | None = None
    """The cached output for the present input, flat; None if it has to be computed."""
    _taken: int = 0
    _made: list[NDArray[Any]] = field(init=False, default_factory=list)
    _seconds: float = 0.0
    """Computing time of the frozen stages in this forward pass, which the cache would save."""
    _in_full: dict[tuple[str, bool], list[int]] | None = field(init=False, default=None)
    """Input sizes of forward passes run in full, by entry and gradients; None: the cache is used at once."""

    @property
    def cut(self) -> str | None:
        """Returns the path of the last stage that runs once per input, or None."""
        frozen = frozen_stages(self.module, self.stages.every) if self.on else []
        return frozen[-1].path if frozen else None

    def begin_in_full(self) -> None:
        """Runs ``STEPS_IN_FULL`` steps and one evaluation in full: peak memory is then as without a cache."""
        self._in_full = {}

    @contextmanager
    def use(self, when: bool = True) -> Iterator[None]:
        """Makes forward passes inside the block read from the cache and fill it. May be nested."""
        before = self._frozen
        if when and self.on and not before:
            self._frozen = frozen_stages(self.module, self.stages.every)
        try:
            with replaced([*self._wrapped()] if self._frozen and not before else ()):
                yield
        finally:
            self._frozen = before

    def _wrapped(self) -> Iterator[tuple[nn.Module, str, Any]]:
        """Yields the methods that read from the cache: where the model is entered, and its frozen stages."""
        for name in self.stages.entries:
            yield self.module, name, partial(self._run, name, getattr(self.module, name))
        for stage in self._frozen:
            owner = self.module.get_submodule(stage.path)
            yield owner, "forward", partial(self._stand_in, stage, owner.forward)

    def _run(self, name: str, forward: Any, *positional: Any, **named: Any) -> Any:
        """Runs the model's forward, or another method that calls the stages, with the cache."""
        if self._within:
            return forward(*positional, **named)
        inputs = [*positional, sorted(named), *map(named.get, sorted(named))]
        with self.arrays.clock.aside():
            file = self.arrays.file_of([self._frozen[-1].path, self.module.training, *inputs])
            self._found = None if self._is_early(name, inputs) else self.arrays.read(file)
            self._taken, self._made, self._seconds = 0, [], 0.0
        self._within = True
        try:
            result = forward(*positional, **named)
        finally:
            self._within = False
        if self._made:
            with self.arrays.clock.aside():
                made = self._made[0] if len(self._made) == 1 else np.concatenate(self._made)
                self.arrays.keep(file, made, self._seconds)
        self._found, self._made = None, []
        return result

    def _is_early(self, name: str, inputs: Sequence[Any]) -> bool:
        """Whether a forward pass is among the first of its kind, counting only those at least as large."""
        if self._in_full is None:
            return False
        size = sum(tensor.numel() for tensor in inputs if isinstance(tensor, torch.Tensor))
        trains = torch.is_grad_enabled()  # not ``module.training``: TabDPT's steps run in eval mode
        sizes = self._in_full.setdefault((name, trains), [])
        early = sum(other >= size for other in sizes) < (STEPS_IN_FULL if trains else 1)
        if early:
            sizes.append(size)
        return early

    def _stand_in(self, stage: Stage, forward: Any, *positional: Any, **named: Any) -> Any:
        """Runs a frozen stage, or skips it and, at the cut, returns the cached output."""
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
            began = clock.seconds
            output = forward(*positional, **named)
            if last:  # otherwise the copy below would wait for the work timed here
                synchronize(next(self.module.parameters()).device)
            if last or stage.skip is not None:
                self._seconds += clock.seconds - began
            if last:
                assert stage.keep is not None
                with clock.aside():
                    kept = stage.keep(output, *positional, **named)
                    self._made += [tensor.cpu().numpy().reshape(-1) for tensor in kept]
        return output

    def _take(self, *shape: int) -> torch.Tensor:
        assert self._found is not None
        size = prod(shape) if -1 not in shape else len(self._found) - self._taken
        tensor = torch.from_numpy(self._found[self._taken : self._taken + size].reshape(shape))
        self._taken += size
        return tensor.to(next(self.module.parameters()).device)
