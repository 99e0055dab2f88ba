"""TabICL without computations whose results upstream drops or overwrites, except when a cached context is used.

Upstream sends the columns that it reserves for CLS tokens through the column stage, computes outputs for the context
rows in the last block and the head, waits for the GPU three times per step for known values, copies q, k and v apart,
and projects the same inducing points in every column. It also stores the state of a call on its module.

In: an upstream module, whose layers' classes are replaced once. Out: the same losses, gradients and predictions; a
call changes nothing, so threads may predict at once. Two differences: LoRA's dropout hides the same numbers of the
inducing points in every column, and in 16 bits positions beyond 256 columns are exact.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, H columns with the reserved ones, P
numbers of a cell, D width, O outputs. In attention: T asking tokens, S shown ones, H heads, P pairs of numbers.
"""

import copy
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from tabicl._model import ssmax
from tabicl._model.attention import sdpa_with_flattened_batch
from tabicl._model.embedding import ColEmbedding
from tabicl._model.layers import InducedSelfAttentionBlock, MultiheadAttention, MultiheadAttentionBlock, SkippableLinear
from tabicl._model.learning import ICLearning
from torch import Tensor, nn
from torch.nn import functional as F

from tabtune_core.lora.attach import view
from tabtune_core.models.tabicl.family import UPSTREAM


class LeanAttention(MultiheadAttention):  # type: ignore[misc]
    """Replaces attention in training and plain predictions; with a mask, a cache or dropout it calls upstream's."""

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        cached_kv: Any = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
        rope: Any = None,
        need_kv: bool = False,
    ) -> Any:
        """Maps ``(..., T, D)`` and ``(..., S, D)`` to ``(..., T, D)``; leading axes of the query may be 1."""
        others = (cached_kv, key_padding_mask, attn_mask)
        if key is None or value is not key or need_kv or self.dropout or any(other is not None for other in others):
            points = query if key is None else query.expand(*key.shape[:-2], *query.shape[-2:])
            return super().forward(points, key, value, cached_kv, key_padding_mask, attn_mask, rope, need_kv)
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key:
            q, k, v = self._heads(F.linear(query, weight, bias), 3)
        else:
            parts = (width, 2 * width)
            (w_q, w_kv), (b_q, b_kv) = weight.split(parts), bias.split(parts)
            (q,), (k, v) = self._heads(F.linear(query, w_q, b_q), 1), self._heads(F.linear(key, w_kv, b_kv), 2)
        if rope is not None:
            angles_TP = torch.outer(
                torch.arange(max(q.shape[-2], k.shape[-2]), device=q.device).to(rope.freqs), rope.freqs
            )
            cos_TP, sin_TP = angles_TP.cos(), angles_TP.sin()
            q, k = (_rotated(x, cos_TP[: x.shape[-2]], sin_TP[: x.shape[-2]], rope.interleaved) for x in (q, k))
        if self.ssmax_layer is not None:
            q = self.ssmax_layer(q.flatten(0, -4), k.shape[-2]).view(q.shape)
        answer = sdpa_with_flattened_batch(q.expand(*k.shape[:-3], *q.shape[-3:]), k, v)
        return F.linear(answer.transpose(-3, -2).flatten(-2), self.out_proj.weight, self.out_proj.bias)

    def _heads(self, projected: Tensor, count: int) -> list[Tensor]:
        """Splits ``(..., T, count D)`` into ``count`` views ``(..., H, T, D / H)``."""
        parts = projected.view(*projected.shape[:-1], count, self.num_heads, self.head_dim)
        return [part.transpose(-3, -2) for part in (parts.unbind(-3) if count > 1 else [parts.squeeze(-3)])]


