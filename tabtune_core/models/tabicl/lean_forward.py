"""TabICL without computations whose results upstream drops or overwrites, except when a cached context is used.

- The columns that it reserves for the rows' CLS tokens go through the whole column stage as if they were data.
- The last in-context block and the head answer for the context rows too.
- While training it reads three known facts from the GPU, and waits for each of them: whether a column is reserved, how many
  classes there are, and for the logarithm of the number of rows.

Upstream also keeps on its module what belongs to one call: a context's cache, the tree of many classes, how work is split.

In: an upstream module. Out: the same losses, gradients and predictions, without that work and the memory that it keeps. The classes of its
layers change once, when it is loaded; a call changes nothing, so that threads may predict at once.
Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, H columns with the reserved ones, P numbers of a cell,
D width, O outputs.
"""

import copy
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from tabicl._model import ssmax
from tabicl._model.embedding import ColEmbedding
from tabicl._model.layers import InducedSelfAttentionBlock, MultiheadAttention, MultiheadAttentionBlock, SkippableLinear
from tabicl._model.learning import ICLearning
from torch import nn
from torch.nn import functional as F

from tabtune_core.lora.view import view
from tabtune_core.models.tabicl.lean_attention import LeanAttention, LeanInducedAttention
from tabtune_core.models.tabicl.upstream import UPSTREAM

RESERVED = -100.0
"""What upstream fills the reserved columns with."""


class LeanLastBlock(MultiheadAttentionBlock):  # type: ignore[misc]
    """The last in-context block, which answers for the query rows alone."""

    def forward(self, q: torch.Tensor, *positional: Any, train_size: int | None = None, **named: Any) -> Any:
        """``(B, T, D)`` to ``(B, Q, D)``: the query rows attend to the context. Other calls, such as filling a cache, are upstream's."""
        if train_size is None or positional or named.keys() - {"rope"}:
            return super().forward(q, *positional, train_size=train_size, **named)
        shown_BCD = q[..., :train_size, :]
        return super().forward(q=q[..., train_size:, :], k=shown_BCD, v=shown_BCD, **named)


class LeanInContext(ICLearning):  # type: ignore[misc]
    """Upstream expects answers ``(B, T, O)``; of the context rows it reads nothing."""

    def _icl_predictions(self, R: torch.Tensor, y_train: torch.Tensor) -> torch.Tensor:
        return F.pad(super()._icl_predictions(R, y_train), (0, 0, y_train.shape[1], 0))

    def _icl_predictions_repr_cache(self, R: torch.Tensor, train_size: int) -> torch.Tensor:
        return F.pad(super()._icl_predictions_repr_cache(R, train_size), (0, 0, train_size, 0))


class _Labels(torch.Tensor):
    """Class ids or numbers without their largest: a training episode never has more classes than the module has outputs."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def max(self) -> Any:  # type: ignore[override]
        """Of one class."""
        return np.zeros(())


class LeanColumns(ColEmbedding):  # type: ignore[misc]
    """Upstream's step from cells to embeddings, of the columns that hold data."""

    def _compute_embeddings(
        self, features: torch.Tensor, train_size: int, y_train: torch.Tensor | None = None, embed_with_test: bool = False
    ) -> torch.Tensor:
        """``(B, H, T, P)`` to ``(B, H, T, D)``: zeros for the reserved columns, since the rows' stage writes over them.

        They come first. Inference may ask for some of the columns at a time, so that they are known by what they hold there; reserved ones
        alone go through upstream's code. No column of data is all ``RESERVED``: a constant one is left out before, the others have a mean
        of 0.
        """
        first, labels = int(self.reserve_cls_tokens), y_train
        if not self.training:
            full_H = (features != RESERVED).flatten(-2).any(dim=-1).reshape(-1, features.shape[-3]).any(dim=0)
            first = min(int(full_H.int().argmax()), first)
        if labels is not None and first:
            labels = labels[..., first:, :].as_subclass(_Labels) if self.training else labels[..., first:, :]
        embedded: torch.Tensor = super()._compute_embeddings(features[..., first:, :, :], train_size, labels, embed_with_test)
        return F.pad(embedded, (0, 0, 0, 0, first, 0)) if first else embedded


class LeanLinear(SkippableLinear):  # type: ignore[misc]
    """Asks for reserved columns, a wait for the GPU, outside training alone: a training step has none here."""

    def forward(self, src: torch.Tensor) -> torch.Tensor:
        """``(..., in)`` to ``(..., out)``."""
        output: torch.Tensor = nn.Linear.forward(self, src) if self.training else super().forward(src)
        return output


LEAN: dict[type, Any] = {
    MultiheadAttention: LeanAttention,
    InducedSelfAttentionBlock: LeanInducedAttention,
    SkippableLinear: LeanLinear,
    ColEmbedding: LeanColumns,
    ICLearning: LeanInContext,
}
_logarithm = lru_cache(maxsize=256)(ssmax._logn)


def lean(module: nn.Module) -> None:
    """Changes the classes of a ``TabICL``'s layers, nothing else; those of a version that was not tested stay."""
    if not UPSTREAM.is_tested:
        return
    ssmax._logn = _logarithm  # the same numbers, without a second wait
    for layer in module.modules():
        layer.__class__ = LEAN.get(type(layer), type(layer))
    *_, last = module.get_submodule("icl_predictor.tf_icl.blocks").children()
    last.__class__ = LeanLastBlock


def of_one_call(module: nn.Module) -> Any:
    """A view of the module, with all on which upstream keeps what belongs to a call."""
    own = view(module)
    for part in own.modules():
        if "inference_mgr" in vars(part):
            part.inference_mgr = copy.copy(part.inference_mgr)
    return own
