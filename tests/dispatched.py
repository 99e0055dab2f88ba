"""Counts what torch dispatches below autograd: kernels that a GPU would launch, and operations that the host waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tabtune_core.lora import fused_linear

LAUNCHES_NOTHING = {
    *("_record_function_enter_new", "_record_function_exit", "_reshape_alias", "_unsafe_view", "alias", "as_strided"),
    *("detach", "diagonal", "empty", "empty_like", "empty_strided", "expand", "lift_fresh", "new_empty"),
    *("new_empty_strided", "permute", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose"),
    *("unbind", "unfold", "unsqueeze", "view"),
}
"""Views, uninitialised memory and the profiler's own entries, which launch no kernel."""
WAITS = {"_local_scalar_dense", "_unique2", "equal", "is_nonzero", "item", "masked_select", "nonzero", "unique_dim"}
"""Operations whose result the host waits for. Indexing by a mask waits too, since it calls ``nonzero``."""


class Dispatched(TorchDispatchMode):
    """Records the names of the operations dispatched in a block."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[str] = []
        self.waits: list[str] = []
        self.from_host = 0
        """The number of tensors made from host values, for which a GPU waits too."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Records the operation and runs it."""
        name = function.overloadpacket.__name__
        if name not in LAUNCHES_NOTHING:
            self.kernels.append(name)
        masks = name.startswith("index") and any(
            one is not None and one.dtype in (torch.bool, torch.uint8) for one in _indices(args)
        )
        if name in WAITS or masks:
            self.waits.append(name)
        self.from_host += name == "lift_fresh"
        return function(*args, **(kwargs or {}))


def _indices(args: Any) -> list[Any]:
    return args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Makes a CPU take the GPU's code paths in a block, including the encoding of classes without reading them."""

    def one_hot(ids: torch.Tensor, classes: int) -> torch.Tensor:
        return torch.zeros(*ids.shape, classes, dtype=torch.int64).scatter_(-1, ids[..., None], 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_linear, "on_gpu", lambda x: True)
        patch.setattr(torch.nn.functional, "one_hot", one_hot)
        yield
