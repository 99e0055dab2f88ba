"""Checks tensors in the safetensors format without torch: names, shapes, number types, and whether all numbers are finite.

In: the bytes. Out: the checked header. The format: https://huggingface.co/docs/safetensors.
"""

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.plain_values import read_json

FLOATS: dict[str, np.unsignedinteger[Any]] = {
    "F64": np.uint64(0x7FF << 52),
    "F32": np.uint32(0xFF << 23),
    "F16": np.uint16(0x1F << 10),
    "BF16": np.uint16(0xFF << 7),
}
"""Exponent bits of each type, which are all set in NaN and Infinity."""
WHOLES = {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
Content = bytes | memoryview | mmap.mmap
SIZES = {name: bits.itemsize for name, bits in FLOATS.items()} | WHOLES
HEADER_BYTES = 16_000_000
CHUNK = 1 << 20
MOST_NUMBERS = 2**60
"""Limit for the product of the sides that are not 0: torch computes it in 64 bits even for an empty tensor."""
METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in the file."""

    dtype: str
    """Name of the type in the format, for example F32."""
    shape: tuple[int, ...]
    start: int
    """Position of its first byte in the content."""

    @property
    def numbers(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Size of all elements."""
        return self.numbers * SIZES[self.dtype]


def read_header(content: Content) -> tuple[dict[str, Stored], dict[str, str]]:
    """Returns the tensors by name, and the metadata.

    Raises:
        Damaged: the header is invalid, or does not match the bytes after it.
    """
    if len(content) < 8:
        raise Damaged("it is too short for tensors (safetensors)")
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content) - 8, HEADER_BYTES):
        raise Damaged("its tensors (safetensors) have no header, or it is cut short")
    values = read_json(bytes(content[8 : 8 + length]))
    if not isinstance(values, dict):
        raise Damaged("the header of its tensors is invalid")
    beside = values.pop(METADATA, {})
    if not isinstance(beside, dict) or not all(isinstance(text, str) for text in beside.values()):
        raise Damaged("its metadata is not text")
    tensors = {name: _stored(name, value, 8 + length, len(content)) for name, value in values.items()}
    place = 8 + length
    for stored in sorted(tensors.values(), key=lambda stored: (stored.start, stored.size_bytes)):
        if stored.start != place:
            raise Damaged("its tensors (safetensors) overlap, or do not cover all of its bytes")
        place += stored.size_bytes
    if place != len(content):
        raise Damaged("its tensors (safetensors) are truncated, or there are bytes after its tensors")
    return tensors, beside


def _stored(name: str, value: object, first: int, size: int) -> Stored:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)], **more} if not more:
            if dtype not in SIZES:
                raise Damaged(f"its tensor {name[:60]!r} has the type {dtype[:20]!r}; this version reads {', '.join(SIZES)}")
            whole = len(shape) <= 8 and all(type(side) is int and 0 <= side < 2**40 for side in shape)
            if whole and math.prod(side or 1 for side in shape) < MOST_NUMBERS:
                stored = Stored(dtype, tuple(shape), first + start)
                if start >= 0 and end - start == stored.size_bytes and first + end <= size:
                    return stored
    raise Damaged(f"the shape of its tensor {name[:60]!r} does not fit its bytes")


def check_finite(content: Content, tensors: Mapping[str, Stored]) -> None:
    """Checks that every number of the floating-point tensors is finite.

    Raises:
        Damaged: a tensor contains NaN or Infinity; the text names it.
    """
    for name, stored in tensors.items():
        bits = FLOATS.get(stored.dtype)
        if bits is None:
            continue
        for first in range(0, stored.numbers, CHUNK):
            count = min(CHUNK, stored.numbers - first)
            numbers = np.frombuffer(content, bits.dtype, count, stored.start + first * bits.itemsize)
            if ((numbers & bits) == bits).any():
                raise Damaged(f"its tensor {name[:120]!r} holds NaN or Infinity and cannot be used")
