"""Checks tensors in the safetensors format without torch: shapes, number types, and whether all numbers are finite.

In: the bytes. Out: the checked tensors. The format, and the package that reads it:
https://huggingface.co/docs/safetensors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors

from tabtune_core.files.damaged import Damaged

FLOATS: dict[str, np.unsignedinteger[Any]] = {
    "F64": np.uint64(0x7FF << 52),
    "F32": np.uint32(0xFF << 23),
    "F16": np.uint16(0x1F << 10),
    "BF16": np.uint16(0xFF << 7),
}
"""Exponent bits of each type, which are all set in NaN and Infinity."""
TYPES = (*FLOATS, "I64", "I32", "I16", "I8", "U8", "BOOL")
CHUNK = 1 << 20
MOST_NUMBERS = 2**60
"""Limit for the product of the sides that are not 0: torch computes it in 64 bits even for an empty tensor."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in the file."""

    dtype: str
    """Name of the type in the format, for example F32."""
    shape: tuple[int, ...]
    content: bytearray = field(repr=False)

    @property
    def numbers(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read_tensors(content: bytes) -> dict[str, Stored]:
    """Returns the tensors by name; raises Damaged if they are none, or of another type than TYPES."""
    try:
        tensors = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise Damaged(f"its tensors (safetensors) are damaged ({error})") from error
    for name, tensor in tensors:
        if tensor["dtype"] not in TYPES:
            raise Damaged(f"its tensor {name[:60]!r} has the type {tensor['dtype']!r}, which is not known")
        if math.prod(side or 1 for side in tensor["shape"]) >= MOST_NUMBERS:
            raise Damaged(f"the shape of its tensor {name[:60]!r} does not fit its bytes")
    return {name: Stored(tensor["dtype"], tuple(tensor["shape"]), tensor["data"]) for name, tensor in tensors}


def check_finite(tensors: Mapping[str, Stored]) -> None:
    """Raises Damaged if a floating-point tensor contains NaN or Infinity; the text names it."""
    for name, stored in tensors.items():
        if (bits := FLOATS.get(stored.dtype)) is None:
            continue
        numbers = np.frombuffer(stored.content, bits.dtype)
        for first in range(0, len(numbers), CHUNK):
            if ((numbers[first : first + CHUNK] & bits) == bits).any():
                raise Damaged(f"its tensor {name[:120]!r} holds NaN or Infinity and cannot be used")
