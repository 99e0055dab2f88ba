"""What torch dispatches below autograd: kernels that a GPU would be given, and questions whose answer the host waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tabtune_core.lora import fused_linear

LAUNCHES_NOTHING = {
    "_record_function_enter_new",
    "_record_function_exit",
    "_reshape_alias",
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "diagonal",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unfold",
    "unsqueeze",
    "view",
}
"""Views, memory without content and notes for the profiler: they are no kernels."""
WAITS = {"_local_scalar_dense", "_unique2", "equal", "is_nonzero", "item", "masked_select", "nonzero", "unique_dim"}
"""The host waits for what they say. Indexing by a mask does too, by ``nonzero`` inside."""


class Dispatched(TorchDispatchMode):
    """Names of what is dispatched while the context lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.waits: list[str] = []
        self.from_host = 0
        """Tensors made of numbers of the host, which a GPU waits for too."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Notes the name and goes on."""
        name = function.overloadpacket.__name__
        if name not in LAUNCHES_NOTHING:
            self.kernels.append(name)
        masks = name.startswith("index") and any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in _indices(args))
        if name in WAITS or masks:
            self.waits.append(name)
        self.from_host += name == "lift_fresh"
        return function(*args, **(kwargs or {}))


def _indices(args: Any) -> list[Any]:
    return args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """On a CPU, while the context lasts, what is written for a GPU runs, and classes are encoded as there: without a look at them."""

    def one_hot(ids: torch.Tensor, classes: int) -> torch.Tensor:
        return torch.zeros(*ids.shape, classes, dtype=torch.int64).scatter_(-1, ids[..., None], 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_linear, "on_gpu", lambda x: True)
        patch.setattr(torch.nn.functional, "one_hot", one_hot)
        yield
