"""Which NVIDIA cards a run could take, asked of the driver and not of torch, which would take seconds and hundreds of megabytes.

The answer follows what torch does in the run's process: none for a build without CUDA, and CUDA_VISIBLE_DEVICES hides and orders
cards. The worker sets CUDA_DEVICE_ORDER=PCI_BUS_ID, so that torch counts the cards as the driver does.
"""

import os
from importlib.metadata import PackageNotFoundError, version

import pynvml


def card_names() -> list[str]:
    """Names of the cards by the number that torch gives them; empty where there is no driver, no card or no CUDA in torch."""
    if not torch_has_cuda():
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        names = [_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            return names
        return [names[i] for i in visible_cards(visible, [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles])]
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
