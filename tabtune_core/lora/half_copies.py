"""16-bit copies made once, not at each use: of frozen weights, and of an adapter's factors per step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class _Copies:
    """The copies of one training by the originals' ids, which stay valid as the frozen originals are held too."""

    def __init__(self) -> None:
        self.frozen: dict[int, tuple[Tensor, Tensor]] = {}
        self.factors: dict[int, Tensor] = {}


_current: list[_Copies] = []
"""The copies of the training in progress; at most one."""


class _Cast(torch.autograd.Function):
    """Copies many tensors to 16 bits at once, and their gradients back to 32."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *factors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _copied(factors, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        wide = iter(_copied([grad for grad in grads if grad is not None], torch.float32))
        return (None, *(None if grad is None else next(wide) for grad in grads))


def _copied(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    copies = [torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return tuple(copies)


@contextmanager
def half_copies(module: nn.Module, factors: Sequence[nn.Parameter], dtype: torch.dtype | None) -> Iterator[None]:
    """Makes the layers of a module that trains under autocast read 16-bit copies while the context lasts.

    Args:
        module: its forward pass begins a step.
        factors: of its adapter, in fp32.
        dtype: of autocast; None: no copies are made.
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


def half_factors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Returns this step's copies of the factors if there are any; otherwise the factors themselves."""
    if not (_current and torch.is_autocast_enabled(a.device.type)):
        return a, b
    copies = _current[-1].factors
    return copies.get(id(a), a), copies.get(id(b), b)


def in_half(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns a tensor in 16 bits; for a frozen weight, or for rows of it, from the copy that is kept."""
    whole = tensor if tensor._base is None else tensor._base
    if not _current or whole.requires_grad or not isinstance(whole, nn.Parameter) or not whole.is_contiguous():
        return tensor.to(dtype)
    kept = _current[-1].frozen
    if id(whole) not in kept:
        kept[id(whole)] = whole, whole.to(dtype)
    half = kept[id(whole)][1]
    return half.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset() - whole.storage_offset())
