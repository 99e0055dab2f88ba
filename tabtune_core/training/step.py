"""One training step: its number format, the loss of an episode, its gradient, and the optimizer's move.

In: a model, an episode, an optimizer. Out: the loss, the norm of its gradient, and how it went.
Shape letters: T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from tabtune_core.devices import gpu_module, is_proven, name_of
from tabtune_core.errors import DeviceError
from tabtune_core.events import Note
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import Amp
from tabtune_core.training.episodes import Episode

DTYPES: dict[Amp, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
BF16_CAPABILITY = (8, 0)
"""Compute capability from which on a GPU computes in bf16 (CUDA C++ Programming Guide, "Compute Capability 8.x"); others emulate it."""


@dataclass(frozen=True, slots=True)
class Precision:
    """What a step computes in. The weights that are trained stay fp32.

    The scaler is torch's own (Micikevicius et al. 2018, section 3.2, arXiv 1710.03740); where it is off, it changes nothing.
    """

    device_type: str
    dtype: torch.dtype | None
    """None is fp32."""
    scaler: torch.amp.GradScaler

    @classmethod
    def of(cls, amp: Amp, device: torch.device) -> "Precision":
        """What a setting stands for on a device.

        Raises:
            DeviceError: 16-bit training was asked for, and the device is not an NVIDIA GPU.
        """
        if amp != "off" and not is_proven(device):
            raise DeviceError(f"train.amp is {amp!r}, which needs an NVIDIA GPU, but the device is {name_of(device)}. Set it to 'off'.")
        return cls(device.type, DTYPES.get(amp), torch.amp.GradScaler(device.type, enabled=amp == "fp16"))

    def autocast(self) -> torch.autocast:
        """The context in which the loss is computed."""
        return torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None)


def emulation(amp: Amp, device: torch.device) -> list[Note]:
    """What to know where the GPU has no units for the format that was asked for."""
    if amp != "bf16" or gpu_module(device).get_device_capability(device) >= BF16_CAPABILITY:
        return []
    name, (major, minor) = gpu_module(device).get_device_name(device), gpu_module(device).get_device_capability(device)
    return [
        Note(
            f"{name} (compute capability {major}.{minor}) emulates bf16, which is slow; GPUs from 8.0 on support it. "
            "Set train.amp to 'fp16', which this GPU supports, or to 'off'.",
            "warning",
        )
    ]


Stepped = tuple[float, float, Literal["done", "overflow", "diverged"]]
"""The loss of a step, the norm of its gradient before clipping, and how it went: ``overflow`` is a gradient too large for fp16's scale."""


def episode_loss(model: BaseModel, episode: Episode, classes: int, device: torch.device) -> torch.Tensor:
    """Mean loss of the query rows (nats for classes), weighted where the episode has weights; nan if none of them can be scored."""
    x_BTF, y_BC, y_BQ, weight_BQ = episode_tensors(episode, classes, device)
    return model.loss(x_BTF, y_BC, y_BQ, classes, weight_BQ)


def episode_tensors(
    episode: Episode, classes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What a model's loss reads: features ``(1, T, F)``, answers ``(1, C)`` and ``(1, Q)``, and weights of query rows ``(1, Q)``.

    Numbers go to the model as standard scores of the context: in float32, large ones that differ little, as dates do, would be one.
    """
    kind, y_C, y_Q = torch.int64 if classes else torch.float32, episode.y_C, episode.y_Q
    if not classes:
        mean, deviation = y_C.mean(), y_C.std() if np.ptp(y_C) else 1.0
        y_C, y_Q = (y_C - mean) / deviation, (y_Q - mean) / deviation
    x_BTF = torch.from_numpy(episode.x_TF)[None].to(device)
    y_BC, y_BQ = (torch.from_numpy(part)[None].to(device, kind) for part in (y_C, y_Q))
    weight_BQ = None if episode.weight_Q is None else torch.from_numpy(episode.weight_Q)[None].to(device, torch.float32)
    return x_BTF, y_BC, y_BQ, weight_BQ


def take_step(loss: torch.Tensor, optimizer: torch.optim.Optimizer, *, clip_norm: float, precision: Precision) -> Stepped:
    """``queue_step``, and what came of it: the host waits once."""
    return stepped(queue_step(loss, optimizer, clip_norm=clip_norm, precision=precision), precision)


def queue_step(loss: torch.Tensor, optimizer: torch.optim.Optimizer, *, clip_norm: float, precision: Precision) -> torch.Tensor:
    """One optimizer step, which leaves the parameters alone where the loss or its gradient is not finite. The host decides nothing.

    Gradients of an earlier step must be gone: before the forward pass that made the loss, so that they are not held beside all it keeps.

    Args:
        loss: of the episode.
        optimizer: a fused one of torch's, which reads from a tensor whether to step.
        clip_norm: longer gradients are shortened to it; 0 leaves them.
        precision: of the loss.

    Returns:
        The loss, the norm of its gradient before clipping, and the scale of fp16, ``(3,)``.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    precision.scaler.unscale_(optimizer)
    norm, scale = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf), precision.scaler.scale(torch.ones_like(loss))
    loss_norm_scale = torch.stack([loss.detach(), norm, scale])
    vars(optimizer).update(grad_scale=None, found_inf=1 - loss_norm_scale.isfinite().all().float())
    optimizer.step()
    precision.scaler.update()
    return loss_norm_scale


def stepped(loss_norm_scale: torch.Tensor, precision: Precision) -> Stepped:
    """Of what ``queue_step`` returned. A gradient may be too large for the scale alone: a smaller one is tried down to 1, the true size."""
    value, norm, scale = loss_norm_scale.tolist()
    if not math.isfinite(value):
        return value, norm, "diverged"
    may_overflow = precision.scaler.is_enabled() and scale >= 1
    return value, norm, "done" if math.isfinite(norm) else "overflow" if may_overflow else "diverged"


def plain_step(
    model: BaseModel, optimizer: torch.optim.Optimizer, *, classes: int, clip_norm: float, precision: Precision, device: torch.device
) -> Callable[[Episode], Stepped]:
    """A step on whatever episode comes, for ``train``.

    Args:
        model: whose trainable parameters ``optimizer`` holds.
        optimizer: as ``make_optimizer`` makes it.
        classes: K; 0 for numbers.
        clip_norm: longer gradients are shortened to it; 0 leaves them.
        precision: of the steps; scores are in fp32.
        device: of the model.
    """

    def step(episode: Episode) -> Stepped:
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            loss = episode_loss(model, episode, classes, device)
        return take_step(loss, optimizer, clip_norm=clip_norm, precision=precision)

    return step
