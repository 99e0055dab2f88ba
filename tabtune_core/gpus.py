"""Which NVIDIA GPUs a run could take, according to the driver: asking torch takes seconds and hundreds of megabytes.

The answers follow what torch does in the run's process: a build without CUDA sees no GPU, and CUDA_VISIBLE_DEVICES
hides and orders GPUs. The worker sets CUDA_DEVICE_ORDER=PCI_BUS_ID, so that torch numbers the GPUs as the driver does.
"""

import functools
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

from tabtune_core.errors import DeviceError
from tabtune_core.upstream import installed_now
from tabtune_core.wording import counted

Answer = TypeVar("Answer")
TYPES = {"cuda"}
"""Torch's device types of NVIDIA GPUs."""
OTHERWISE = "Choose 'cpu', or 'auto' for an available device."
_NAMED = re.compile(r"cuda(?::(\d{1,3}))?")


def driver() -> tuple[str, str] | None:
    """Returns the versions of the driver and of the newest CUDA that it supports; None if it does not answer."""

    def versions() -> tuple[str, str]:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        return _text(pynvml.nvmlSystemGetDriverVersion()), f"{cuda // 1000}.{cuda % 1000 // 10}"

    return _asked(versions, None)


def count_cards() -> int:
    """Counts the GPUs that a run could name: cuda:0, cuda:1, ..."""
    return len(_of_every_gpu(lambda handle: True))


def check_device(name: str) -> None:
    """Refuses a device that a run cannot have, as the run itself would, without loading torch.

    Raises:
        DeviceError: the name is unknown, or the GPU is missing. If the driver is silent, only the run can tell.
    """
    if name in ("auto", "cpu"):
        return
    if (named := named_gpu(name)) is None:
        raise unknown_device(name)
    gpus = count_cards()
    if named >= gpus and not is_untold(name):
        usable = "" if torch_has_cuda() else " that torch can use (this build of torch has no CUDA)"
        reason = f"this machine has {counted(gpus, 'CUDA GPU')}{usable}"
        raise DeviceError(f"The device {name!r} was requested, but {reason}. {OTHERWISE}")


def unknown_device(name: str) -> DeviceError:
    """Makes the error for a name of no device that runs can have, such as a GPU of another maker."""
    return DeviceError(f"There is no device {name!r}: runs use NVIDIA GPUs or the CPU. Use 'auto', 'cpu' or 'cuda:0'.")


def named_gpu(name: str) -> int | None:
    """Returns the number of the GPU that a setting names; None for other names.

    >>> named_gpu("cuda:1"), named_gpu("cuda"), named_gpu("auto")
    (1, 0, None)
    """
    named = _NAMED.fullmatch(name)
    return int(named[1] or 0) if named else None


def is_untold(name: str) -> bool:
    """Whether a GPU is named and the driver is silent about it, so that only the run can tell."""
    return named_gpu(name) is not None and torch_has_cuda() and not _asked(lambda: True, False)


def card_names() -> list[str]:
    """Returns the names of the GPUs in torch's order; empty without a driver, a GPU or CUDA in torch."""
    return _of_every_gpu(lambda handle: _text(pynvml.nvmlDeviceGetName(handle)))


def card_memory() -> list[tuple[int, int] | None]:
    """Returns free and total bytes of the GPUs in torch's order; None where the driver does not report them."""

    def memory(handle: Any) -> tuple[int, int] | None:
        memory = answer_of(pynvml.nvmlDeviceGetMemoryInfo, handle)
        return None if memory is None else (int(memory.free), int(memory.total))

    return _of_every_gpu(memory)


def card_uuids() -> list[str]:
    """Returns the UUIDs of the GPUs in torch's order, which CUDA_VISIBLE_DEVICES accepts whatever the numbering."""
    return _of_every_gpu(lambda handle: _text(pynvml.nvmlDeviceGetUUID(handle)))


def freest_card() -> int:
    """Returns the number of the GPU with most free memory; 0 if unknown or torch may number the GPUs differently."""
    free = [memory[0] if memory else -1 for memory in card_memory()]
    same_numbers = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    return free.index(max(free)) if free and same_numbers else 0


def torch_has_cuda() -> bool:
    """Whether the installed torch has CUDA, by its version: that of a CPU build ends in "+cpu"."""
    version = installed_now("torch")
    return version is not None and not version.endswith("+cpu")


def visible_cards(visible: str, uuids: list[str]) -> list[int]:
    """Returns the indices of the GPUs that CUDA_VISIBLE_DEVICES names, in its order.

    Entries are indices or beginnings of UUIDs. The first entry that fits no GPU ends the list; a GPU named twice makes
    it empty. Source: ``torch.cuda._parse_visible_devices``.
    """
    places: list[int] = []
    for entry in map(str.strip, visible.split(",")):
        start = entry if entry.startswith("GPU-") else None
        named = [i for i, uuid in enumerate(uuids) if entry == str(i) or (start and uuid.startswith(start))]
        if len(named) != 1:
            break
        places += named
    return places if len(set(places)) == len(places) else []


def nvml_errors(library: Any) -> tuple[type[Exception], ...]:
    """Returns the errors raised when the driver does not answer; an older driver raises one of another family."""
    return (library.NVMLError, getattr(library, "NVMLLibraryMismatchError", library.NVMLError))


def answer_of(ask: Callable[..., Any], *arguments: Any, library: Any = None) -> Any:
    """Returns the answer of the driver's open library; None if it does not answer this."""
    try:
        return ask(*arguments)
    except nvml_errors(library or pynvml):
        return None


def _of_every_gpu(ask: Callable[[Any], Answer]) -> list[Answer]:
    """Returns the driver's answer for each GPU that torch would see, in its order; empty if the driver is silent."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return _asked(lambda: [ask(handle) for handle in _handles(visible)], []) if torch_has_cuda() else []


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
    """Returns handles of the GPUs that CUDA enumerates; one that is lost or forbidden has none, and CUDA skips it."""
    if visible is not None and visible.strip().startswith("MIG-"):  # CUDA takes only the first slice
        return [pynvml.nvmlDeviceGetHandleByUUID(visible.partition(",")[0].strip())]
    every = (answer_of(pynvml.nvmlDeviceGetHandleByIndex, place) for place in range(pynvml.nvmlDeviceGetCount()))
    handles = [handle for handle in every if handle is not None]
    if visible is None:
        return handles
    return [handles[i] for i in visible_cards(visible, [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
