"""The three ways in which a frozen weight gets a low-rank update: as a layer that is called, a weight that is read, a table looked up.

Hu et al. 2021, section 4.1, arXiv 2106.09685: ``W + (alpha / r) B A``. A starts random and B zero, so that a fresh adapter changes
nothing. Two variants, in any of the three:

- rsLoRA, Kalajdzievski 2023, arXiv 2312.03732: ``alpha / sqrt(r)`` in place of ``alpha / r``;
- DoRA, Liu et al. 2024, section 4, arXiv 2402.09353: ``m (W + s B A) / ||W + s B A||``, with a length m for each row that starts as
  ``||W||`` and trains; the norm below the line counts as a constant in the gradient (section 4.3).

Shapes: W ``(out, in)``, A ``(r, in)``, B ``(out, r)``, m ``(out,)``.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from tabtune_core.lora.fused_linear import low_rank_linear
from tabtune_core.lora.half_copies import half_factors
from tabtune_core.lora.lazy_weight import LowRankWeight


def update_scaling(rank: int, alpha: float, *, use_rslora: bool = False) -> float:
    """The factor in front of B A."""
    return alpha / (math.sqrt(rank) if use_rslora else rank)


class LowRank(nn.Module):
    """What the three have in common."""

    lora_magnitude_vector: nn.Parameter | None
    """DoRA's m; None without DoRA."""

    def __init__(self, weight: torch.Tensor, r: int, alpha: float, dropout: float, use_rslora: bool, use_dora: bool) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.rank, self.scaling = r, update_scaling(r, alpha, use_rslora=use_rslora)
        self.register_parameter("lora_magnitude_vector", nn.Parameter(weight.detach().contiguous().norm(dim=1)) if use_dora else None)

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B."""
        raise NotImplementedError

    @property
    def active_dropout(self) -> float:
        """The share that is dropped now: none outside training."""
        return self.dropout.p if self.dropout.training else 0.0

    def updated(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight with the update in it."""
        a, b = self.factors
        moved = torch.addmm(weight, b, a, alpha=self.scaling)
        return moved if self.lora_magnitude_vector is None else self._row_scale(weight)[:, None] * moved

    def _row_scale(self, weight: torch.Tensor) -> torch.Tensor:
        """DoRA's ``m / ||W + s B A||``, ``(out,)``."""
        a, b = self.factors
        assert self.lora_magnitude_vector is not None
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):  # 16 bits would round m / ||W|| of a fresh adapter off 1
            norm: torch.Tensor = torch.addmm(weight, b, a, alpha=self.scaling).norm(dim=1)
        return self.lora_magnitude_vector.div(norm)


