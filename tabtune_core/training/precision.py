"""The number format of a training step: fp32, or autocast to 16 bits with what keeps small gradients from vanishing."""

from dataclasses import dataclass

import torch

from tabtune_core.devices import gpu_module, is_proven, name_of
from tabtune_core.errors import DeviceError
from tabtune_core.events import Note
from tabtune_core.settings import Amp

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
