"""The updates of several runs on one frozen weight, computed side by side: each run's rows of the input meet its own factors alone.

In: the adapters of one weight, one a run. Out: a layer of stacked factors, padded with zeros to the largest rank. The adapters' own
parameters become views of the stack, without the padding, so that their optimizers write into it and the padding stays zero.
Shape letters: K runs, N rows of one run, all tokens of all tables; I inputs, O outputs, R largest rank. Inputs are ordered run by run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from tabtune_core.lora.cost import is_whole
from tabtune_core.lora.fused_linear import keep_mask
from tabtune_core.lora.layers import LowRank, LowRankUpdate
from tabtune_core.lora.lazy_weight import LowRankWeight


@dataclass(slots=True)
class Stack:
    """The adapters of one weight."""

    adapters: Sequence[LowRank]
    generators: Sequence[torch.Generator]
    """Of each run's dropout."""
    a_KRI: torch.Tensor
    b_KRO: torch.Tensor
    scaling_K11: torch.Tensor
    """In front of B A, and of what dropout leaves of x."""

    @classmethod
    def of(cls, adapters: Sequence[LowRank], generators: Sequence[torch.Generator]) -> "Stack":
        """Copies the factors and makes the adapters' parameters views of the copy."""
        (first_a, first_b), count, rank = adapters[0].factors, len(adapters), max(adapter.rank for adapter in adapters)
        a_KRI, b_KRO = first_a.new_zeros(count, rank, first_a.shape[1]), first_b.new_zeros(count, rank, first_b.shape[0])
        for adapter, a_RI, b_RO in zip(adapters, a_KRI, b_KRO, strict=True):
            for parameter, place in zip(adapter.factors, _own(adapter, a_RI, b_RO), strict=True):
                place.copy_(parameter.detach())
                parameter.data = place
        scaling_K = a_KRI.new_tensor([adapter.scaling / (1 - adapter.dropout.p) for adapter in adapters])
        return cls(adapters, generators, a_KRI.requires_grad_(), b_KRO.requires_grad_(), scaling_K[:, None, None])

    def give_gradients(self, grad_a_KRI: torch.Tensor, grad_b_KRO: torch.Tensor) -> None:
        """To the adapters' own parameters."""
        for adapter, *grads in zip(self.adapters, grad_a_KRI, grad_b_KRO.contiguous(), strict=True):  # a fused optimizer trusts the strides
            for parameter, grad in zip(adapter.factors, _own(adapter, *grads), strict=True):
                parameter.grad = grad

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, b_KRO: torch.Tensor) -> torch.Tensor:
        """``x W^T + b`` and each run's update on its own part of x: x ``(K..., I)``, or ``(1, ..., I)`` for all; result ``(K..., O)``."""
        dropouts, kept_KNI = [adapter.dropout.p for adapter in self.adapters], None
        x = x.expand(len(dropouts), *x.shape[1:]) if len(x) == 1 else x
        assert len(x) % len(dropouts) == 0, "the rows of the runs cannot be told apart"
        if any(dropouts):
            kept_KNI = torch.stack(list(map(_kept, x.chunk(len(dropouts)), dropouts, self.generators)))
        merged = kept_KNI is None and x.numel() // len(dropouts) >= max(weight.shape) * x.shape[-1]
        output: torch.Tensor = _StackedLinear.apply(x, weight, bias, self.a_KRI, b_KRO, self.scaling_K11, kept_KNI, merged)  # type: ignore[no-untyped-call]
        return output

    def forward(self, input_or_weight: torch.Tensor) -> torch.Tensor:
        """In place of that of the first run's adapter: of a layer that is called, or a weight that is read."""
        base = getattr(self.adapters[0], "base", None)
        if base is not None:
            return self.linear(input_or_weight, base.weight, base.bias, self.b_KRO)
        assert isinstance(self.adapters[0], LowRankUpdate)
        made: StackedWeight = input_or_weight.as_subclass(StackedWeight)
        made.stack, made.b = self, self.b_KRO.permute(2, 0, 1)
        return made


