"""A frozen linear layer with a low-rank update, as one operation: ``x W^T + b + s dropout(x) A^T B^T``.

Autograd's own graph would make a tensor of the output's size, copy the input under dropout, and compute the gradient
of a whole weight that is read. This keeps x alone (with dropout one byte more per number), and adds the update to the
output in place, or to a copy of the weight if that is smaller.

Shape letters: N rows, all tokens of all tables; I inputs, O outputs, R rank.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tabtune_core.lora.half_copies import in_half
from tabtune_core.variants.base import is_whole

LEVELS = 2**8
CACHED = 2**19
"""Numbers that fit a core's cache, 2 MB in fp32; from there on both forms of ``_narrow`` take equally long."""


def low_rank_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float, dropout: float
) -> Tensor:
    """Computes the output of a frozen layer with its low-rank update.

    Args:
        x: ``(..., I)``.
        weight: ``(O, I)``, frozen.
        bias: ``(O,)`` or None; may train.
        a: ``(R, I)``.
        b: ``(O, R)``.
        scaling: factor in front of B A.
        dropout: share of the numbers of x that are hidden from the update; the others are scaled up to compensate.

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
    # merged if the output is larger than the weight; never in 16 bits, where adding a small update to the weight would
    # round it away
    return _apply(x, weight, bias, a, b, scaling, dropout, not dropout and x.numel() >= max(weight.shape) * x.shape[-1])


def _apply(*arguments: Any) -> Tensor:
    output: Tensor = _LowRankLinear.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


def on_gpu(x: Tensor) -> bool:
    """Whether launching kernels costs more than their work. Tests and benchmarks replace this function on a CPU."""
    return x.device.type != "cpu"


def keep_mask(x: Tensor, dropout: float) -> Tensor:
    """Draws the dropout mask on a CPU, ``(N, I)``: 1 for the numbers that the update sees, one byte each.

    Compares eight random bits per number with a threshold, drawn from the two integers next to ``256 dropout`` so that
    the expected share is exact. Torch's own Bernoulli numbers take as long as the layer itself.
    """
    hidden = math.floor(LEVELS * dropout + torch.rand(()).item())
    if hidden in (0, LEVELS):
        return torch.full((x.numel() // x.shape[-1], x.shape[-1]), int(not hidden), dtype=torch.int8)
    last = hidden - LEVELS // 2 - 1
    words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int8)[: x.numel()].clamp_(last, last + 1).sub_(last).view(-1, x.shape[-1])


def _masked(x_NI: Tensor, kept_NI: Tensor | None) -> Tensor:
    """Returns ``x`` where it is kept and 0 elsewhere, in one kernel on a GPU."""
    if kept_NI is None:
        return x_NI
    if kept_NI.dtype == torch.bool:
        masked_NI: Tensor = torch.ops.aten.native_dropout_backward(x_NI, kept_NI, 1.0)
        return masked_NI
    return kept_NI.to(x_NI.dtype).mul_(x_NI)


class _LowRankLinear(torch.autograd.Function):
    """See ``low_rank_linear``; with ``merged``, the update is added to the weight, otherwise to the output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        dropout: float,
        merged: bool,
    ) -> Tensor:
        x_NI, low_NR, kept = x.reshape(-1, x.shape[-1]), None, None
        ctx.merged, ctx.scaling = merged, scaling / (1 - dropout)
        ctx.whole = is_whole(len(weight), weight.shape[1], len(a))
        if merged:
            output = F.linear(x, torch.addmm(weight, b, a, alpha=scaling), bias)
        else:
            if dropout and on_gpu(x):
                seen_NI, kept = torch.native_dropout(x_NI, dropout, True)  # one kernel; scales up what is kept
            else:
                kept = keep_mask(x, dropout) if dropout else None
                seen_NI, scaling = _masked(x_NI, kept), ctx.scaling
            given = seen_NI if ctx.whole else (low_NR := _narrow(seen_NI, a, scaling))
            del seen_NI  # with dropout a copy, as large as the output
            output = F.linear(x, weight, bias).contiguous()
            output.view(-1, output.shape[-1]).addmm_(given, _scaled(b, a, scaling).T if ctx.whole else b.T)
        ctx.save_for_backward(x, weight, a, b, kept, low_NR)  # x, which others keep too, not x_NI, maybe a copy
        view: Tensor = torch.ops.aten._unsafe_view(output, output.shape)  # upstream may write into it
        return view

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
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
        del seen_NI  # with dropout a copy, as large as grad_x
        if ctx.needs_input_grad[0]:
            if ctx.merged:
                grad_x = grad_NO @ torch.addmm(weight, b, a, alpha=scaling)
            else:
                left, right = (grad_NO, _scaled(b, a, scaling)) if back_NR is None else (back_NR, a)
                if kept is None:
                    grad_x = (grad_NO @ weight).addmm_(left, right)
                else:
                    grad_x = _masked(left @ right, kept).addmm_(grad_NO, weight)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        grad_bias = grad_NO.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, None, grad_bias, grad_a, grad_b, None, None, None


def _scaled(left: Tensor, right: Tensor, scaling: float) -> Tensor:
    """Computes ``scaling left right`` in one kernel; with beta 0 the first argument is not read."""
    return torch.addmm(left.new_empty(()), left, right, beta=0, alpha=scaling)


def _narrow(x_NI: Tensor, a_RI: Tensor, scaling: float) -> Tensor:
    """Computes ``scaling x A^T``, ``(N, R)``; as the transpose of ``A x^T`` while x fits the cache, for speed."""
    return _scaled(a_RI, x_NI.T, scaling).T if x_NI.numel() < CACHED else _scaled(x_NI, a_RI.T, scaling)
