"""Weights from an untrusted file, checked against the architecture that the same file describes before it is built.

In: a checkpoint's tensors and a way to build its module. Out: the module with these weights, no larger than the file.
"""

import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import nn

from tabtune_core.errors import CheckpointError
from tabtune_core.files.archives import LARGEST_FILE_BYTES
from tabtune_core.files.damaged import Damaged, check_file, refused_as
from tabtune_core.files.plain_values import check_values, read_json
from tabtune_core.files.tensors import check_finite, read_header

Module = TypeVar("Module", bound=nn.Module)
MOST_BLOCKS = 1_000
"""Layers, one after the other; each takes its time to build. The released models have 12 to 24."""
WAY_OUT = " Name another checkpoint, or download this one again."
BUFFER_BYTES = 64_000_000
"""Tensors that a module keeps but does not save."""


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file and the texts beside them.

    Raises:
        Damaged: it is not such a file, or holds numbers that are not finite.
    """
    check_file(path, most_bytes=LARGEST_FILE_BYTES)
    with path.open("rb") as stream:
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    header, beside = read_header(content)
    check_finite(content, header)
    return safetensors.torch.load_file(path), beside


def check_config(config: Mapping[str, Any]) -> None:
    """Refuses an architecture that would take too long to build.

    Raises:
        Damaged: naming the entry.
    """
    check_values(dict(config))
    for name, value in config.items():
        if isinstance(value, int) and any(word in name for word in ("block", "layers")) and value > MOST_BLOCKS:
            raise Damaged(f"its {name} is {value:,}, but models have at most {MOST_BLOCKS:,}")


def build(path: Path, make: Callable[[], Module], tensors: Mapping[str, torch.Tensor], package: str) -> Module:
    """The module with these weights. It is first built without memory, so that its size is known.

    Args:
        path: of the file, for the error.
        make: builds the module, without weights.
        tensors: of its state.
        package: upstream's, for the error.

    Raises:
        CheckpointError: the weights are not those of such a module.
    """
    with refused_as(CheckpointError, f"{path} does not fit the installed {package} package", WAY_OUT):
        with torch.device("meta"):
            plan = make()
        wanted, stored = ({name: tuple(value.shape) for name, value in state.items()} for state in (plan.state_dict(), tensors))
        odd = [name for name in sorted({**wanted, **stored}) if wanted.get(name) != stored.get(name)]
        if odd:
            in_file, in_model = (shapes.get(odd[0], "no such tensor") for shapes in (stored, wanted))
            raise Damaged(f"of the tensor {odd[0]!r} the file has {in_file}, and the model that it describes {in_model}")
        if sum(buffer.numel() * buffer.element_size() for buffer in plan.buffers()) > BUFFER_BYTES:
            raise Damaged("the model that it describes needs far more memory than its weights")
        module = make()
        module.load_state_dict(tensors)
        return module


def read_config(path: Path) -> dict[str, Any]:
    """A small JSON file beside the weights.

    Raises:
        Damaged: it is not such a file.
    """
    check_file(path, most_bytes=1_000_000)
    config = read_json(path.read_bytes())
    if not isinstance(config, dict):
        raise Damaged(f"it holds {type(config).__name__} instead of entries by name")
    return config
