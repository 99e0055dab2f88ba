"""Where a run computes. A device that was asked for and is not there is an error, never another device."""

import psutil
import torch

from tabtune_core.errors import DeviceError


def resolve_device(name: str) -> torch.device:
    """'auto' is the first CUDA card, or the CPU where there is none; anything else is taken at its word.

    Raises:
        DeviceError: for a name torch does not know or a card that is not there.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda", 0) if cards else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"The device {name!r} is unknown; use 'auto', 'cpu', 'cuda' or 'cuda:0'.") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise DeviceError(f"The device {name!r} is not supported; use 'auto', 'cpu', 'cuda' or 'cuda:0'.")
    index = device.index or 0
    if index >= cards:
        found = f"torch sees {cards} CUDA card{'s' if cards != 1 else ''}"
        if torch.version.cuda is None:
            found += " (this build of torch has no CUDA)"
        raise DeviceError(f"The device {name!r} was asked for, but {found}. Choose 'cpu', or 'auto' to take what there is.")
    return torch.device("cuda", index)


def describe_device(device: torch.device) -> str:
    """For example ``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' * (threads != 1)})"


def memory_bytes(device: torch.device) -> int:
    """All the memory that a device has, free or not; of the CPU, the machine's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else psutil.virtual_memory().total
