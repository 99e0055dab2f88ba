"""The two ways in which a frozen weight gets a low-rank update: as a layer that is called, and as a weight that is read.

Hu et al. 2021, section 4.1, arXiv 2106.09685: ``W + (alpha / rank) B A``. A starts random and B zero, so that a fresh adapter
changes nothing.
"""

import math

import torch
from torch import nn


class LoRALinear(nn.Module):
    """A linear layer that is called: ``base(x) + (alpha / r) B A dropout(x)``.

    Shapes: x ``(..., in)``, A ``(r, in)``, B ``(out, r)``, result ``(..., out)``.
    """

    def __init__(self, base_linear: nn.Linear, r: int = 8, alpha: float = 16, dropout: float = 0.05) -> None:
        super().__init__()
        device, dtype = base_linear.weight.device, base_linear.weight.dtype
        self.base = base_linear.requires_grad_(False)
        self.lora_A = nn.Linear(base_linear.in_features, r, bias=False, device=device, dtype=dtype)
        self.lora_B = nn.Linear(r, base_linear.out_features, bias=False, device=device, dtype=dtype)
        self.dropout = nn.Dropout(dropout)
        self.rank, self.scaling = r, alpha / r
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the update to the base layer's output."""
        update: torch.Tensor = self.lora_B(self.lora_A(self.dropout(x)))
        output: torch.Tensor = self.base(x)
        return torch.add(output, update, alpha=self.scaling)

    def merged(self) -> nn.Linear:
        """A plain linear layer of the same function; the base layer is left as it is."""
        plain = nn.Linear(self.base.in_features, self.base.out_features, bias=self.base.bias is not None, device="meta")
        weight = self.base.weight + self.scaling * self.lora_B.weight @ self.lora_A.weight
        plain.weight = nn.Parameter(weight.detach(), requires_grad=False)
        plain.bias = self.base.bias
        return plain.train(self.training)


class LowRankUpdate(nn.Module):
    """A parametrization of a weight that is read: ``W -> W + (alpha / r) B A``.

    TabICL's attention reads ``in_proj_weight`` and ``out_proj.weight`` as tensors, so that a wrapper around the layer would never
    be called. The input of A is not at hand here: dropout hides input features, one mask a read, the same for every token.
    Shapes: W ``(out, in)``, A ``(r, in)``, B ``(out, r)``.
    """

    def __init__(self, weight: torch.Tensor, r: int, alpha: float, dropout: float) -> None:
        super().__init__()
        out_features, in_features = weight.shape
        self.lora_A = nn.Parameter(torch.empty(r, in_features, device=weight.device, dtype=weight.dtype))
        self.lora_B = nn.Parameter(torch.zeros(out_features, r, device=weight.device, dtype=weight.dtype))
        self.dropout = nn.Dropout(dropout)
        self.rank, self.scaling = r, alpha / r
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight as the model reads it."""
        factor = self.lora_A
        if self.training and self.dropout.p > 0:
            factor = factor * self.dropout(torch.ones_like(factor[0]))
        return torch.addmm(weight, self.lora_B, factor, alpha=self.scaling)
