"""A small random TabDPT, which unlike TabICL calls every layer and embeds class labels."""

import torch
from tiny import tiny_module
from torch import nn

UNUSED = ("reg_y_encoders",)
"""Modules that classification never calls."""
TARGETS = ("transformer_encoder", "encoder", "cls_y_encoders", "head")


def tiny_tabdpt(seed: int = 0) -> nn.Module:
    """Frozen and in eval(): in train() query rows see each other, and frozen layers differ in the last bit."""
    return tiny_module("tabdpt-1.3", seed).requires_grad_(False).eval()


def tabdpt_logits(module: nn.Module, seed: int = 0) -> torch.Tensor:
    """Logits ``(queries, tables, classes)`` of a random classification episode."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 24, 16, generator=generator), torch.randint(0, 4, (2, 16), generator=generator).float()
    return module(x, y, is_cls=True)[..., :4]
