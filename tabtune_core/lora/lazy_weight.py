"""A weight that upstream code reads as a tensor, with its low-rank update kept separate until the sum is needed.

TabICL's attention calls ``linear`` with rows of ``in_proj_weight``. With the sum ``W + s B A`` the backward pass would
compute the whole weight's gradient, with this tensor two narrow products. All other operations get the sum.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tabtune_core.lora.fused_linear import low_rank_linear

_NAMES = ("shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_sparse")
_METHODS = ("dim", "size", "numel", "is_floating_point", "is_complex")
_FACTS = {getattr(Tensor, name).__get__ for name in _NAMES} | {getattr(Tensor, name) for name in _METHODS}
"""Attributes that are read from the frozen weight, as the sum has the same."""
_PARTS = {Tensor.split, Tensor.chunk, torch.split, torch.chunk}


class LowRankWeight(Tensor):
    """``W + scaling B A``, added up only for operations other than a linear function.

    Shapes: W ``(O, I)``, A ``(R, I)``, B ``(O, R)``.
    """

    a: Tensor
    b: Tensor
    scaling: float
    drop: float
    """Share of the linear function's input that is hidden from the update."""

    @classmethod
    def of(cls, weight: Tensor, a: Tensor, b: Tensor, scaling: float, drop: float) -> "LowRankWeight":
        """Makes a view of a frozen weight with its update."""
        made: LowRankWeight = weight.as_subclass(cls)
        made.a, made.b, made.scaling, made.drop = a, b, scaling, drop
        return made

    @property
    def plain(self) -> Tensor:
        """W alone."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    def rows(self, weight: Tensor, b: Tensor) -> "LowRankWeight":
        """Returns some rows of the weight, with the same rows of B."""
        return LowRankWeight.of(weight, self.a, b, self.scaling, self.drop)

    def linear(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Applies a linear function with this weight."""
        return low_rank_linear(x, self.plain, bias, self.a, self.b, self.scaling, self.drop)

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs linear functions with the low-rank operation, splits W and B together, and sums for everything else."""
        kwargs = kwargs or {}
        first: Any = args[0] if args else None
        weight: Any = args[1] if func is F.linear and len(args) > 1 else None
        if isinstance(weight, LowRankWeight) and not isinstance(first, LowRankWeight):
            return weight.linear(first, args[2] if len(args) > 2 else kwargs.get("bias"))
        if isinstance(first, LowRankWeight):
            if func in _FACTS:
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **kwargs)
            if func in _PARTS and kwargs.get("dim", 0) == 0 and len(args) == 2:
                return tuple(map(first.rows, func(first.plain, args[1]), func(first.b, args[1])))
            if func is Tensor.__getitem__ and isinstance(args[1], slice):
                return first.rows(first.plain[args[1]], first.b[args[1]])
        return func(*_summed(args), **{name: _summed((value,))[0] for name, value in kwargs.items()})


def _summed(values: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the values with each ``LowRankWeight`` replaced by its sum."""
    return tuple(
        torch.addmm(value.plain, value.b, value.a, alpha=value.scaling)
        if isinstance(value, LowRankWeight)
        else (type(value)(_summed(value)) if isinstance(value, list | tuple) else value)
        for value in values
    )
