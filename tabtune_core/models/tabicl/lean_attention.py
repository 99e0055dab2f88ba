"""TabICL's attention without copies: upstream's own copies q, k and v apart, builds their rotation of many small steps, and asks for the
same inducing points in every column.

In: an upstream module. Out: the same numbers and gradients, in less time and memory. LoRA's dropout hides the same numbers of the inducing
points in every column; in 16 bits, positions are exact beyond 256 columns, where upstream rounds them.
Shape letters: T asking tokens, S tokens shown, D width, H heads, P pairs of numbers of a head.
"""

from typing import Any

import torch
from tabicl._model.attention import sdpa_with_flattened_batch
from tabicl._model.layers import InducedSelfAttentionBlock, MultiheadAttention
from torch.nn import functional as F


class LeanAttention(MultiheadAttention):  # type: ignore[misc]
    """Takes over training and plain predictions; with a mask, a cache or dropout it is upstream's."""

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor | None = None,
        value: torch.Tensor | None = None,
        cached_kv: Any = None,
        key_padding_mask: torch.Tensor | None = None,
        attn_mask: torch.Tensor | None = None,
        rope: Any = None,
        need_kv: bool = False,
    ) -> Any:
        """``(..., T, D)`` and ``(..., S, D)`` to ``(..., T, D)``; the query's leading axes may be 1 where those of the key are longer."""
        others = (cached_kv, key_padding_mask, attn_mask)
        if key is None or value is not key or need_kv or self.dropout or any(other is not None for other in others):
            apart = query if key is None else query.expand(*key.shape[:-2], *query.shape[-2:])
            return super().forward(apart, key, value, cached_kv, key_padding_mask, attn_mask, rope, need_kv)
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key:
            q, k, v = self._heads(F.linear(query, weight, bias), 3)
        else:
            parts = (width, 2 * width)
            (w_q, w_kv), (b_q, b_kv) = weight.split(parts), bias.split(parts)
            (q,), (k, v) = self._heads(F.linear(query, w_q, b_q), 1), self._heads(F.linear(key, w_kv, b_kv), 2)
        if rope is not None:
            angles_TP = torch.outer(torch.arange(max(q.shape[-2], k.shape[-2]), device=q.device).to(rope.freqs), rope.freqs)
            cos_TP, sin_TP = angles_TP.cos(), angles_TP.sin()
            q, k = (_rotated(x, cos_TP[: x.shape[-2]], sin_TP[: x.shape[-2]], rope.interleaved) for x in (q, k))
        if self.ssmax_layer is not None:
            q = self.ssmax_layer(q.flatten(0, -4), k.shape[-2]).view(q.shape)
        answer = sdpa_with_flattened_batch(q.expand(*k.shape[:-3], *q.shape[-3:]), k, v)
        return F.linear(answer.transpose(-3, -2).flatten(-2), self.out_proj.weight, self.out_proj.bias)

    def _heads(self, projected: torch.Tensor, count: int) -> list[torch.Tensor]:
        """``(..., T, count D)`` to so many times ``(..., H, T, D / H)``, views of what was projected."""
        parts = projected.view(*projected.shape[:-1], count, self.num_heads, self.head_dim)
        return [part.transpose(-3, -2) for part in (parts.unbind(-3) if count > 1 else [parts.squeeze(-3)])]


class _Rotation(torch.autograd.Function):
    """Turns pairs of numbers by the angles of their token; the gradient is turned back. Su et al. 2021, arXiv 2104.09864."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cos_TP: torch.Tensor, sin_TP: torch.Tensor, interleaved: bool) -> torch.Tensor:
        ctx.save_for_backward(cos_TP, sin_TP)
        ctx.interleaved = interleaved
        return _turned(x, cos_TP, sin_TP, interleaved)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos_TP, sin_TP = ctx.saved_tensors
        return _turned(grad, cos_TP, -sin_TP, ctx.interleaved), None, None, None


def _rotated(*arguments: Any) -> torch.Tensor:
    rotated: torch.Tensor = _Rotation.apply(*arguments)  # type: ignore[no-untyped-call]
    return rotated


def _turned(x: torch.Tensor, cos_TP: torch.Tensor, sin_TP: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """``(..., T, 2 P)`` to the same, in the type of the angles until it is done; a pair is two neighbours, or one of each half."""
    wide = x.to(cos_TP.dtype)
    turned = torch.empty_like(wide)
    (first, second), (to_first, to_second) = (
        (whole[..., ::2], whole[..., 1::2]) if interleaved else whole.chunk(2, dim=-1) for whole in (wide, turned)
    )
    torch.mul(first, cos_TP, out=to_first).addcmul_(second, sin_TP, value=-1)
    torch.mul(second, cos_TP, out=to_second).addcmul_(first, sin_TP)
    return turned.to(x.dtype)


class LeanInducedAttention(InducedSelfAttentionBlock):  # type: ignore[misc]
    """Lets the inducing points ask once for all columns, until they meet what each of them shows.

    It asks for reserved columns, a wait for the GPU, outside training alone: a training step has none here.
    """

    def forward(self, src: torch.Tensor, train_size: int | None = None) -> torch.Tensor:
        """``(..., T, D)`` to the same."""
        answer: torch.Tensor = (self.induced_attention if self.training else super().forward)(src, train_size)
        return answer

    def induced_attention(self, src: torch.Tensor, train_size: int | None = None) -> torch.Tensor:
        """``(..., T, D)`` to the same, through points that attend to the first ``train_size`` tokens."""
        points = self.ind_vectors[(None,) * (src.dim() - 2)]
        shown = src[..., :train_size, :]
        hidden = self.multihead_attn1(points, shown, shown)
        answer: torch.Tensor = self.multihead_attn2(src, hidden, hidden)
        return answer
