"""Copies of weights in 16 bits, made once: those of frozen weights for a whole training, those of the factors for a step.

Autocast makes one at each use. In: the factors of an adapter, while a model trains under autocast. Out: copies for whoever asks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


class _Copies:
    """Copies of one training; their originals are held too, since the key is an original's id."""

    def __init__(self) -> None:
        self.frozen: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.factors: dict[int, torch.Tensor] = {}


_current: list[_Copies] = []
"""At most one."""


class _Cast(torch.autograd.Function):
    """Copies many tensors at once, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *factors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _copied(factors, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        wide = iter(_copied([grad for grad in grads if grad is not None], torch.float32))
        return (None, *(None if grad is None else next(wide) for grad in grads))


def _copied(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    copies = [torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return tuple(copies)


@contextmanager
def half_copies(module: nn.Module, factors: Sequence[nn.Parameter], dtype: torch.dtype | None) -> Iterator[None]:
    """While the context lasts, the layers of a module that trains under autocast read such copies.

    Args:
        module: whose forward pass begins a step.
        factors: of its adapter, in fp32.
        dtype: of autocast; None: there are no copies.
    """
    if dtype is None or not factors:
        yield
        return
    copies = _Copies()

    def begin(*_: object) -> None:
        if torch.is_grad_enabled():
            copies.factors = dict(zip(map(id, factors), _Cast.apply(dtype, *factors), strict=True))  # type: ignore[no-untyped-call]

    hook = module.register_forward_pre_hook(begin)
    _current.append(copies)
    try:
        yield
    finally:
        hook.remove()
        _current.remove(copies)


def half_factors(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """This step's copies of them under autocast, where there are some; else the factors themselves."""
    if not (_current and torch.is_autocast_enabled(a.device.type)):
        return a, b
    copies = _current[-1].factors
    return copies.get(id(a), a), copies.get(id(b), b)


def in_half(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A tensor in 16 bits: of a frozen weight, or of rows of it, the copy that is kept."""
    whole = tensor if tensor._base is None else tensor._base
    if not _current or whole.requires_grad or not isinstance(whole, nn.Parameter) or not whole.is_contiguous():
        return tensor.to(dtype)
    kept = _current[-1].frozen
    if id(whole) not in kept:
        kept[id(whole)] = whole, whole.to(dtype)
    half = kept[id(whole)][1]
    return half.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset() - whole.storage_offset())