class LoRALinear(LowRank):
    """A linear layer that is called: ``base(x) + (alpha / r) B A dropout(x)``.

    With DoRA, what the rows' lengths change of the base's output is of ``dropout(x)`` too, as in PEFT.
    Shapes: x ``(..., in)``, result ``(..., out)``.
    """

    def __init__(
        self, base_linear: nn.Linear, r: int = 8, alpha: float = 16, dropout: float = 0.05, *,
        use_rslora: bool = False, use_dora: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(base_linear.weight, r, alpha, dropout, use_rslora, use_dora)
        device, dtype = base_linear.weight.device, base_linear.weight.dtype
        self.base = base_linear.requires_grad_(False)
        self.lora_A = nn.Linear(base_linear.in_features, r, bias=False, device=device, dtype=dtype)
        self.lora_B = nn.Linear(r, base_linear.out_features, bias=False, device=device, dtype=dtype)
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B."""
        a, b = self.lora_A.weight, self.lora_B.weight
        assert isinstance(a, nn.Parameter)
        assert isinstance(b, nn.Parameter)
        return a, b

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the update to the base layer's output."""
        if self.lora_magnitude_vector is None:
            return low_rank_linear(x, self.base.weight, self.base.bias, *half_factors(*self.factors), self.scaling, self.active_dropout)
        hidden = self.dropout(x)
        update: torch.Tensor = self.lora_B(self.lora_A(hidden))
        output: torch.Tensor = self.base(x)
        scale = self._row_scale(self.base.weight)
        return output + (scale - 1) * F.linear(hidden, self.base.weight) + scale * self.scaling * update

    def merged(self) -> nn.Linear:
        """A plain linear layer of the same function; the base layer is left as it is."""
        plain = nn.Linear(self.base.in_features, self.base.out_features, bias=self.base.bias is not None, device="meta")
        plain.weight = nn.Parameter(self.updated(self.base.weight).detach(), requires_grad=False)
        plain.bias = self.base.bias
        return plain.train(self.training)


class LowRankUpdate(LowRank):
    """A parametrization of a weight that is read: ``W -> W + (alpha / r) B A``.

    TabICL's attention reads ``in_proj_weight`` and ``out_proj.weight`` as tensors, so that a wrapper around the layer would never
    be called. The input of A is not at hand here: dropout hides input features, one mask a read, the same for every token.
    """

    def __init__(
        self, weight: torch.Tensor, r: int, alpha: float, dropout: float, *, use_rslora: bool = False, use_dora: bool = False
    ) -> None:
        super().__init__(weight, r, alpha, dropout, use_rslora, use_dora)
        out_features, in_features = weight.shape
        self.lora_A = nn.Parameter(torch.empty(r, in_features, device=weight.device, dtype=weight.dtype))
        self.lora_B = nn.Parameter(torch.zeros(out_features, r, device=weight.device, dtype=weight.dtype))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B."""
        return self.lora_A, self.lora_B

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as the model reads it: while training with the update beside it, else with the update in it."""
        if not torch.is_grad_enabled():
            return self.updated(weight)
        if self.lora_magnitude_vector is None:
            return LowRankWeight.of(weight, *half_factors(*self.factors), self.scaling, self.active_dropout)
        if not self.active_dropout:
            return self.updated(weight)
        shown: torch.Tensor = self.dropout(torch.ones_like(weight[0]))
        scale = self._row_scale(weight)[:, None]
        return weight + (scale - 1) * weight * shown + scale * self.scaling * self.lora_B @ (self.lora_A * shown)


class LoRAEmbedding(LowRank):
    """A table that is looked up: ``W[i] + (alpha / r) B A[:, i]``; the rows of W^T are what has a length in DoRA.

    There is no dropout: a row's number cannot be hidden in part; PEFT has none here either.
    Shapes: ids ``(...)``, W ``(ids, width)``, A ``(r, ids)``, B ``(width, r)``, result ``(..., width)``.
    """

    def __init__(
        self, base_embedding: nn.Embedding, r: int = 8, alpha: float = 16, *, use_rslora: bool = False, use_dora: bool = False
    ) -> None:
        weight = base_embedding.weight
        super().__init__(weight.T, r, alpha, 0.0, use_rslora, use_dora)
        ids, width = weight.shape
        self.base = base_embedding.requires_grad_(False)
        self.lora_A = nn.Parameter(torch.empty(r, ids, device=weight.device, dtype=weight.dtype))
        self.lora_B = nn.Parameter(torch.zeros(width, r, device=weight.device, dtype=weight.dtype))
        nn.init.uniform_(self.lora_A, -1, 1)  # what the linear's start is for a fan-in of 1: one column is read

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        """A and B."""
        return self.lora_A, self.lora_B

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Adds the update to the rows that are looked up."""
        moved: torch.Tensor = self.base(ids) + self.scaling * F.embedding(ids, self.lora_A.T) @ self.lora_B.T
        return moved if self.lora_magnitude_vector is None else self._row_scale(self.base.weight.T) * moved

    def updated(self, weight: torch.Tensor) -> torch.Tensor:
        """The table with the update in it."""
        return super().updated(weight.T).T.contiguous()
