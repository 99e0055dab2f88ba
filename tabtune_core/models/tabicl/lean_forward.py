"""TabICL without the work that nobody reads, but beside a cache: upstream computes it, and drops or overwrites what it says.

- The columns that it reserves for the rows' CLS tokens go through the whole column stage as if they were data.
- The last in-context block and the head answer for the context rows too.
- While training it reads three known facts from the GPU, and waits for each of them: whether a column is reserved, how many
  classes there are, and for the logarithm of the number of rows.

In: an upstream module. Out: the same losses, gradients and predictions, without that work and the memory that it keeps.
Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, H columns with the reserved ones, P numbers of a cell,
D width, O outputs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from tabicl._model import ssmax
from torch import nn
from torch.nn import functional as F

from tabtune_core.models.stages import replaced
from tabtune_core.models.tabicl.upstream import UPSTREAM

RESERVED = -100.0
"""What upstream fills the reserved columns with."""
EMBED = "_compute_embeddings"
"""Upstream's method from cells to embeddings of all columns that it is given."""


@dataclass(slots=True)
class _QueryRows:
    """Of one pass through the last block and the head."""

    context: int = 0
    """C rows that the block left out, and the head's answer is to have again."""

    def block(self, forward: Callable[..., Any], q: torch.Tensor, train_size: int | None = None, **named: Any) -> Any:
        """``(B, T, D)`` to ``(B, Q, D)``: the query rows attend to the context. Another call, as to fill a cache, is upstream's."""
        if train_size is None or named.keys() - {"rope"}:
            return forward(q=q, train_size=train_size, **named)
        self.context, shown_BCD = train_size, q[..., :train_size, :]
        return forward(q=q[..., train_size:, :], k=shown_BCD, v=shown_BCD, **named)

    def head(self, forward: Callable[..., torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """``(B, Q, D)`` to ``(B, T, O)``, as upstream expects it; of the context rows it reads nothing."""
        context, self.context = self.context, 0
        return F.pad(forward(x), (0, 0, context, 0))


class _Labels(torch.Tensor):
    """Class ids, or numbers, whose largest nobody needs: a training episode shows no more classes than the module has outputs."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def max(self) -> Any:  # type: ignore[override]
        """Of one class."""
        return np.zeros(())


def _columns(
    owner: nn.Module,
    embed: Callable[..., torch.Tensor],
    features: torch.Tensor,
    train_size: int,
    y_train: torch.Tensor | None = None,
    embed_with_test: bool = False,
) -> torch.Tensor:
    """``(B, H, T, P)`` to ``(B, H, T, D)``: zeros for the reserved columns, since the rows' stage writes over them.

    They come first. Inference may ask for some of the columns at a time, so that they are known by what they hold there; reserved ones
    alone go through upstream's code. No column of data is all ``RESERVED``: a constant one is left out before, the others have a mean of 0.
    """
    first, labels = int(owner.reserve_cls_tokens), y_train  # type: ignore[arg-type]
    if not owner.training:
        full_H = (features != RESERVED).flatten(-2).any(dim=-1).reshape(-1, features.shape[-3]).any(dim=0)
        first = min(int(full_H.int().argmax()), first)
    if not first:
        return embed(features, train_size, y_train, embed_with_test)
    if labels is not None:
        labels = labels[..., first:, :].as_subclass(_Labels) if owner.training else labels[..., first:, :]
    return F.pad(embed(features[..., first:, :, :], train_size, labels, embed_with_test), (0, 0, 0, 0, first, 0))


_logarithm = lru_cache(maxsize=256)(ssmax._logn)


@contextmanager
def needed_work_alone(module: nn.Module) -> Iterator[None]:
    """While the context lasts, a ``TabICL`` leaves that work out of its forward pass; of a version that was not tested it does all."""
    if not UPSTREAM.is_tested:
        yield
        return
    query_rows = _QueryRows()
    *_, last = module.get_submodule("icl_predictor.tf_icl.blocks").children()
    head, columns = module.get_submodule("icl_predictor.decoder"), module.get_submodule("col_embedder")
    stand_ins = (
        (last, "forward", partial(query_rows.block, last.forward)),
        (head, "forward", partial(query_rows.head, head.forward)),
        (columns, EMBED, partial(_columns, columns, getattr(columns, EMBED))),
        *(_without_waiting(columns) if module.training else ()),
    )
    with replaced(stand_ins):
        yield


def _without_waiting(columns: nn.Module) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    """Replacements that spare waiting for the GPU; a layer that is computed again in the backward pass keeps waiting."""
    yield ssmax, "_logn", _logarithm
    layer: Any
    for layer in columns.modules():
        if hasattr(layer, "skip_value") and "forward" not in vars(layer):
            yield layer, "forward", partial(nn.Linear.forward, layer) if isinstance(layer, nn.Linear) else layer.induced_attention
