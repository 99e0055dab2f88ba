"""The optimizer and its learning rate over the steps."""

import math
from collections.abc import Iterable

import torch
from torch import nn


def make_optimizer(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, weight_decay: float, betas: tuple[float, float], eps: float
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) over the trainable parameters."""
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=betas, eps=eps)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the next step, for every group of parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def rate_factor(step: int, *, steps: int, warmup_steps: int) -> float:
    """Share of the peak rate at a step counted from 0: a linear rise, then half a cosine down to 0.

    >>> [round(rate_factor(step, steps=10, warmup_steps=2), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * progress))
