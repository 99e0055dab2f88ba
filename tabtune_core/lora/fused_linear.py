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

from tabtune_core.lora.half_copies import in_half
from tabtune_core.variants.base import is_whole

LEVELS = 2**8
CACHED = 2**19
"""Numbers that fit a processor's own cache, 2 MB in fp32: where the two forms take equally long on a Xeon; on a GPU either will do."""


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
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, a, b, weight = x.to(dtype), a.to(dtype), b.to(dtype), in_half(weight, dtype)
        bias = None if bias is None else in_half(bias, dtype)
        with torch.autocast(device, enabled=False):
            return _apply(x, weight, bias, a, b, scaling, dropout, False)
    # by cost: numbers of the output against those of the weight; not in 16 bits, which would round a small update to the weight away
    return _apply(x, weight, bias, a, b, scaling, dropout, not dropout and x.numel() >= max(weight.shape) * x.shape[-1])


def _apply(*arguments: Any) -> torch.Tensor:
    output: torch.Tensor = _LowRankLinear.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def on_gpu(x: torch.Tensor) -> bool:
    """Whether the number of kernels costs more than their work. Tests and benchmarks set it for a CPU."""
    return x.device.type != "cpu"


def keep_mask(x: torch.Tensor, dropout: float) -> torch.Tensor:
    """Which numbers of x the update sees on a CPU, ``(N, I)`` of 1 and 0, a byte each.

    From eight random bits a number, against a level that is drawn between the two next to ``256 dropout`` so that the share is
    met: torch's Bernoulli numbers take as long as the layer itself there.
    """
    hidden = math.floor(LEVELS * dropout + torch.rand(()).item())
    if hidden in (0, LEVELS):
        return torch.full((x.numel() // x.shape[-1], x.shape[-1]), int(not hidden), dtype=torch.int8)
    last = hidden - LEVELS // 2 - 1
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int8)[: x.numel()].clamp_(last, last + 1).sub_(last).view(-1, x.shape[-1])


def _masked(x_NI: torch.Tensor, kept_NI: torch.Tensor | None) -> torch.Tensor:
    """``x`` where it is kept and 0 elsewhere, in one kernel on a GPU."""
    if kept_NI is None:
        return x_NI
    if kept_NI.dtype == torch.bool:
        masked_NI: torch.Tensor = torch.ops.aten.native_dropout_backward(x_NI, kept_NI, 1.0)
        return masked_NI
    return kept_NI.to(x_NI.dtype).mul_(x_NI)


class _LowRankLinear(torch.autograd.Function):
    """See ``low_rank_linear``. With ``merged``, the update is added to the weight, else to the output.

    Products with the rank as one side carry the scaling, so that nothing is multiplied by it on its own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
        dropout: float,
        merged: bool,
    ) -> torch.Tensor:
        x_NI, low_NR, kept, ctx.merged, ctx.scaling = x.reshape(-1, x.shape[-1]), None, None, merged, scaling / (1 - dropout)
        ctx.whole = is_whole(len(weight), weight.shape[1], len(a))
        if merged:
            output = F.linear(x, torch.addmm(weight, b, a, alpha=scaling), bias)
        else:
            if dropout and on_gpu(x):
                seen_NI, kept = torch.native_dropout(x_NI, dropout, True)  # one kernel, and larger by what is not seen
            else:
                kept = keep_mask(x, dropout) if dropout else None
                seen_NI, scaling = _masked(x_NI, kept), ctx.scaling
            given = seen_NI if ctx.whole else (low_NR := _narrow(seen_NI, a, scaling))
            del seen_NI  # with dropout a copy, as large as what comes now
            output = F.linear(x, weight, bias).contiguous()
            output.view(-1, output.shape[-1]).addmm_(given, _scaled(b, a, scaling).T if ctx.whole else b.T)
        ctx.save_for_backward(x, weight, a, b, kept, low_NR)  # the original x, which other layers keep too: x_NI may be a copy
        result: torch.Tensor = torch.ops.aten._unsafe_view(output, output.shape)  # as torch's own linear: upstream may write into it
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, kept, low_NR = ctx.saved_tensors
        x_NI = x.reshape(-1, x.shape[-1])
        grad_NO, seen_NI, grad_x, back_NR = grad.reshape(-1, grad.shape[-1]), _masked(x_NI, kept), None, None
        scaling, gpu = ctx.scaling, on_gpu(x)
        b_RO = b.T if gpu else b.T.contiguous()
        if ctx.whole:
            grad_weight = grad_NO.T @ seen_NI
            grad_a, grad_b = _scaled(b_RO, grad_weight, scaling), _scaled(grad_weight, a.T, scaling)
        else:
            back_NR = _narrow(grad_NO, b_RO, scaling)
            low_NR = _narrow(seen_NI, a, scaling) if low_NR is None else low_NR
            grad_a, grad_b = back_NR.T @ seen_NI, grad_NO.T @ low_NR if gpu else (low_NR.T @ grad_NO).T
        del seen_NI  # with dropout a copy, as large as what comes now
        if ctx.needs_input_grad[0]:
            if ctx.merged:
                grad_x = grad_NO @ torch.addmm(weight, b, a, alpha=scaling)
            else:
                left, right = (grad_NO, _scaled(b, a, scaling)) if back_NR is None else (back_NR, a)
                grad_x = (grad_NO @ weight).addmm_(left, right) if kept is None else _masked(left @ right, kept).addmm_(grad_NO, weight)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        grad_bias = grad_NO.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, None, grad_bias, grad_a, grad_b, None, None, None


def _scaled(left: torch.Tensor, right: torch.Tensor, scaling: float) -> torch.Tensor:
    """``scaling left right`` in one kernel; with beta 0 nothing is read of the first argument."""
    return torch.addmm(left.new_empty(()), left, right, beta=0, alpha=scaling)


def _narrow(x_NI: torch.Tensor, a_RI: torch.Tensor, scaling: float) -> torch.Tensor:
    """``scaling x A^T``, ``(N, R)``, R small; as the transpose of ``A x^T``, which BLAS is faster at while x fits a processor's cache."""
    return _scaled(a_RI, x_NI.T, scaling).T if x_NI.numel() < CACHED else _scaled(x_NI, a_RI.T, scaling)
