"""Which NVIDIA GPUs a run could take, according to the driver: asking torch would take seconds and hundreds of
megabytes.

The answers follow what torch does in the run's process: a build without CUDA sees no GPU, and CUDA_VISIBLE_DEVICES
hides and orders GPUs. The worker sets CUDA_DEVICE_ORDER=PCI_BUS_ID, so that torch numbers the GPUs as the driver does.
If the driver does not answer (NVML), as in a container without the driver capability 'utility', a child process asks
torch for their number, once.
"""

import functools
import os
import re
import subprocess
import sys
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
"""Torch's device types of NVIDIA (and AMD) GPUs."""
TORCH_SECONDS = 60.0
"""How long torch may take to count the GPUs."""
_NAMED = re.compile(r"(cuda|mps|xpu)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Driver:
    """Facts about the NVIDIA driver."""

    version: str
    cuda: str
    """The newest CUDA version that it supports, such as ``12.8``."""
    gpus: int
    """Number of all GPUs, also those that runs may not take."""


def driver() -> Driver | None:
    """Returns the driver's facts; None if it is missing or does not answer."""

    def facts() -> Driver | None:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return Driver(
            _text(pynvml.nvmlSystemGetDriverVersion()),
            f"{cuda // 1000}.{cuda % 1000 // 10}",
            pynvml.nvmlDeviceGetCount(),
        )

    return _asked(facts, None)


def count_cards() -> int:
    """Counts the GPUs that a run could name: cuda:0, cuda:1, ..."""
    return len(_of_every_gpu(lambda handle: True, True))


def check_device(name: str) -> None:
    """Refuses a device that a run cannot have, as the run itself would, without loading torch.

    Raises:
        DeviceError: the name is unknown, or the GPU is missing. If the driver does not report its GPUs, only the run
        can tell.
    """
    if name in ("auto", "cpu"):
        return
    named = named_gpu(name)
    if named is None:
        raise DeviceError(f"The device {name!r} is unknown; use 'auto', 'cpu', 'cuda', 'cuda:0', 'mps' or 'xpu'.")
    gpus = count_cards()
    if named[1] >= gpus and not is_untold(name):
        reason = f"this machine has {counted(gpus, 'CUDA GPU')}" + (
            "" if torch_has_cuda() else " that torch can use (this build of torch has no CUDA)"
        )
        raise DeviceError(
            f"The device {name!r} was requested, but {reason}. Choose 'cpu', or 'auto' for an available device."
        )


def named_gpu(name: str) -> tuple[str, int] | None:
    """Returns kind and number of the GPU that a setting names; None for other names.

    >>> named_gpu("cuda:1"), named_gpu("mps"), named_gpu("auto")
    (('cuda', 1), ('mps', 0), None)
    """
    named = _NAMED.fullmatch(name)
    return (named[1], int(named[2] or 0)) if named else None


def is_untold(name: str) -> bool:
    """Whether NVIDIA's driver cannot tell of the named GPU: it is Apple's, Intel's or AMD's (torch for ROCm), or the
    driver is silent.
    """
    named = named_gpu(name)
    return named is not None and (
        named[0] != "cuda" or "+rocm" in (installed_now("torch") or "") or not _driver_tells()
    )


def _driver_tells() -> bool:
    """Whether the count of GPUs is reliable: torch has no CUDA, there is no CUDA driver, or the driver answers."""
    return not torch_has_cuda() or _library() is None or _asked(lambda: True, False)


@functools.cache
def _library() -> str | None:
    """Returns the file name of the CUDA driver's library; the search starts programs, which takes a tenth of a second."""
    return find_library("cuda")


def card_names() -> list[str]:
    """Returns the names of the GPUs in torch's order ('GPU' if only torch sees them); empty without a driver, a GPU or
    CUDA in torch.
    """
    return _of_every_gpu(lambda handle: _text(pynvml.nvmlDeviceGetName(handle)), "GPU")


def card_memory() -> list[tuple[int, int] | None]:
    """Returns free and total bytes of the GPUs in torch's order; None for a GPU whose memory the driver does not
    report.
    """
    return _of_every_gpu(_memory, None)


def card_uuids() -> list[str]:
    """Returns the UUIDs of the GPUs in torch's order, which CUDA_VISIBLE_DEVICES accepts whatever the numbering; empty
    if unknown.
    """
    return _of_every_gpu(lambda handle: _text(pynvml.nvmlDeviceGetUUID(handle)))


def freest_card() -> int:
    """Returns the number of the GPU with the most free memory; 0 if that is unknown or torch may number the GPUs
    differently.
    """
    free = [memory[0] if memory else -1 for memory in card_memory()]
    counts_alike = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return free.index(max(free)) if free and counts_alike else 0


def takes_one_process(place: int) -> bool:
    """Whether a GPU is in exclusive-process mode: while a run holds it, no second process can compute there."""
    modes = _of_every_gpu(lambda handle: told(pynvml.nvmlDeviceGetComputeMode, handle))
    return place < len(modes) and bool(modes[place] == pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)


def torch_has_cuda() -> bool:
    """Whether the installed torch has CUDA, by its version: that of a CPU build ends in "+cpu"."""
    there = installed_now("torch")
    return there is not None and not there.endswith("+cpu")


def visible_cards(visible: str, uuids: list[str]) -> list[int]:
    """Returns the indices of the GPUs that CUDA_VISIBLE_DEVICES names, in its order.

    Entries are indices or beginnings of UUIDs, all of one kind. The first entry that fits no GPU ends the list; a GPU
    named twice makes it empty. Sources: ``torch.cuda._parse_visible_devices`` and the CUDA C++ Programming Guide ("CUDA
    Environment Variables").
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
    """Returns the errors raised when the driver does not answer.

    A driver older than the package raises an error of another family.
    """
    return (library.NVMLError, getattr(library, "NVMLLibraryMismatchError", library.NVMLError))


def _of_every_gpu(ask: Callable[[Any], Answer], *untold: Answer) -> list[Answer]:
    """Returns the driver's answer for each GPU that torch would see, in torch's order; ``untold`` for each if the
    driver is silent.
    """
    if not torch_has_cuda():
        return []
    answers: list[Answer] | None = _asked(
        lambda: [ask(handle) for handle in _handles(os.environ.get("CUDA_VISIBLE_DEVICES"))], None
    )
    if answers is None:
        return [*untold] * _counted_by_torch() if untold and _library() else []
    return answers


@functools.cache
def _counted_by_torch() -> int:
    """Counts the GPUs that 'auto' may take; 0 if torch fails, whose error goes to this process's log."""
    command = [sys.executable, "-c", "from tabtune_core.devices import count_proven; print(count_proven())"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=TORCH_SECONDS, check=True
        )
    except subprocess.SubprocessError:
        return 0
    return int(done.stdout.split()[-1])  # a library may print before it


def _asked(ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Returns the driver's answer; ``otherwise`` if it does not answer."""
    try:
        _open(pynvml)
        return ask()
    except nvml_errors(pynvml):
        _open.cache_clear()  # the driver may have been replaced
        return otherwise


@functools.cache
def _open(library: Any) -> None:
    """Opens the driver's library once per process: pages ask it every few seconds."""
    library.nvmlInit()


def _handles(visible: str | None) -> list[Any]:
    """Returns handles of the GPUs that CUDA enumerates: with MIG a single slice (NVIDIA MIG User Guide, "CUDA Device
    Enumeration").

    A GPU that is lost, or that a container may not use, has no handle, and CUDA does not number it.
    """
    if visible is not None and visible.strip().startswith("MIG-"):
        return [pynvml.nvmlDeviceGetHandleByUUID(visible.partition(",")[0].strip())]
    there = (told(pynvml.nvmlDeviceGetHandleByIndex, i) for i in range(pynvml.nvmlDeviceGetCount()))
    handles = [handle for handle in there if handle is not None]
    if visible is not None:
        handles = [
            handles[i] for i in visible_cards(visible, [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])
        ]
    sliced = [_first_slice(handle) for handle in handles if _is_sliced(handle)]
    whole = [handle for handle in handles if not _is_sliced(handle)]
    return [first for first in sliced if first is not None][:1] or whole


def told(ask: Callable[..., Any], *arguments: Any, library: Any = None) -> Any:
    """Returns the answer of the driver's open library; None if it does not answer this, such as a GPU without MIG asked
    for its slices.
    """
    try:
        return ask(*arguments)
    except nvml_errors(library or pynvml):
        return None


def _is_sliced(handle: Any) -> bool:
    """Whether a GPU is split into slices (MIG) and so cannot be used as a whole."""
    present, _ = told(pynvml.nvmlDeviceGetMigMode, handle) or (None, None)
    return bool(present == pynvml.NVML_DEVICE_MIG_ENABLE)


def _first_slice(handle: Any) -> Any:
    """Returns the first slice of a GPU in MIG mode; None if it has no slice."""
    places = range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    slices = (told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in places)
    return next((found for found in slices if found is not None), None)


def _memory(handle: Any) -> tuple[int, int] | None:
    memory = told(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return None if memory is None else (int(memory.free), int(memory.total))


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