class StackedWeight(LowRankWeight):
    """A weight that is read, with a stack of updates beside it; ``b`` is ``(O, K, R)``, whose rows are those of the weight."""

    stack: Stack

    def rows(self, weight: torch.Tensor, b: torch.Tensor) -> "StackedWeight":
        """Some rows of the weight, with theirs of every B."""
        made: StackedWeight = weight.as_subclass(StackedWeight)
        made.stack, made.b = self.stack, b
        return made

    def linear(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """A linear function with these weights."""
        return self.stack.linear(x, self.plain, bias, self.b.permute(1, 2, 0))


def _own(adapter: LowRank, a_RI: torch.Tensor, b_RO: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B of one run, without the padding."""
    return a_RI[: adapter.rank], b_RO[: adapter.rank].T


def _kept(x: torch.Tensor, dropout: float, generator: torch.Generator) -> torch.Tensor:
    """Which numbers of one run's x its update sees: on a CPU those that it would see alone, on a GPU as many, drawn otherwise."""
    shape = (x.numel() // x.shape[-1], x.shape[-1])
    if not dropout:
        return torch.ones(shape, dtype=torch.int8, device=x.device)
    if x.device.type == "cpu":
        return keep_mask(x, dropout, generator)
    return torch.empty(shape, dtype=torch.int8, device=x.device).bernoulli_(1 - dropout, generator=generator)


class _StackedLinear(torch.autograd.Function):
    """As ``low_rank_linear``, run by run; with ``merged``, the updates are added to copies of the weight."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a_KRI: torch.Tensor,
        b_KRO: torch.Tensor,
        scaling_K11: torch.Tensor,
        kept_KNI: torch.Tensor | None,
        merged: bool,
    ) -> torch.Tensor:
        x_KNI, low_KNR = x.reshape(len(a_KRI), -1, x.shape[-1]), None
        if merged:
            moved_KIO = torch.baddbmm(weight.T, a_KRI.mT, b_KRO * scaling_K11)
            output = torch.bmm(x_KNI, moved_KIO) if bias is None else torch.baddbmm(bias, x_KNI, moved_KIO)
        else:
            low_KNR = _seen(x_KNI, kept_KNI) @ a_KRI.mT
            output = F.linear(x_KNI, weight, bias).baddbmm_(low_KNR, b_KRO * scaling_K11)
        ctx.save_for_backward(x, weight, a_KRI, b_KRO, scaling_K11, kept_KNI, low_KNR)
        ctx.merged = merged
        result: torch.Tensor = torch.ops.aten._unsafe_view(output, (*x.shape[:-1], output.shape[-1]))
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a_KRI, b_KRO, scaling_K11, kept_KNI, low_KNR = ctx.saved_tensors
        x_KNI, grad_KNO = (tensor.reshape(len(a_KRI), -1, tensor.shape[-1]) for tensor in (x, grad))
        seen_KNI, scaled_KRO, grad_x, back_KNR = _seen(x_KNI, kept_KNI), b_KRO * scaling_K11, None, None
        if ctx.merged and is_whole(len(weight), weight.shape[1], a_KRI.shape[1]):
            moved_KIO = x_KNI.mT @ grad_KNO
            grad_a, grad_b = scaled_KRO @ moved_KIO.mT, (a_KRI @ moved_KIO) * scaling_K11
        else:
            back_KNR = grad_KNO @ scaled_KRO.mT
            low_KNR = seen_KNI @ a_KRI.mT if low_KNR is None else low_KNR
            grad_a, grad_b = back_KNR.mT @ seen_KNI, (low_KNR.mT @ grad_KNO) * scaling_K11
        if ctx.needs_input_grad[0]:
            if ctx.merged:
                grad_x = grad_KNO @ torch.baddbmm(weight, scaled_KRO.mT, a_KRI)
            elif kept_KNI is None:
                grad_x = (grad_KNO @ weight).baddbmm_(back_KNR, a_KRI)
            else:
                grad_x = (back_KNR @ a_KRI).mul_(kept_KNI.to(grad.dtype)).add_(grad_KNO @ weight)
            grad_x = grad_x.view(x.shape)
        return grad_x, None, None, grad_a, grad_b, None, None, None


def _seen(x_KNI: torch.Tensor, kept_KNI: torch.Tensor | None) -> torch.Tensor:
    return x_KNI if kept_KNI is None else kept_KNI.to(x_KNI.dtype).mul_(x_KNI)
