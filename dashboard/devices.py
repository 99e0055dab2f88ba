"""Which NVIDIA cards a run could take, asked of the driver and not of torch, which would take seconds and hundreds of megabytes.

The answer follows what torch does in the run's process: none for a build without CUDA, and CUDA_VISIBLE_DEVICES hides and orders
cards. The worker sets CUDA_DEVICE_ORDER=PCI_BUS_ID, so that torch counts the cards as the driver does.
"""

import os
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

import psutil
import pynvml

Told = TypeVar("Told")


def card_names() -> list[str]:
    """Names of the cards by the number that torch gives them; empty where there is no driver, no card or no CUDA in torch."""
    return _of_every_card(lambda handle: _text(pynvml.nvmlDeviceGetName(handle)))


def card_memory() -> list[tuple[int, int] | None]:
    """Free and total bytes of the same cards; None where the driver does not tell."""
    return _of_every_card(_memory)


def machine_memory() -> tuple[int, int]:
    """Bytes of the machine's memory that are available, and all of it."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def device_names(cards: list[str]) -> dict[str, str]:
    """What a person reads for each value of the setting ``device``.

    Nothing in it changes while a page is open: Streamlit knows a chosen option by its words, and takes words it has not for a new option.
    """
    titles = {f"cuda:{i}": f"cuda:{i} ({card})" for i, card in enumerate(cards)}
    automatic = f"auto: {titles['cuda:0']}" if cards else "auto: cpu; no NVIDIA card found"
    return {"auto": automatic, "cpu": "cpu", **titles}


def free_memory(machine: tuple[int, int], memory: list[tuple[int, int] | None]) -> str:
    """Free and total bytes, of the machine and of each card, in words; a card whose driver does not tell is N/A.

    >>> free_memory((8 * 10**9, 16 * 10**9), [(71_200_000_000, 79_600_000_000), None])
    'Free now: cpu 8.0 of 16.0 GB, cuda:0 71.2 of 79.6 GB, cuda:1 N/A.'
    """
    of_cards = [f"cuda:{i} {_gigabytes(*one) if one else 'N/A'}" for i, one in enumerate(memory)]
    return f"Free now: {', '.join([f'cpu {_gigabytes(*machine)}', *of_cards])}."


def _gigabytes(free_bytes: int, total_bytes: int) -> str:
    return f"{free_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB"


def _memory(handle: object) -> tuple[int, int] | None:
    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError:
        return None
    return int(memory.free), int(memory.total)


def _of_every_card(ask: Callable[[object], Told]) -> list[Told]:
    """The driver's answer for each card that torch would see, in torch's order."""
    if not torch_has_cuda():
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            handles = [handles[i] for i in visible_cards(visible, [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])]
        return [ask(handle) for handle in handles]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def torch_has_cuda() -> bool:
    """By the version of the installed package: a CPU build ends in "+cpu"."""
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def visible_cards(visible: str, uuids: list[str]) -> list[int]:
    """Places of the cards that CUDA_VISIBLE_DEVICES names, in its order.

    Entries are indices or beginnings of UUIDs, all of one kind. The first that fits no card ends the list, and one card named twice leaves
    none: as ``torch.cuda._parse_visible_devices`` and the CUDA C++ Programming Guide ("CUDA Environment Variables") have it.
    """
    entries = [entry.strip() for entry in visible.split(",")]
    found: list[int] = []
    for entry in entries:
        if entry.isdecimal() != entries[0].isdecimal():
            break
        if entry.isdecimal():
            fitting = [int(entry)] if int(entry) < len(uuids) else []
        else:
            fitting = [place for place, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
        if len(fitting) != 1:
            break
        found += fitting
    return found if len(set(found)) == len(found) else []


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
