"""Which NVIDIA GPUs a run could take, asked of the driver instead of torch, which would take seconds and hundreds of megabytes.

The answer follows what torch does in the run's process: a build without CUDA has no GPU, and CUDA_VISIBLE_DEVICES hides and orders
GPUs. The worker sets CUDA_DEVICE_ORDER=PCI_BUS_ID, so that torch counts the GPUs as the driver does.
"""

import functools
import os
import re
from collections.abc import Callable
from ctypes.util import find_library
from dataclasses import dataclass
from typing import Any, TypeVar

import pynvml

from tabtune_core.errors import DeviceError
from tabtune_core.upstream import installed_now
from tabtune_core.wording import counted

Answer = TypeVar("Answer")
TYPES = {"cuda"}
"""Torch's types of devices that are GPUs here."""
_NAMED = re.compile(r"(cuda|mps|xpu)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Driver:
    """What the driver says of itself."""

    version: str
    cuda: str
    """The newest CUDA that it knows, such as ``12.8``."""
    gpus: int
    """All GPUs, also those that runs may not take."""


def driver() -> Driver | None:
    """The driver; None if it is missing or does not answer."""
    try:
        _open(pynvml)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return Driver(_text(pynvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}", pynvml.nvmlDeviceGetCount())
    except nvml_errors(pynvml):
        _open.cache_clear()
        return None


def count_cards() -> int:
    """How many GPUs a run could name: cuda:0, cuda:1, ..."""
    return len(_of_every_gpu(lambda handle: True))


def check_device(name: str) -> None:
    """Refuses a device that a run cannot have, as the run itself would, without asking torch.

    Raises:
        DeviceError: the name is unknown, or the GPU is not there. Where the driver does not report its GPUs, the run finds out.
    """
    if name in ("auto", "cpu"):
        return
    named = named_gpu(name)
    if named is None:
        raise DeviceError(f"The device {name!r} is unknown; use 'auto', 'cpu', 'cuda', 'cuda:0', 'mps' or 'xpu'.")
    known, gpus = _driver_tells() and not is_untold(name), count_cards()
    if known and named[1] >= gpus:
        reason = f"this machine has {counted(gpus, 'CUDA GPU')}" + (
            "" if torch_has_cuda() else " that torch can use (this build of torch has no CUDA)"
        )
        raise DeviceError(f"The device {name!r} was requested, but {reason}. Choose 'cpu', or 'auto' for an available device.")


def named_gpu(name: str) -> tuple[str, int] | None:
    """Kind and number of the GPU that a setting names.

    >>> named_gpu("cuda:1"), named_gpu("mps"), named_gpu("auto")
    (('cuda', 1), ('mps', 0), None)
    """
    named = _NAMED.fullmatch(name)
    return (named[1], int(named[2] or 0)) if named else None


def is_untold(name: str) -> bool:
    """Whether a name is of a GPU that NVIDIA's driver does not know: Apple's, Intel's, or AMD's where torch was built for those."""
    named = named_gpu(name)
    return named is not None and (named[0] != "cuda" or "+rocm" in (installed_now("torch") or ""))


def _driver_tells() -> bool:
    """Whether the count is complete: torch has no CUDA, there is no CUDA driver, or the driver answers."""
    if not torch_has_cuda() or find_library("cuda") is None:
        return True
    try:
        _open(pynvml)
    except nvml_errors(pynvml):
        _open.cache_clear()
        return False
    return True


def card_names() -> list[str]:
    """Names of the GPUs by the number that torch gives them; empty where there is no driver, no GPU or no CUDA in torch."""
    return _of_every_gpu(lambda handle: _text(pynvml.nvmlDeviceGetName(handle)))


def card_memory() -> list[tuple[int, int] | None]:
    """Free and total bytes of the same GPUs; None where the driver does not report it."""
    return _of_every_gpu(_memory)


def card_uuids() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the same GPUs, wherever they are counted from."""
    return _of_every_gpu(lambda handle: _text(pynvml.nvmlDeviceGetUUID(handle)))


def freest_card() -> int:
    """Number of the GPU with the most free memory; 0 where the driver does not report it, or torch may count the GPUs in another order."""
    free = [memory[0] if memory else -1 for memory in card_memory()]
    counts_alike = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return free.index(max(free)) if free and counts_alike else 0


def takes_one_process(place: int) -> bool:
    """Whether a GPU is in exclusive-process mode: while a run holds it, no second process can compute there."""
    exclusive = _of_every_gpu(_is_exclusive)
    return place < len(exclusive) and exclusive[place]


def torch_has_cuda() -> bool:
    """By the version of the installed package: a CPU build ends in "+cpu"."""
    there = installed_now("torch")
    return there is not None and not there.endswith("+cpu")


def visible_cards(visible: str, uuids: list[str]) -> list[int]:
    """Places of the GPUs that CUDA_VISIBLE_DEVICES names, in its order.

    Entries are indices or beginnings of UUIDs, all of one kind. The first that fits no GPU ends the list, and one GPU named twice leaves
    none: as ``torch.cuda._parse_visible_devices`` and the CUDA C++ Programming Guide ("CUDA Environment Variables") have it.
    """
    entries = [entry.strip() for entry in visible.split(",")]
    places: list[int] = []
    for entry in entries:
        if entry.isdecimal() != entries[0].isdecimal():
            break
        if entry.isdecimal():
            fitting = [int(entry)] if int(entry) < len(uuids) else []
        else:
            fitting = [place for place, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if len(fitting) != 1:
            break
        places += fitting
    return places if len(set(places)) == len(places) else []


def nvml_errors(library: Any) -> tuple[type[Exception], ...]:
    """What is raised when the driver does not answer a question. A driver older than the package is an error of another family."""
    return (library.NVMLError, getattr(library, "NVMLLibraryMismatchError", library.NVMLError))


def _of_every_gpu(ask: Callable[[Any], Answer]) -> list[Answer]:
    """The driver's answer for each GPU that torch would see, in torch's order."""
    if not torch_has_cuda():
        return []
    try:
        _open(pynvml)
        return [ask(handle) for handle in _handles(os.environ.get("CUDA_VISIBLE_DEVICES"))]
    except nvml_errors(pynvml):
        _open.cache_clear()  # the driver may have been replaced
        return []


@functools.cache
def _open(library: Any) -> None:
    """Opens the driver's library, once for the process: pages ask it every few seconds."""
    library.nvmlInit()


def _handles(visible: str | None) -> list[Any]:
    """Of the GPUs that CUDA enumerates. A slice of a GPU (MIG) is the only one: NVIDIA MIG User Guide, "CUDA Device Enumeration"."""
    if visible is not None and visible.strip().startswith("MIG-"):
        return [pynvml.nvmlDeviceGetHandleByUUID(visible.partition(",")[0].strip())]
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    if visible is not None:
        handles = [handles[i] for i in visible_cards(visible, [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])]
    sliced = [_first_slice(handle) for handle in handles if _is_sliced(handle)]
    whole = [handle for handle in handles if not _is_sliced(handle)]
    return [first for first in sliced if first is not None][:1] or whole


def _is_sliced(handle: Any) -> bool:
    """Whether a GPU is split into slices (MIG) and so cannot be used as a whole."""
    try:
        present, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except nvml_errors(pynvml):  # a GPU that cannot be
        return False
    return bool(present == pynvml.NVML_DEVICE_MIG_ENABLE)


def _first_slice(handle: Any) -> Any:
    """The first slice of a GPU that is split into slices; None if it has no slice."""
    for place in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except nvml_errors(pynvml):
            continue
    return None


def _is_exclusive(handle: Any) -> bool:
    try:
        return bool(pynvml.nvmlDeviceGetComputeMode(handle) == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
    except nvml_errors(pynvml):
        return False


def _memory(handle: Any) -> tuple[int, int] | None:
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml_errors(pynvml):
        return None
    return int(memory.free), int(memory.total)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
