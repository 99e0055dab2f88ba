"""One training step of several runs at once: the same episode for all of them, each with its own adapter on one frozen base model.

In: models of one base with an adapter each, and an episode. Out: every run's loss, and its gradient where its optimizer looks for it.
Shape letters: K runs, T rows (context, then query), C context rows, Q query rows, F features, O outputs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from tabtune_core.lora.attach import adapted_paths, adapter_at
from tabtune_core.lora.stacked import Stack
from tabtune_core.models.stages import replaced


class PackedModel(Protocol):
    """A model whose tables do not see each other, so that each run may have one of them."""

    module: nn.Module

    def train_forward(self, x_BTF: torch.Tensor, y_BC: torch.Tensor, classes: int) -> torch.Tensor:
        """``(B, Q, O)``, with a graph."""
        ...

    def loss_of(
        self, outputs_BQO: torch.Tensor, y_BC: torch.Tensor, y_BQ: torch.Tensor, classes: int, weight_BQ: torch.Tensor | None = None
    ) -> torch.Tensor:
        """As ``BaseModel.loss``, from what ``train_forward`` gave."""
        ...


class PackedPass:
    """Forward and backward pass of a fixed set of runs. The first model's module computes, with the adapters of all."""

    def __init__(self, models: Sequence[PackedModel], cut: str | None) -> None:
        """Args:
        models: adapted with the same targets; their factors move into common storage.
        cut: path of the last part that none of them trains anything in or before; it runs once for all. None: there is no such part.
        """
        self._models, self._cut = models, cut
        device = next(models[0].module.parameters()).device
        self.generators = [torch.Generator(device) for _ in models]
        """Of each run's dropout; to be set to the state of its own random numbers."""
        paths = list(adapted_paths(models[0].module))
        self._stacks = [Stack.of([adapter_at(model.module, path) for model in models], self.generators) for path in paths]

    def losses(
        self, x_1TF: torch.Tensor, y_1C: torch.Tensor, y_1Q: torch.Tensor, classes: int, weight_BQ: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Each run's loss, as ``BaseModel.loss`` has it; the gradients are in ``grad`` of its parameters."""
        model, count = self._models[0], len(self._models)
        with self._stacked():
            if self._cut is None:
                x_1TF, context_labels = x_1TF.repeat(count, 1, 1), y_1C.repeat(count, 1)
            else:
                context_labels = y_1C
            outputs_KQO = model.train_forward(x_1TF, context_labels, classes)
            each = torch.split(outputs_KQO, 1)
            losses = torch.stack([model.loss_of(outputs_1QO, y_1C, y_1Q, classes, weight_BQ) for outputs_1QO in each])
            factors = [factor for stack in self._stacks for factor in (stack.a_KRI, stack.b_KRO)]
            gradients = iter(torch.autograd.grad(losses.sum(), factors))
        for stack in self._stacks:
            stack.give_gradients(next(gradients), next(gradients))
        return list(losses.detach())

    @contextmanager
    def _stacked(self) -> Iterator[None]:
        """While it lasts, the first model's adapters are those of all runs."""
        module, count = self._models[0].module, len(self._models)

        def repeat(part: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            return output.repeat(count, *[1] * (output.dim() - 1))

        hook = None if self._cut is None else module.get_submodule(self._cut).register_forward_hook(repeat)
        try:
            with replaced((stack.adapters[0], "forward", stack.forward) for stack in self._stacks):
                yield
        finally:
            if hook is not None:
                hook.remove()
