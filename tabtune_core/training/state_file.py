"""Saves tensors and facts of a training in one safetensors file, whole or absent even after a power failure.

In: tensors by name, and JSON facts. Out: the same, or what is wrong with the file. It is written tensor by tensor, as
a copy of all tensors would count as memory of the training; reading it runs no code.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

from tabtune_core.files.damaged import Damaged
from tabtune_core.files.whole import lasting

_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.uint8: "U8"}
_NO_DIGEST = "0" * 128
"""A placeholder until the tensors are written."""


def write_state(file: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> int:
    """Writes a temporary file, waits for the disk, and moves it to its place. Returns its size in bytes.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; an earlier file is unchanged.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text, end, held = json.dumps(facts), 0, sorted(tensors.items())
    entries: dict[str, Any] = {"__metadata__": {"digest": _NO_DIGEST, "facts": text}}
    for name, tensor in held:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    digest = hashlib.blake2b(text.encode())
    with lasting(file) as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        for name, tensor in held:
            opened.write(_tell(digest, name, tensor))
        opened.seek(8 + header.index(_NO_DIGEST.encode()))
        opened.write(digest.hexdigest().encode())
    return 8 + len(header) + end


def read_state(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads tensors, on the CPU, and facts; raises Damaged, which says what is wrong."""
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name).clone() for name in sorted(opened.keys())}
    except (OSError, safetensors.SafetensorError) as error:
        raise Damaged(f"{file.name} cannot be read ({error})") from error
    digest = hashlib.blake2b(metadata.get("facts", "").encode())
    for name, tensor in tensors.items():
        _tell(digest, name, tensor)
    if metadata.get("digest") != digest.hexdigest():
        raise Damaged(f"{file.name} is damaged: its content is not what was written")
    facts: dict[str, Any] = json.loads(metadata["facts"])
    return tensors, facts


def _tell(digest: Any, name: str, tensor: torch.Tensor) -> memoryview:
    """Adds a tensor to a digest (BLAKE2b, RFC 7693); returns its bytes."""
    content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
    digest.update(content)
    return content
