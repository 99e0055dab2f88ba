"""The devices that torch computes on: resolves their names and wraps torch's functions for GPUs of every kind.

NVIDIA and AMD GPUs are named ``cuda:1``, others by torch's own name. A requested device that is not there is an error;
it is never replaced by another device.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F

from tabtune_core.errors import DeviceError, is_out_of_memory
from tabtune_core.gpus import OTHERWISE, TYPES, freest_card
from tabtune_core.machine import machine_memory
from tabtune_core.wording import counted

PROBE_TOLERANCE = 1e-3
"""Relative to the largest number: a thousand times what the order of a 32-bit sum changes."""
PARTS = ("attention", "the head")
NARROW = {"mps"}
"""Torch's types of GPUs without 64-bit floats."""
_APPLE = SimpleNamespace(
    device_count=torch.mps.device_count,
    empty_cache=torch.mps.empty_cache,
    get_device_name=lambda device: "Apple GPU",
    get_device_properties=lambda device: SimpleNamespace(total_memory=torch.mps.recommended_max_memory()),
    get_rng_state=torch.mps.get_rng_state,
    manual_seed=torch.mps.manual_seed,
    memory_allocated=lambda device: torch.mps.current_allocated_memory(),
    memory_reserved=lambda device: torch.mps.driver_allocated_memory(),
    set_rng_state=torch.mps.set_rng_state,
)
"""``torch.mps`` under the names of ``torch.cuda``. It records no memory peaks."""


def resolve_device(name: str, *, asked: str = "") -> torch.device:
    """Returns the device of a name: 'auto' is the NVIDIA GPU with the most free memory, or the CPU without one.

    ``asked`` is the person's setting, if the worker chose the name.

    Raises:
        DeviceError: torch does not know the name, or the GPU is missing, cannot compute or computes wrong results.
    """
    gpu, gpus = _gpus()
    if name == "auto":
        return _tried(torch.device(gpu.type, min(freest_card(), gpus - 1))) if is_proven(gpu) else torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        known = "use 'auto', 'cpu', 'cuda', 'cuda:0', 'mps' or 'xpu'."
        raise DeviceError(f"The device {name!r} is unknown; {known}") from error
    if device.type == "cpu":
        return device
    index, there = device.index or 0, gpus if device.type == _called(gpu) else 0
    if index >= there:
        reason = f"torch sees {counted(there, f'{device.type.upper()} GPU')}"
        if device.type == "cuda" and torch.version.cuda is None and torch.version.hip is None:
            reason += " (this build of torch has no CUDA)"
        if asked == "auto":
            back = "Choose 'cpu', or run it again when the GPU is back."
            raise DeviceError(f"'auto' was given {name!r}, but {reason}. {back}")
        raise DeviceError(f"The device {name!r} was requested, but {reason}. {OTHERWISE}")
    return _tried(torch.device(gpu.type, index))


def _gpus() -> tuple[torch.device, int]:
    """Returns torch's accelerator and the number of such devices; the CPU and 0 without an accelerator."""
    gpu = torch.accelerator.current_accelerator(check_available=True)
    gpus = gpu_module(gpu).device_count() if gpu is not None else 0
    return (gpu, gpus) if gpu is not None and gpus else (torch.device("cpu"), 0)


def _tried(device: torch.device) -> torch.device:
    """Returns the GPU after a test computation, which reveals an old driver or a GPU that another process holds."""
    try:
        torch.ones(1, device=device).add_(1).item()
        wrong = None if is_proven(device) else differs_from_cpu(device)
    except (RuntimeError, AssertionError, TypeError) as error:  # TypeError: a type of numbers that the GPU lacks
        if is_out_of_memory(error):
            raise
        why = f"The GPU {name_of(device)} cannot be used: {str(error).splitlines()[0]}"
        raise DeviceError(f"{why} Choose 'cpu' or another GPU, or repair the driver.") from error
    if wrong is not None:
        why = f"The GPU {name_of(device)} is not used, because it computes {wrong}"
        raise DeviceError(f"{why}; choose 'cpu', or try another version of torch.")
    return device


