"""Reads files of ``torch.save`` with ``weights_only``: no code runs, and memory is bounded by the size of the file.

In: a file. Out: plain values and plain tensors, with finite numbers only.
"""

import io
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from tabtune_core.files.archives import open_zip
from tabtune_core.files.damaged import ODD, Damaged, one_line

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
KNOWN = (*FLOATS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
MOST_PARTS = 200_000
"""Most values and tensors of one file."""
TIMES_THE_FILE = 4
"""Largest size of all tensors as a multiple of the file: tied tensors share their bytes."""
MADE = re.compile(
    r"collections OrderedDict|torch Size|torch [A-Za-z0-9]+Storage|torch\._utils _rebuild_(tensor_v2|parameter)"
)
"""Names that a pickle may import. torch allows more, such as ``bytearray``, which can allocate any number of bytes."""


def read_torch_file(path: Path) -> Any:
    """Reads a file of ``torch.save``; raises Damaged for code, and for tensors that are not plain or not finite."""
    try:
        content = torch.load(_copied(path), map_location="cpu", weights_only=True)
    except Damaged:
        raise
    except (pickle.UnpicklingError, ImportError, *ODD) as error:
        raise Damaged(f"it cannot be opened safely: {one_line(error)}") from error
    except MemoryError as error:
        raise Damaged("it needs more memory than there is") from error
    _check_parts(content, TIMES_THE_FILE * path.stat().st_size)
    return content


def _copied(path: Path) -> io.BytesIO:
    """Copies the members that were checked: in a crafted zip, torch finds others than ``zipfile`` does."""
    made = io.BytesIO()
    with open_zip(path, zipfile.ZIP_STORED) as (archive, size), zipfile.ZipFile(made, "w") as copy:
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise Damaged("its members are larger than the file")
        for entry in archive.infolist():
            member = archive.read(entry)
            if entry.filename.endswith(".pkl"):
                _check_names(member)
            copy.writestr(entry.filename, member)
    made.seek(0)
    return made


def _check_names(content: bytes) -> None:
    try:
        names = [str(argument) for code, argument, _ in pickletools.genops(content) if code.name == "GLOBAL"]
    except ValueError as error:
        raise Damaged("its values (data.pkl) are truncated or missing") from error
    odd = next((name for name in names if not MADE.fullmatch(name)), None)
    if odd is not None:
        raise Damaged(f"it imports {odd[:80]!r}, which a file of values and tensors does not need")


def _check_parts(content: Any, room: int) -> None:
    """Checks all values without recursion; repeated ones count each time, as a file may repeat a list endlessly."""
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
                raise Damaged(f"its tensors share bytes and take more than {TIMES_THE_FILE} times as much as the file")
        elif not isinstance(part, str | int | float | bool | None):
            raise Damaged(f"it holds a value of the type {type(part).__name__}")
        elif isinstance(part, str) and not part.isascii():
            part.encode()  # a lone surrogate cannot be encoded


def check_tensor(tensor: torch.Tensor) -> None:
    """Raises Damaged if a tensor is not plain and finite; the text says why."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and tensor.dtype in KNOWN
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise Damaged(f"a tensor in it is not plain: its type is {tensor.dtype}, its shape {tuple(tensor.shape)}")
    if tensor.dtype in FLOATS and tensor.numel() and not all(one.isfinite() for one in torch.aminmax(tensor)):
        raise Damaged("a tensor in it holds NaN or Infinity and cannot be used")
