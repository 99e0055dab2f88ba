"""One training step: its number format, the loss of an episode, its gradient, and the optimizer's update.

In: a model, an episode, an optimizer. Out: the loss, the norm of its gradient, and whether the step succeeded.
Shape letters: T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from tabtune_core.devices import is_gpu, name_of
from tabtune_core.errors import DeviceError
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import Amp, Optimizer, Schedule
from tabtune_core.training.episodes import Episode

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


DTYPES: dict[Amp, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Precision:
    """The number format of a step; trained weights stay fp32. Scaler: Micikevicius et al. 2018, arXiv 1710.03740."""

    device_type: str
    dtype: torch.dtype | None
    """None is fp32."""
    scaler: torch.amp.GradScaler

    @classmethod
    def of(cls, amp: Amp, device: torch.device) -> "Precision":
        """Makes the precision of ``train.amp``; raises DeviceError for 16 bits without an NVIDIA GPU."""
        if amp != "off" and not is_gpu(device):
            here = f"which needs an NVIDIA GPU, but the device is {name_of(device)}"
            raise DeviceError(f"train.amp is {amp!r}, {here}. Set it to 'off'.")
        return cls(device.type, DTYPES.get(amp), torch.amp.GradScaler(device.type, enabled=amp == "fp16"))

    def autocast(self) -> torch.autocast:
        """Returns the context in which the loss is computed."""
        return torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None)


Stepped = tuple[float, float, Literal["done", "overflow", "diverged"]]
"""The loss of a step, the norm of its gradient before clipping, and whether that overflowed fp16."""


def episode_loss(model: BaseModel, episode: Episode, classes: int, device: torch.device) -> torch.Tensor:
    """Computes the mean weighted loss of the query rows (nats for classes); nan if no row can be scored.

    Numbers are standardised by the context first: in float32, large ones that differ little would be equal.
    """
    kind, y_C, y_Q = torch.int64 if classes else torch.float32, episode.y_C, episode.y_Q
    if not classes:
        mean, deviation = y_C.mean(), y_C.std() if np.ptp(y_C) else 1.0
        y_C, y_Q = (y_C - mean) / deviation, (y_Q - mean) / deviation
    x_BTF = torch.from_numpy(episode.x_TF)[None].to(device)
    y_BC, y_BQ = (torch.from_numpy(part)[None].to(device, kind) for part in (y_C, y_Q))
    weight_BQ = None if episode.weight_Q is None else torch.from_numpy(episode.weight_Q)[None].to(device, torch.float32)
    return model.loss(x_BTF, y_BC, y_BQ, classes, weight_BQ)


def take_step(
    loss: torch.Tensor, optimizer: torch.optim.Optimizer, *, clip_norm: float, precision: Precision
) -> Stepped:
    """Takes one optimizer step; it changes no parameter if the loss or its gradient is not finite.

    Delete the previous gradients before the forward pass, so that they take no memory beside its activations. The fused
    ``optimizer`` reads from a tensor whether to step, so that the host waits once. Gradients longer than ``clip_norm``
    are scaled to it (0: never). With fp16 a gradient that is not finite shrinks the scale while that is at least 1.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    scaler = precision.scaler
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimizer)
    norm, scale = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf), scaler.scale(torch.ones_like(loss))
    loss_norm_scale = torch.stack([loss.detach(), norm, scale])
    vars(optimizer).update(grad_scale=None, found_inf=1 - loss_norm_scale.isfinite().all().float())
    optimizer.step()
    scaler.update()
    value, length, factor = loss_norm_scale.tolist()
    if not math.isfinite(value):
        return value, length, "diverged"
    may_overflow = scaler.is_enabled() and factor >= 1
    return value, length, "done" if math.isfinite(length) else "overflow" if may_overflow else "diverged"


def plain_step(
    model: BaseModel,
    optimizer: torch.optim.Optimizer,
    *,
    classes: int,
    clip_norm: float,
    precision: Precision,
    device: torch.device,
) -> Callable[[Episode], Stepped]:
    """Returns a function that takes a step on any episode; see ``take_step``. ``classes`` is 0 for numbers."""

    def step(episode: Episode) -> Stepped:
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            loss = episode_loss(model, episode, classes, device)
        return take_step(loss, optimizer, clip_norm=clip_norm, precision=precision)

    return step