class _Rotation(torch.autograd.Function):
    """Rotates pairs of numbers by their token's angles, and the gradient back: Su et al. 2021, arXiv 2104.09864."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos_TP: Tensor, sin_TP: Tensor, interleaved: bool) -> Tensor:
        ctx.save_for_backward(cos_TP, sin_TP)
        ctx.interleaved = interleaved
        return _turned(x, cos_TP, sin_TP, interleaved)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos_TP, sin_TP = ctx.saved_tensors
        return _turned(grad, cos_TP, -sin_TP, ctx.interleaved), None, None, None


def _rotated(*arguments: Any) -> Tensor:
    rotated: Tensor = _Rotation.apply(*arguments)  # type: ignore[no-untyped-call]
    return rotated


def _turned(x: Tensor, cos_TP: Tensor, sin_TP: Tensor, interleaved: bool) -> Tensor:
    """Rotates ``(..., T, 2 P)`` in the type of the angles; a pair is two neighbours, or one number of each half."""
    wide = x.to(cos_TP.dtype)
    turned = torch.empty_like(wide)
    (first, second), (to_first, to_second) = (
        (whole[..., ::2], whole[..., 1::2]) if interleaved else whole.chunk(2, dim=-1) for whole in (wide, turned)
    )
    torch.mul(first, cos_TP, out=to_first).addcmul_(second, sin_TP, value=-1)
    torch.mul(second, cos_TP, out=to_second).addcmul_(first, sin_TP)
    return turned.to(x.dtype)


class LeanInducedAttention(InducedSelfAttentionBlock):  # type: ignore[misc]
    """Projects the inducing points once for all columns; checks for reserved columns only outside training."""

    def forward(self, src: Tensor, train_size: int | None = None) -> Tensor:
        """Maps ``(..., T, D)`` to the same shape."""
        answer: Tensor = (self.induced_attention if self.training else super().forward)(src, train_size)
        return answer

    def induced_attention(self, src: Tensor, train_size: int | None = None) -> Tensor:
        """Maps ``(..., T, D)`` to the same shape, through points that attend to the first ``train_size`` tokens."""
        points = self.ind_vectors[(None,) * (src.dim() - 2)]
        shown = src[..., :train_size, :]
        hidden = self.multihead_attn1(points, shown, shown)
        answer: Tensor = self.multihead_attn2(src, hidden, hidden)
        return answer


RESERVED = -100.0
"""Value with which upstream fills the reserved columns."""


class LeanLastBlock(MultiheadAttentionBlock):  # type: ignore[misc]
    """The last in-context block, which computes outputs for the query rows only."""

    def forward(self, q: Tensor, *positional: Any, train_size: int | None = None, **named: Any) -> Any:
        """Maps ``(B, T, D)`` to ``(B, Q, D)``; other calls, such as filling a cache, are upstream's."""
        if train_size is None or positional or named.keys() - {"rope"}:
            return super().forward(q, *positional, train_size=train_size, **named)
        shown_BCD = q[..., :train_size, :]
        return super().forward(q=q[..., train_size:, :], k=shown_BCD, v=shown_BCD, **named)


class LeanInContext(ICLearning):  # type: ignore[misc]
    """Pads the outputs to ``(B, T, O)`` with zeros for the context rows, which upstream does not read."""

    def _icl_predictions(self, R: Tensor, y_train: Tensor) -> Tensor:
        return F.pad(super()._icl_predictions(R, y_train), (0, 0, y_train.shape[1], 0))

    def _icl_predictions_repr_cache(self, R: Tensor, train_size: int) -> Tensor:
        return F.pad(super()._icl_predictions_repr_cache(R, train_size), (0, 0, train_size, 0))


class _Labels(Tensor):
    """Labels whose ``max`` does not wait for the GPU: an episode never has more classes than there are outputs."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def max(self) -> Any:  # type: ignore[override]
        """Returns the maximum of a single class, 0, in place of the real one."""
        return np.zeros(())


class LeanColumns(ColEmbedding):  # type: ignore[misc]
    """Computes embeddings of cells for the columns that hold data only."""

    def _compute_embeddings(
        self, features: Tensor, train_size: int, y_train: Tensor | None = None, embed_with_test: bool = False
    ) -> Tensor:
        """Maps ``(B, H, T, P)`` to ``(B, H, T, D)``, with zeros for the reserved columns, which come first.

        In inference a call may have only some columns, so reserved ones are recognized by their values: no data column
        consists of ``RESERVED`` alone, as constant columns are removed and the others have a mean of 0.
        """
        first, labels = int(self.reserve_cls_tokens), y_train
        if not self.training:
            full_H = (features != RESERVED).flatten(-2).any(dim=-1).reshape(-1, features.shape[-3]).any(dim=0)
            first = min(int(full_H.int().argmax()), first)
        if labels is not None and first:
            labels = labels[..., first:, :].as_subclass(_Labels) if self.training else labels[..., first:, :]
        embedded: Tensor = super()._compute_embeddings(features[..., first:, :, :], train_size, labels, embed_with_test)
        return F.pad(embedded, (0, 0, 0, 0, first, 0)) if first else embedded


class LeanLinear(SkippableLinear):  # type: ignore[misc]
    """Checks for reserved columns, which waits for the GPU, only outside training: a training step has none here."""

    def forward(self, src: Tensor) -> Tensor:
        """Maps ``(..., in)`` to ``(..., out)``."""
        output: Tensor = nn.Linear.forward(self, src) if self.training else super().forward(src)
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
    """Replaces the classes of a ``TabICL``'s layers; does nothing if the installed version was not tested."""
    if not UPSTREAM.is_tested:
        return
    ssmax._logn = _logarithm  # cached, so that the GPU is waited for only once per number of rows
    for layer in module.modules():
        layer.__class__ = LEAN.get(type(layer), type(layer))
    *_, last = module.get_submodule("icl_predictor.tf_icl.blocks").children()
    last.__class__ = LeanLastBlock


def of_one_call(module: nn.Module) -> Any:
    """Returns a view with its own copies of the objects on which upstream stores the state of a call."""
    own = view(module)
    for part in own.modules():
        if "inference_mgr" in vars(part):
            part.inference_mgr = copy.copy(part.inference_mgr)
    return own
