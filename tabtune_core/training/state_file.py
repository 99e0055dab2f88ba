"""Saves tensors and facts of a training in one file of ``torch.save``, whole or absent even after a power failure.

In: tensors by name, and JSON facts. Out: the same, or what is wrong with the file. torch writes tensor by tensor: a
copy of all tensors would count as memory of the training. Reading runs no code.
"""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tabtune_core.files.damaged import ODD, Damaged
from tabtune_core.files.whole import lasting


def write_state(file: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Writes a temporary file, waits for the disk, and moves it to its place.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; an earlier file is unchanged.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
    with lasting(file) as opened:
        try:
            torch.save({"facts": json.dumps(facts), "tensors": plain}, opened)
        except RuntimeError as error:  # torch still ends its zip, which hides why writing failed
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def read_state(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Reads tensors, on the CPU, and facts; raises Damaged, which says what is wrong."""
    try:
        with zipfile.ZipFile(file) as archive:
            torn = archive.testzip()  # compares checksums, which torch only writes
        content = torch.load(file, map_location="cpu", weights_only=True)
        tensors, facts = content["tensors"], json.loads(content["facts"])
    except (pickle.UnpicklingError, *ODD) as error:
        raise Damaged(f"{file.name} cannot be read ({error})") from error
    if torn is not None:
        raise Damaged(f"{file.name} is damaged: its content is not what was written")
    return tensors, facts
