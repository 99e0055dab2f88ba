"""The devices that torch computes on, the CPU and NVIDIA's GPUs: resolves their names and wraps torch's functions.

A requested device that is not there is an error; it is never replaced by another device.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from tabtune_core.errors import DeviceError, is_out_of_memory
from tabtune_core.gpus import OTHERWISE, TYPES, freest_card, named_gpu, unknown_device
from tabtune_core.machine import machine_memory
from tabtune_core.wording import counted


def resolve_device(name: str) -> torch.device:
    """Returns the device of a name: 'auto' is the NVIDIA GPU with the most free memory, or the CPU without one.

    Raises:
        DeviceError: the name is unknown, or the GPU is missing or cannot compute.
    """
    gpu, gpus = _gpus()
    if name == "auto":
        return _tried(torch.device(gpu.type, min(freest_card(), gpus - 1))) if gpus else torch.device("cpu")
    if name == "cpu":
        return torch.device("cpu")
    if (named := named_gpu(name)) is None:
        raise unknown_device(name)
    if named >= gpus:
        reason = f"torch sees {counted(gpus, 'CUDA GPU')}"
        if torch.version.cuda is None:
            reason += " (this build of torch has no CUDA)"
        raise DeviceError(f"The device {name!r} was requested, but {reason}. {OTHERWISE}")
    return _tried(torch.device(gpu.type, named))


def _gpus() -> tuple[torch.device, int]:
    """Returns the type of NVIDIA's GPUs and their number; the CPU and 0 without one."""
    gpu = torch.accelerator.current_accelerator(check_available=True)
    there = gpu is not None and gpu.type in TYPES and torch.version.hip is None
    gpus = gpu_module(gpu).device_count() if gpu is not None and there else 0
    return (gpu, gpus) if gpu is not None and gpus else (torch.device("cpu"), 0)


def _tried(device: torch.device) -> torch.device:
    """Returns the GPU after a test computation, which reveals an old driver or a GPU that another process holds."""
    try:
        torch.ones(1, device=device).add_(1).item()
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        why = f"The GPU {name_of(device)} cannot be used: {str(error).splitlines()[0]}"
        raise DeviceError(f"{why} Choose 'cpu' or another GPU, or repair the driver.") from error
    return device


def is_gpu(device: torch.device) -> bool:
    """Whether the device is anything but the CPU."""
    return device.type != "cpu"


def name_of(device: torch.device) -> str:
    """Returns the name that ``resolve_device`` accepts: ``cpu`` or ``cuda:1``."""
    return f"cuda:{device.index or 0}" if is_gpu(device) else "cpu"


def describe_device(device: torch.device) -> str:
    """Describes a device, for example ``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if is_gpu(device):
        return f"{name_of(device)} ({gpu_module(device).get_device_name(device)})"
    return f"cpu ({counted(torch.get_num_threads(), 'thread')})"


def memory_bytes(device: torch.device) -> int:
    """Returns the total memory of a device, free or not; for the CPU, the machine's."""
    return int(gpu_module(device).get_device_properties(device).total_memory) if is_gpu(device) else machine_memory()[1]


def gpu_module(device: torch.device) -> Any:
    """Returns torch's functions for the GPU, ``torch.cuda``."""
    return torch.get_device_module(device)


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a GPU torch's current device inside the block; calls without a device would otherwise open another GPU."""
    return torch.accelerator.device_index(device.index or 0) if is_gpu(device) else nullcontext()


def synchronize(device: torch.device) -> None:
    """Waits until a GPU has finished all queued work."""
    if is_gpu(device):
        torch.accelerator.synchronize(device)


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """Returns the states of torch's generators: ``cpu``, and ``cuda`` if the device is a GPU."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": gpu_module(device).get_rng_state(device)} if is_gpu(device) else states


def set_random_states(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Restores what ``random_states`` returned for the same kind of device."""
    torch.set_rng_state(states["cpu"])
    if is_gpu(device):
        gpu_module(device).set_rng_state(states["cuda"], device)


_ONE_DRAWS = threading.RLock()


@contextmanager
def own_chance(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Seeds torch's generators of the CPU and this device inside the block, if ``seed`` is given; restores them after.

    Threads take turns, because torch has one generator per device, from which dropout draws.
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
