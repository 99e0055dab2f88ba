"""The optimizer and its learning rate over the steps."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from tabtune_core.settings import Optimizer, Schedule

MOMENTUM = 0.9
"""Momentum of SGD."""


def make_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    optimizer: Optimizer,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    lr_ratio: float = 1.0,
) -> torch.optim.Optimizer:
    """Makes one of torch's optimizers over the parameters; ``adamw`` is Loshchilov & Hutter 2019, arXiv 1711.05101.

    ``adamw`` decays the weights themselves, ``adam`` and ``sgd`` through the gradient. ``learning_rate`` is the peak;
    that of LoRA's B factors, ``lora_B`` in their name, is ``lr_ratio`` times as high: LoRA+, arXiv 2402.12354.
    """
    by_rate: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named_parameters:
        by_rate.setdefault(learning_rate * (lr_ratio if "lora_B" in name.split(".") else 1), []).append(parameter)
    groups = [{"params": group, "lr": rate, "peak_rate": rate} for rate, group in by_rate.items()]
    if optimizer == "sgd":
        made = torch.optim.SGD(groups, momentum=MOMENTUM, weight_decay=weight_decay, fused=True)
        # torch leaves them uninitialised if the first step is skipped
        for parameter in (p for group in by_rate.values() for p in group):
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return made
    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.Adam
    return kind(groups, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Sets each group's rate to this share of its peak; returns that of the first group (A factors)."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_rate"]
    return float(factor * optimizer.param_groups[0]["peak_rate"])


def rate_factor(step: int, *, schedule: Schedule, steps: int, warmup_steps: int) -> float:
    """Returns the share of the peak rate at a step counted from 0: a linear rise, then the schedule.

    >>> [round(rate_factor(step, schedule="cosine", steps=10, warmup_steps=2), 2) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    >>> [round(rate_factor(step, schedule="linear", steps=10, warmup_steps=2), 2) for step in (0, 1, 2, 4, 10)]
    [0.5, 1.0, 1.0, 0.75, 0.0]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1 - progress, "constant": 1.0}[schedule]
