"""The devices that torch computes on: which one a name stands for, and everything that is asked of a GPU whatever its kind.

A GPU is called ``cuda:1`` wherever it is named. A device that was asked for and is not there is an error, never another device.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from tabtune_core.errors import DeviceError, is_out_of_memory
from tabtune_core.gpus import TYPES, freest_card
from tabtune_core.machine import machine_memory
from tabtune_core.wording import counted


def resolve_device(name: str) -> torch.device:
    """'auto' is the GPU with the most free memory, or the CPU if there is no GPU; any other name is taken literally.

    Raises:
        DeviceError: for a name torch does not know, a GPU that is not there, or one that cannot compute.
    """
    of_amd, found = torch.version.hip is not None, torch.accelerator.current_accelerator(check_available=True)
    gpu = found if found is not None and found.type in TYPES and not of_amd else torch.device("cpu")
    gpus = gpu_module(gpu).device_count() if is_gpu(gpu) else 0
    if name == "auto":
        return _tried(torch.device(gpu.type, min(freest_card(), gpus - 1))) if gpus else gpu
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
    return _tried(torch.device(gpu.type, index))


def _tried(device: torch.device) -> torch.device:
    """The GPU, after it has computed something: a driver that is too old and a GPU that is in use by one process alone show only then."""
    try:
        torch.ones(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        gpu, cause = name_of(device), str(error).splitlines()[0]
        raise DeviceError(f"The GPU {gpu} cannot be used: {cause} Choose 'cpu' or another GPU, or repair the driver.") from error
    return device


def is_gpu(device: torch.device) -> bool:
    """Whether it is anything but the CPU."""
    return device.type != "cpu"


def name_of(device: torch.device) -> str:
    """What ``resolve_device`` knows it by: ``cpu`` or ``cuda:1``."""
    return f"cuda:{device.index or 0}" if is_gpu(device) else "cpu"


def describe_device(device: torch.device) -> str:
    """For example ``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if is_gpu(device):
        return f"{name_of(device)} ({gpu_module(device).get_device_name(device)})"
    return f"cpu ({counted(torch.get_num_threads(), 'thread')})"


def memory_bytes(device: torch.device) -> int:
    """All the memory that a device has, free or not; of the CPU, the machine's."""
    return int(gpu_module(device).get_device_properties(device).total_memory) if is_gpu(device) else machine_memory()[1]


def gpu_module(device: torch.device) -> Any:
    """Torch's functions for GPUs of this kind, named as in ``torch.cuda``; pass the device to those that take one."""
    return torch.get_device_module(device)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a GPU torch's current one within the block; calls that name no GPU would otherwise open another GPU."""
    module: AbstractContextManager[Any] = gpu_module(device).device(device) if is_gpu(device) else nullcontext()
    return module


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has done everything that it was given."""
    if is_gpu(device):
        gpu_module(device).synchronize(device)


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Of torch's generators: ``cpu``'s, and ``cuda``'s where the device is a GPU."""
    return {"cpu": torch.get_rng_state()} | ({"cuda": gpu_module(device).get_rng_state(device)} if is_gpu(device) else {})


def set_random_states(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Puts back what ``random_states`` gave of the same kind of device."""
    torch.set_rng_state(states["cpu"])
    if is_gpu(device):
        gpu_module(device).set_rng_state(states["cuda"], device)


_ONE_DRAWS = threading.RLock()


@contextmanager
def own_chance(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Seeds torch's random numbers on the CPU and this device within the block, if there is a seed; then restores them.

    Threads take turns, since torch has one generator a device and dropout draws from it. Other GPUs are left alone, which
    ``torch.manual_seed`` would seed too.
    """
    with _ONE_DRAWS:
        before = random_states(device)
        try:
            if seed is not None:
                torch.default_generator.manual_seed(seed)
                if is_gpu(device):
                    with on_device(device):
                        gpu_module(device).manual_seed(seed)
            yield
        finally:
            set_random_states(before, device)
