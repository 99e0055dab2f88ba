"""Where a run computes. A device that was asked for and is not there is an error, never another device."""

import torch

from tabtune_core.errors import DeviceError, is_out_of_memory
from tabtune_core.gpus import freest_card
from tabtune_core.machine import machine_memory
from tabtune_core.wording import counted


def resolve_device(name: str) -> torch.device:
    """'auto' is the CUDA GPU with the most free memory, or the CPU where there is none; anything else is taken at its word.

    Raises:
        DeviceError: for a name torch does not know, a GPU that is not there, or one that cannot compute.
    """
    of_amd = torch.version.hip is not None
    gpus = torch.cuda.device_count() if torch.cuda.is_available() and not of_amd else 0
    if name == "auto":
        return _tried(torch.device("cuda", min(freest_card(), gpus - 1))) if gpus else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"The device {name!r} is unknown; use 'auto', 'cpu', 'cuda' or 'cuda:0'.") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise DeviceError(f"The device {name!r} is not supported; use 'auto', 'cpu', 'cuda' or 'cuda:0'.")
    index = device.index or 0
    if index >= gpus:
        reason = f"torch sees {counted(gpus, 'CUDA GPU')}"
        if of_amd:
            reason = "this build of torch is for AMD GPUs (ROCm), which were never tested"
        elif torch.version.cuda is None:
            reason += " (this build of torch has no CUDA)"
        raise DeviceError(f"The device {name!r} was requested, but {reason}. Choose 'cpu', or 'auto' for an available device.")
    return _tried(torch.device("cuda", index))


def _tried(device: torch.device) -> torch.device:
    """The GPU, after it has computed something: a driver that is too old and a GPU that is in use by one process alone show only then."""
    try:
        torch.ones(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        cause = str(error).splitlines()[0]
        raise DeviceError(f"The GPU {device} cannot be used: {cause} Choose 'cpu' or another GPU, or repair the driver.") from error
    return device


def describe_device(device: torch.device) -> str:
    """For example ``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({counted(threads, 'thread')})"


def memory_bytes(device: torch.device) -> int:
    """All the memory that a device has, free or not; of the CPU, the machine's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else machine_memory()[1]
