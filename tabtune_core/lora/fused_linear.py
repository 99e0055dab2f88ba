"""A frozen linear layer with a low-rank update, as one operation with a backward pass of its own: ``x W^T + b + s dropout(x) A^T B^T``.

Autograd's own graph of the same formula makes a tensor of the output's size for the update, copies the input where there is dropout, and
forms the whole gradient of a weight that is read. Here nothing of that exists: x is kept for the backward pass, with dropout a byte for
each of its numbers, and the update goes into the output in place, or into a copy of the weight where that is smaller than the output.

Shape letters: N rows, all tokens of all tables; I inputs, O outputs, R rank.
"""

import math
from typing import Any

import torch
from torch.nn import functional as F

LEVELS = 2**8
CACHED = 2**19
"""Numbers that fit a processor's own cache, 2 MB in fp32: where the two forms take equally long on a Xeon; on a GPU either will do."""
SKINNY = 3
"""A product with the rank as one side takes so many times as long a number as one of full widths takes, both ways taken together."""


def low_rank_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scaling: float, dropout: float
) -> torch.Tensor:
    """The frozen layer's output and the update's.

    Args:
        x: ``(..., I)``.
        weight: ``(O, I)``, frozen.
        bias: ``(O,)`` or None; may train.
        a: ``(R, I)``.
        b: ``(O, R)``.
        scaling: in front of B A.
        dropout: share of the numbers of x that the update does not see; the others count for them.

    Returns:
        ``(..., O)``.
    """
    kept = None
    if dropout:
        kept, scaling = keep_mask(x, dropout), scaling / (1 - dropout)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight, a, b = (tensor.to(dtype) for tensor in (x, weight, a, b))
        bias = None if bias is None else bias.to(dtype)
        with torch.autocast(device, enabled=False):
            return _apply(x, weight, bias, a, b, scaling, kept, False)
    # by cost: numbers of the output against those of the weight; not in 16 bits, which would round a small update to the weight away
    return _apply(x, weight, bias, a, b, scaling, kept, kept is None and x.numel() >= max(weight.shape) * x.shape[-1])


def _apply(*arguments: Any) -> torch.Tensor:
    output: torch.Tensor = _LowRankLinear.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def keep_mask(x: torch.Tensor, dropout: float) -> torch.Tensor:
    """Which numbers of x the update sees, ``(N, I)`` of 1 and 0, a byte each.

    On a CPU from eight random bits a number, against a level that is drawn between the two next to ``256 dropout`` so that the share is
    met: torch's Bernoulli numbers take as long as the layer itself there. On a card they are one kernel, and nothing waits for the CPU.
    """
    if x.device.type != "cpu":
        return torch.empty(x.numel() // x.shape[-1], x.shape[-1], dtype=torch.int8, device=x.device).bernoulli_(1 - dropout)
    hidden = math.floor(LEVELS * dropout + torch.rand(()).item())
    if hidden in (0, LEVELS):
        return torch.full((x.numel() // x.shape[-1], x.shape[-1]), int(not hidden), dtype=torch.int8, device=x.device)
    last = hidden - LEVELS // 2 - 1
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device).random_(-(2**63), None)
    return words.view(torch.int8)[: x.numel()].clamp_(last, last + 1).sub_(last).view(-1, x.shape[-1])


class _LowRankLinear(torch.autograd.Function):
    """See ``low_rank_linear``. With ``merged``, the update is added to the weight, else to the output."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor, scaling: float,
        kept: torch.Tensor | None, merged: bool,
    ) -> torch.Tensor:  # fmt: skip
        x_NI, low_NR = x.reshape(-1, x.shape[-1]), None
        if merged:
            output = F.linear(x, torch.addmm(weight, b, a, alpha=scaling), bias)
        else:
            low_NR = _times(_seen(x_NI, kept), a)
            output = F.linear(x, weight, bias).contiguous()
            output.view(-1, output.shape[-1]).addmm_(low_NR, b.T, alpha=scaling)
        ctx.save_for_backward(x, weight, a, b, kept, low_NR)  # x as it came, which other layers keep too: x_NI may be a copy
        ctx.scaling, ctx.merged = scaling, merged
        given: torch.Tensor = torch.ops.aten._unsafe_view(output, output.shape)  # as torch's own linear: upstream may write into it
        return given

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, kept, low_NR = ctx.saved_tensors
        x_NI = x.reshape(-1, x.shape[-1])
        grad_NO, seen_NI, grad_x, back_NR = grad.reshape(-1, grad.shape[-1]), _seen(x_NI, kept), None, None
        scaled_RO = (b * ctx.scaling).T.contiguous()
        if weight.numel() <= SKINNY * (a.numel() + b.numel()):
            grad_weight = grad_NO.T @ seen_NI
            grad_a, grad_b = scaled_RO @ grad_weight, grad_weight @ (a.T * ctx.scaling)
        else:
            back_NR = _times(grad_NO, scaled_RO)
            low_NR = _times(seen_NI, a) if low_NR is None else low_NR
            grad_a, grad_b = back_NR.T @ seen_NI, (low_NR.T @ grad_NO).T * ctx.scaling
        del seen_NI  # with dropout a copy, as large as what comes now
        if ctx.needs_input_grad[0]:
            if ctx.merged:
                grad_x = grad_NO @ torch.addmm(weight, b, a, alpha=ctx.scaling)
            else:
                back_NR = _times(grad_NO, scaled_RO) if back_NR is None else back_NR
                if kept is None:
                    grad_x = (grad_NO @ weight).addmm_(back_NR, a)
                else:
                    grad_x = (back_NR @ a).mul_(kept.to(grad.dtype)).addmm_(grad_NO, weight)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        grad_bias = grad_NO.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, None, grad_bias, grad_a, grad_b, None, None, None


def _times(x_NI: torch.Tensor, a_RI: torch.Tensor) -> torch.Tensor:
    """``x A^T``, ``(N, R)``, where R is small; as the transpose of ``A x^T``, which BLAS is faster at while x fits a processor's cache."""
    return (a_RI @ x_NI.T).T if x_NI.numel() < CACHED else x_NI @ a_RI.T


def _seen(x_NI: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    return x_NI if kept is None else kept.to(x_NI.dtype).mul_(x_NI)
