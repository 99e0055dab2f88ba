"""Loads weights from an untrusted file, after checking them against the architecture that the same file describes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from torch import Tensor, nn

from tabtune_core.errors import CheckpointError
from tabtune_core.files.archives import LARGEST_FILE_BYTES
from tabtune_core.files.damaged import Damaged, check_file, refused_as
from tabtune_core.files.plain_values import check_values
from tabtune_core.files.torch_files import check_tensor, read_torch_file
from tabtune_core.metrics import Task

Module = TypeVar("Module", bound=nn.Module)
MOST_BLOCKS = 1_000
"""Most consecutive layers, as each takes time to build. The released models have 12 to 24."""
WAY_OUT = " Name another checkpoint, or download this one again."
BUFFER_BYTES = 64_000_000
"""Largest size of a module's buffers, some of which are not saved with it."""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the tensors and the metadata of a safetensors file; raises Damaged or SafetensorError if it is none."""
    check_file(path, most_bytes=LARGEST_FILE_BYTES)
    with safetensors.safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        beside = file.metadata() or {}
    for tensor in tensors.values():
        check_tensor(tensor)
    return tensors, beside


def read_entries(path: Path) -> dict[str, Any]:
    """Reads ``config`` and ``state_dict`` of a file of ``torch.save`` without running code, or raises Damaged."""
    content: dict[str, Any] = read_torch_file(path)
    parts = [content.get(name) for name in ("config", "state_dict")] if isinstance(content, dict) else [None]
    if not all(isinstance(part, dict) for part in parts):
        raise Damaged("it needs the entries 'config' and 'state_dict'")
    if not all(isinstance(value, Tensor) for value in content["state_dict"].values()):
        raise Damaged("its 'state_dict' holds something other than tensors")
    return content


def check_config(config: Mapping[str, Any]) -> None:
    """Raises Damaged for an architecture that would take too long to build, naming the entry of ``config``."""
    check_values(dict(config))
    for name, value in config.items():
        if isinstance(value, int) and any(word in name for word in ("block", "layers")) and value > MOST_BLOCKS:
            raise Damaged(f"its {name} is {value:,}, but models have at most {MOST_BLOCKS:,}")


def check_task(path: Path, stored: str, task: Task) -> None:
    """Raises CheckpointError for weights that are ``stored`` for another task."""
    if stored != task:
        other = f"{path} holds a model for {stored}, and the task is {task}"
        raise CheckpointError(f"{other}. Name a checkpoint for {task}.")


def build(path: Path, make: Callable[[], Module], tensors: Mapping[str, Tensor], package: str) -> Module:
    """Builds a module with these weights, on the meta device first; raises CheckpointError if they do not fit."""
    with refused_as(CheckpointError, f"{path} does not fit the installed {package} package", WAY_OUT):
        with torch.device("meta"):
            plan = make()
        states = plan.state_dict(), tensors
        wanted, stored = ({name: tuple(value.shape) for name, value in state.items()} for state in states)
        odd = [name for name in sorted({**wanted, **stored}) if wanted.get(name) != stored.get(name)]
        if odd:
            in_file, in_model = (shapes.get(odd[0], "missing") for shapes in (stored, wanted))
            where = f"{in_file} in the file and {in_model} in the model that it describes"
            raise Damaged(f"the tensor {odd[0]!r} is {where}")
        if sum(buffer.numel() * buffer.element_size() for buffer in plan.buffers()) > BUFFER_BYTES:
            raise Damaged("the model that it describes needs far more memory than its weights")
        module = make()
        module.load_state_dict(tensors)
        return module
