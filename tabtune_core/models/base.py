"""What the training code asks of a base model.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tabtune_core.data.encoding import Target
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.upstream import Source

Encoded = NDArray[np.float64]
"""Features as the table has them; missing numbers are nan."""
Array = NDArray[np.float32]
"""Features as the model reads them: normalised, and complete unless it reads missing numbers itself."""


def reduction(weight_BQ: torch.Tensor | None) -> str:
    """The ``reduction`` of a torch loss: the mean of all rows, or the loss of each for ``averaged``."""
    return "mean" if weight_BQ is None else "none"


def averaged(loss: torch.Tensor, weight_BQ: torch.Tensor | None) -> torch.Tensor:
    """The mean in which a row counts as much as its weight; values that are already means are returned unchanged."""
    return loss if weight_BQ is None else (loss.flatten() * weight_BQ.flatten()).sum() / weight_BQ.sum()


class BaseModel(Protocol):
    """A pretrained model that predicts query rows from context rows."""

    module: nn.Module
    card: ModelCard
    task: Task
    source: Source
    native_classes: int | None
    """Most classes that one training episode may show; None for any number."""

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Learns the model's own normalisation from context rows."""
        ...

    def loss(
        self, x_BTF: torch.Tensor, y_BC: torch.Tensor, y_BQ: torch.Tensor, classes: int, weight_BQ: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean loss of the query rows with a graph, of what prediction would say; the first C rows are context.

        For classes: cross-entropy in nats, ids int64, query rows of -1 are left out. For numbers (``classes`` is 0): the loss that
        the model was pre-trained with, with targets scaled by the context's numbers; y is float32.
        With ``weight_BQ``, which is 0 for a row of -1, the mean is weighted by row.
        """
        ...

    def predict(self, x_CF: Array, y_C: Target, x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Probabilities ``(Q, K)`` or, where ``classes`` is 0, numbers ``(Q,)``; queries do not see each other."""
        ...

    def read_context(self, x_CF: Array, y_C: Target, classes: int) -> Callable[[Array], NDArray[np.float64]]:
        """``predict`` for many lots of query rows beside one context, which is computed once where the model can.

        The result holds the context as the module is now: discard it after a training step. The module must be in ``eval`` mode.
        """
        ...

    def save(self, path: Path) -> None:
        """Writes the module's weights in the upstream package's own schema."""
        ...


def with_module(model: BaseModel, module: nn.Module) -> BaseModel:
    """The same model with another module, such as one with an adapter."""
    other = copy.copy(model)
    other.module = module
    return other


def load_model(card: ModelCard, task: Task, device: torch.device, checkpoint: str | Path | None = None) -> BaseModel:
    """Opens a model with its real weights.

    Raises:
        SettingError: the model does not do this task.
        CheckpointError: the weights are missing, damaged or of another model.
    """
    card.weights_for(task)
    model: BaseModel = card.family.code("model").MODEL.load(card, task, device, checkpoint)
    return model
