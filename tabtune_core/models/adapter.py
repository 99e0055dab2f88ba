"""What the training code asks of a base model, and the table of those that answer.

Shape letters: B tables, C context rows, Q query rows, F features, K classes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tabtune_core.models.catalogue import ModelCard
from tabtune_core.models.checkpoints import Source

Encoded = NDArray[np.float64]
"""Features as the table has them; missing numbers are nan."""
Array = NDArray[np.float32]
"""Features as the model reads them: complete and normalised."""


class BaseModel(Protocol):
    """A pretrained model that predicts query rows from context rows."""

    card: ModelCard
    source: Source
    module: nn.Module
    passed_over: tuple[str, ...]
    """Parts that LoRA adapts only when they are named: an adapter there would be larger than the weight."""
    block_lists: tuple[str, ...]
    """Paths of the module's lists of blocks, which gradient checkpointing computes again."""

    def fit_preprocessing(self, x_CF: Encoded) -> Callable[[Encoded], Array]:
        """Learns the model's own normalisation from context rows."""
        ...

    def train_logits(self, x_BTF: torch.Tensor, y_BC: torch.Tensor, classes: int) -> torch.Tensor:
        """Logits ``(B, T - C, K)`` of the query rows with a graph, scaled as at prediction; the first C rows are context."""
        ...

    def predict_proba(self, x_CF: Array, y_C: NDArray[np.int64], x_QF: Array, classes: int) -> NDArray[np.float64]:
        """Probabilities ``(Q, K)`` of preprocessed query rows; queries do not see each other."""
        ...

    def save(self, path: Path) -> None:
        """Writes the module's weights in the upstream package's own schema."""
        ...


def load_model(card: ModelCard, device: torch.device, checkpoint: str | Path | None = None) -> BaseModel:
    """Opens a model with its real weights.

    Raises:
        CheckpointError: the weights are missing, damaged or of another model.
    """
    return MODELS[card.family](card, device, checkpoint)


def _tabicl(card: ModelCard, device: torch.device, checkpoint: str | Path | None) -> BaseModel:
    from tabtune_core.models.tabicl import TabICLModel

    return TabICLModel.load(card, device, checkpoint)


MODELS: dict[str, Callable[[ModelCard, torch.device, str | Path | None], BaseModel]] = {"TabICL": _tabicl}
