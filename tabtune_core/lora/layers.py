"""A frozen weight with a low-rank update: a layer that is called, a weight that is read, an embedding.

Hu et al. 2021, section 4.1, arXiv 2106.09685: ``W + (alpha / r) B A``. A starts random and B zero, so that a fresh
adapter changes nothing; A is drawn on the CPU, so a seed gives the same start on every device. Variants change the
update of all three kinds (``tabtune_core.variants``). Shapes: W ``(out, in)``, A ``(r, in)``, B ``(out, r)``.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from tabtune_core.lora.fused_linear import low_rank_linear
from tabtune_core.lora.half_copies import half_factors
from tabtune_core.lora.lazy_weight import LowRankWeight
from tabtune_core.settings.training import update_scaling
from tabtune_core.variants import VARIANTS


class LowRank(nn.Module):
    """What the three kinds have in common."""

    lora_A: Any
    lora_B: Any

    def __init__(self, r: int, scaling: float, dropout: float, variant: str) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.rank, self.scaling, self.variant = r, scaling, VARIANTS[variant]

    def start(self, matrix: Tensor, draw: Callable[[nn.Parameter], object], *, from_file: bool) -> None:
        """Makes A and B for a weight ``(out, in)`` and starts the variant; ``draw`` fills A, unless a file will."""
        out, width = matrix.shape
        self.lora_A = nn.Parameter(torch.zeros(self.rank, width, dtype=matrix.dtype))
        self.lora_B = nn.Parameter(torch.zeros(out, self.rank, dtype=matrix.dtype))
        if not from_file:
            draw(self.lora_A)
        self.to(matrix.device)
        self.variant.start(self, matrix, from_file=from_file)

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B."""
        return self.lora_A, self.lora_B

    @property
    def active_dropout(self) -> float:
        """The dropout share; 0 outside training."""
        return self.dropout.p if self.dropout.training else 0.0

    @property
    def beside(self) -> dict[str, Tensor]:
        """The variant's own tensors: parameters, which train, and buffers, which do not."""
        own = (*self.named_parameters(recurse=False), *self.named_buffers(recurse=False))
        return {name: tensor for name, tensor in own if name not in ("lora_A", "lora_B")}

    @property
    def update(self) -> tuple[Tensor, Tensor]:
        """The factors of the matrix that is added to the weight: A and B themselves, except for some variants."""
        return self.variant.update(*self.factors, self._buffers)

    def moved(self, weight: Tensor) -> Tensor:
        """Returns the weight with the update added, before the variant rescales its rows."""
        a, b = self.update
        return torch.addmm(weight, b, a, alpha=self.scaling)

    def updated(self, weight: Tensor) -> Tensor:
        """Returns the updated weight."""
        moved = self.moved(weight)
        return self.variant.row_scale(self, weight)[:, None] * moved if self.variant.rescales else moved


class LoRALinear(LowRank):
    """A linear layer that is called: ``base(x) + (alpha / r) B A dropout(x)``; ``(..., in)`` to ``(..., out)``."""

    def __init__(
        self,
        base_linear: nn.Linear,
        r: int = 8,
        alpha: float = 16,
        dropout: float = 0.05,
        *,
        use_rslora: bool = False,
        variant: str = "lora",
        from_file: bool = False,
    ) -> None:
        super().__init__(r, update_scaling(r, alpha, use_rslora=use_rslora), dropout, variant)
        device, dtype = base_linear.weight.device, base_linear.weight.dtype
        self.base = base_linear.requires_grad_(False)
        make = partial(skip_init, nn.Linear) if from_file else nn.Linear  # a file will overwrite the values
        self.lora_A = make(base_linear.in_features, r, bias=False, dtype=dtype)
        self.lora_B = make(r, base_linear.out_features, bias=False, dtype=dtype)
        nn.init.zeros_(self.lora_A.weight)
        if not from_file:
            nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        self.to(device)
        self.variant.start(self, base_linear.weight, from_file=from_file)

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B."""
        return self.lora_A.weight, self.lora_B.weight

    def forward(self, x: Tensor) -> Tensor:
        """Adds the update to the base layer's output."""
        if not self.variant.rescales:
            a, b = half_factors(*self.update)
            return low_rank_linear(x, self.base.weight, self.base.bias, a, b, self.scaling, self.active_dropout)
        hidden = self.dropout(x)
        update: Tensor = self.lora_B(self.lora_A(hidden))
        output: Tensor = self.base(x)
        scale = self.variant.row_scale(self, self.base.weight)
        return output + (scale - 1) * F.linear(hidden, self.base.weight) + scale * self.scaling * update


class LowRankUpdate(LowRank):
    """A parametrization of a weight that is read: ``W -> W + (alpha / r) B A``.

    The input of A is not available here, so dropout hides input features: one mask per read, the same for every token.
    """

    def __init__(
        self,
        weight: Tensor,
        r: int,
        alpha: float,
        dropout: float,
        *,
        use_rslora: bool = False,
        variant: str = "lora",
        from_file: bool = False,
    ) -> None:
        super().__init__(r, update_scaling(r, alpha, use_rslora=use_rslora), dropout, variant)
        self.start(weight, partial(nn.init.kaiming_uniform_, a=math.sqrt(5)), from_file=from_file)

    def forward(self, weight: Tensor) -> Tensor:
        """Returns a ``LowRankWeight`` in training (with DoRA the sum), otherwise the updated weight."""
        if not torch.is_grad_enabled():
            return self.updated(weight)
        if not self.variant.rescales:
            return LowRankWeight.of(weight, *half_factors(*self.update), self.scaling, self.active_dropout)
        if not self.active_dropout:
            return self.updated(weight)
        mask: Tensor = self.dropout(torch.ones_like(weight[0]))
        scale, (a, b) = self.variant.row_scale(self, weight)[:, None], self.factors
        return weight + (scale - 1) * weight * mask + scale * self.scaling * b @ (a * mask)


class LoRAEmbedding(LowRank):
    """An embedding: ``W[i] + (alpha / r) B A[:, i]``; variants get W^T as the weight. Without dropout, as in PEFT.

    Shapes: ids ``(...)``, W ``(ids, width)``, A ``(r, ids)``, B ``(width, r)``, result ``(..., width)``.
    """

    def __init__(
        self,
        base_embedding: nn.Embedding,
        r: int = 8,
        alpha: float = 16,
        *,
        use_rslora: bool = False,
        variant: str = "lora",
        from_file: bool = False,
    ) -> None:
        super().__init__(r, update_scaling(r, alpha, use_rslora=use_rslora), 0.0, variant)
        self.base = base_embedding.requires_grad_(False)
        draw = partial(nn.init.uniform_, a=-1, b=1)  # as a linear layer with a fan-in of 1: one column is read
        self.start(base_embedding.weight.T, draw, from_file=from_file)

    def forward(self, ids: Tensor) -> Tensor:
        """Looks up rows and adds the update to them."""
        a, b = self.update
        moved: Tensor = self.base(ids) + self.scaling * F.embedding(ids, a.T) @ b.T
        return self.variant.row_scale(self, self.base.weight.T) * moved if self.variant.rescales else moved

    def updated(self, weight: Tensor) -> Tensor:
        """Returns the updated table."""
        return super().updated(weight.T).T.contiguous()
