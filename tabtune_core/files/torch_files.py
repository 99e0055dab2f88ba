"""Reads files of ``torch.save`` with ``weights_only``: no code in them is run, and they cannot take much more memory
than their size.

In: a file. Out: plain values and plain tensors, with finite numbers only.
"""

import pickle
from pathlib import Path
from typing import Any

import torch

from tabtune_core.files.archives import check_stored
from tabtune_core.files.damaged import ODD, Damaged, one_line

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
KNOWN = (*FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
MOST_PARTS = 200_000
"""Most values and tensors of one file."""
TIMES_THE_FILE = 4
"""Largest size of all tensors as a multiple of the file, which they can exceed because tied tensors share their bytes.
"""


def read_torch_file(path: Path) -> Any:
    """Reads a file of ``torch.save``.

    Raises:
        Damaged: it is not such a file, or contains code, tensors that are not plain, or numbers that are not finite.
    """
    check_stored(path)
    try:
        with path.open("rb") as file:  # by its path, torch takes a file named .safetensors for one of that format
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, ImportError, *ODD) as error:
        raise Damaged(f"it cannot be opened safely: {one_line(error)}") from error
    except MemoryError as error:
        raise Damaged("it needs more memory than there is") from error
    _check_parts(content, TIMES_THE_FILE * path.stat().st_size)
    return content


def _check_parts(content: Any, room: int) -> None:
    """Checks all values with a list instead of recursion.

    Repeated values count each time: a file may repeat a list or tensor endlessly.
    """
    looked, waiting = 0, [content]
    while waiting:
        part = waiting.pop()
        looked += 1
        if looked > MOST_PARTS:
            raise Damaged(f"it holds more than {MOST_PARTS:,} values")
        if isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, torch.Tensor):
            check_tensor(part)
            room -= part.numel() * part.element_size()
            if room < 0:
                raise Damaged(
                    f"its tensors take more than {TIMES_THE_FILE} times as much as the file, because they share the "
                    "same bytes"
                )
        elif not isinstance(part, str | int | float | bool | None):
            raise Damaged(f"it holds a value of the type {type(part).__name__}")
        elif isinstance(part, str) and not part.isascii():
            part.encode()  # a lone surrogate cannot be encoded


def check_tensor(tensor: torch.Tensor) -> None:
    """Checks that a tensor is plain and finite.

    Raises:
        Damaged: it is not; the text says why.
    """
    plain = (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and tensor.dtype in KNOWN
    )
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise Damaged(f"a tensor in it is not plain: its type is {tensor.dtype}, its shape {tuple(tensor.shape)}")
    if (
        tensor.dtype in FLOATS and tensor.numel() and not all(extreme.isfinite() for extreme in torch.aminmax(tensor))
    ):  # NaN is both
        raise Damaged("a tensor in it holds NaN or Infinity and cannot be used")