def differs_from_cpu(device: torch.device) -> str | None:
    """Says which result of a small step differs from the CPU's, and by how much; None if all agree."""
    for (what, expected), computed in zip(_probe(torch.device("cpu")).items(), _probe(device).values(), strict=True):
        off, most = (computed - expected).abs().max().item(), expected.abs().max().item()
        if not off <= PROBE_TOLERANCE * most:  # true for nan too
            return f"{what} that differ from the CPU's by {off:.2g} where the largest is {most:.2g}"
    return None


def _probe(device: torch.device) -> dict[str, torch.Tensor]:
    """Computes attention of queries to context rows as the models do, its gradients, and a step of AdamW.

    Weights and keys are sliced and transposed, because known wrong results mostly come from such tensors
    (pytorch#161640, #162730, #192212, #197636).
    """
    chance = torch.Generator().manual_seed(0)  # the CPU's, so that both devices get the same numbers
    shapes = ((2, 40, 32), (64, 192), (5, 32))
    x_BTD, read_DE, out_KD = (torch.randn(shape, generator=chance).to(device) for shape in shapes)
    weights = [torch.nn.Parameter(weight) for weight in (read_DE[::2, :96].T, out_KD.T)]
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        mixed = F.linear(F.layer_norm(x_BTD, (32,)), weights[0] / 6).view(2, 40, 3, 4, 8)
        q_BHTE, k_BHTE, v_BHTE = mixed.permute(2, 0, 3, 1, 4)
        shown = F.scaled_dot_product_attention(q_BHTE, k_BHTE[:, :, :24], v_BHTE[:, :, :24])
        scores_NK = F.gelu(shown.transpose(1, 2).flatten(2)).flatten(0, 1) @ weights[1]
        gradients = torch.autograd.grad(F.cross_entropy(scores_NK, torch.arange(80, device=device) % 5), weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    torch.optim.AdamW(weights, lr=0.1, eps=1e-3).step()  # with a small eps, rounding would choose some signs
    names = ("scores", *(f"{what} of {part}" for what in ("gradients", "trained weights") for part in PARTS))
    return {name: tensor.detach().cpu() for name, tensor in zip(names, (scores_NK, *gradients, *weights), strict=True)}


def is_gpu(device: torch.device) -> bool:
    """Whether the device is anything but the CPU."""
    return device.type != "cpu"


def is_proven(device: torch.device) -> bool:
    """Whether the device is an NVIDIA GPU; on other GPUs 16-bit steps are off, and 'auto' does not take them."""
    return device.type in TYPES and torch.version.hip is None


def widest_float(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 on a GPU without float64."""
    return torch.float32 if device.type in NARROW else torch.float64


def name_of(device: torch.device) -> str:
    """Returns the name that ``resolve_device`` accepts: ``cpu``, ``cuda:1`` or ``mps:0``."""
    return f"{_called(device)}:{device.index or 0}" if is_gpu(device) else "cpu"


def _called(device: torch.device) -> str:
    return "cuda" if device.type in TYPES else device.type


def describe_device(device: torch.device) -> str:
    """Describes a device, for example ``cuda:0 (NVIDIA H100)`` or ``cpu (2 threads)``."""
    if is_gpu(device):
        return f"{name_of(device)} ({gpu_module(device).get_device_name(device)})"
    return f"cpu ({counted(torch.get_num_threads(), 'thread')})"


def memory_bytes(device: torch.device) -> int:
    """Returns the total memory of a device, free or not; for the CPU, the machine's."""
    return int(gpu_module(device).get_device_properties(device).total_memory) if is_gpu(device) else machine_memory()[1]


def gpu_module(device: torch.device) -> Any:
    """Returns torch's functions for GPUs of this kind, named as in ``torch.cuda``."""
    return _APPLE if device.type == "mps" else torch.get_device_module(device)


def keeps_peaks(device: torch.device) -> bool:
    """Whether torch records its peak memory on the device."""
    return is_gpu(device) and hasattr(gpu_module(device), "max_memory_allocated")


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
