"""TabICL's last block and head, for the rows that are asked alone: upstream computes them for the context too, and drops what they say.

In: an upstream module. Out: the same losses, gradients and predictions, without that work and the memory that it keeps.
Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, D width, O outputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(slots=True)
class _Asked:
    """Of one pass through the last block and the head."""

    context: int = 0
    """C rows that the block left out, and the head's answer is to have again."""

    def block(self, forward: Callable[..., Any], q: torch.Tensor, train_size: int | None = None, **named: Any) -> Any:
        """``(B, T, D)`` to ``(B, Q, D)``: the query rows look at the context. Another call, as to fill a cache, is upstream's."""
        if train_size is None or named.keys() - {"rope"}:
            return forward(q=q, train_size=train_size, **named)
        self.context, shown_BCD = train_size, q[..., :train_size, :]
        return forward(q=q[..., train_size:, :], k=shown_BCD, v=shown_BCD, **named)

    def head(self, forward: Callable[..., torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """``(B, Q, D)`` to ``(B, T, O)``, as upstream expects it; of the context rows it reads nothing."""
        context, self.context = self.context, 0
        return F.pad(forward(x), (0, 0, context, 0))


@contextmanager
def asked_rows_alone(module: nn.Module) -> Iterator[None]:
    """While the context lasts, the last block of a ``TabICL`` and its head work for the query rows alone."""
    asked = _Asked()
    *_, last = module.get_submodule("icl_predictor.tf_icl.blocks").children()
    head = module.get_submodule("icl_predictor.decoder")
    before = [(owner, vars(owner).get("forward")) for owner in (last, head)]
    vars(last)["forward"], vars(head)["forward"] = _bound(asked.block, last.forward), _bound(asked.head, head.forward)
    try:
        yield
    finally:
        for owner, forward in before:
            if forward is None:
                del vars(owner)["forward"]
            else:
                vars(owner)["forward"] = forward


def _bound(stand_in: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: stand_in(forward, *given, **named)
