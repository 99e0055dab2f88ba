"""The interface of a base model that the training code uses.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tabtune_core.data.encoding import Target
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.upstream import Source

Encoded = NDArray[np.float64]
"""Features as in the table; missing numbers are NaN."""
Array = NDArray[np.float32]
"""Features as the model reads them: normalised, and without missing numbers unless the model can read these."""
CACHE_BYTES = 500_000_000
"""Largest cache of a context for many predictions."""


def averaged(loss_BQ: Tensor, weight_BQ: Tensor | None) -> Tensor:
    """Returns the mean of the rows' losses, each times its weight; not divided by these rows' weights."""
    return loss_BQ.mean() if weight_BQ is None else (loss_BQ.flatten() * weight_BQ.flatten()).mean()


def cross_entropy(logits_BQK: Tensor, y: Tensor, weight_BQ: Tensor | None) -> Tensor:
    """Returns the mean cross-entropy in nats, as ``averaged``.

    ``y`` has class ids ``(B, Q)``, where rows with -1 are left out, or shares of the classes ``(B, Q, K)``.
    """
    logits_NK, y_N = logits_BQK.flatten(0, 1), y.flatten(0, 1)
    if weight_BQ is None:
        return F.cross_entropy(logits_NK, y_N, ignore_index=-1)
    return averaged(F.cross_entropy(logits_NK, y_N, ignore_index=-1, reduction="none"), weight_BQ)


def context_scale(y_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and deviation of the context's numbers, ``(B, 1)`` each; the latter is 1 for constant numbers."""
    scale_B1 = y_BC.std(1, correction=0, keepdim=True)
    return y_BC.mean(1, keepdim=True), torch.where(scale_B1 > 0, scale_B1, torch.ones_like(scale_B1))


class BaseModel(Protocol):
    """A pretrained model that predicts query rows from context rows."""

    module: nn.Module
    card: ModelCard
    task: Task
    source: Source
    native_classes: int | None
    """Most classes of one training episode; None: any number."""

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Fits the model's own normalisation to context rows, and returns it."""
        ...

    def loss(self, x_BTF: Tensor, y_BC: Tensor, y_BQ: Tensor, classes: int, weight_BQ: Tensor | None = None) -> Tensor:
        """Computes the mean loss of the query rows, with a graph; the first C rows are context.

        The outputs are those of a prediction. Classification: cross-entropy in nats, ids int64; query rows with the id
        -1 are left out. Regression (``classes`` is 0): the loss of the model's pre-training, with targets scaled by the
        context's; y is float32. With ``weight_BQ``, which is 0 for rows with the id -1 and has a mean of 1 over the
        training rows, each row's loss is multiplied by its weight.
        """
        ...

    def predict(self, x_CF: Array, y_C: Target, x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Predicts probabilities ``(Q, K)``, or numbers ``(Q,)`` without classes; query rows do not see each other."""
        ...

    def read_context(self, x_CF: Array, y_C: Target, classes: int) -> Callable[[Array], NDArray[np.float64]]:
        """Returns a ``predict`` for many batches of query rows that reads its context once, if the model has a cache.

        It holds for the current weights: discard it after a training step. The module must be in ``eval`` mode.
        """
        return lambda x_QF: self.predict(x_CF, y_C, x_QF, classes)

    def save(self, path: Path) -> None:
        """Writes the module's weights in the upstream package's own schema."""
        ...


def with_module(model: BaseModel, module: nn.Module) -> BaseModel:
    """Returns a copy of the model with another module, such as one with an adapter."""
    other = copy.copy(model)
    other.module = module
    return other


def load_model(card: ModelCard, task: Task, device: torch.device, checkpoint: str | Path | None = None) -> BaseModel:
    """Opens a model with its real weights; raises SettingError or CheckpointError if it has none that fit."""
    card.weights_for(task)
    code = card.family.code("model")
    path, source = find_checkpoint(card, task, checkpoint)
    model: BaseModel = code.MODEL(card, task, source, code.read_checkpoint(path, card, task), device)
    return model
