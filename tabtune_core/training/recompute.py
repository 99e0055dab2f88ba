"""Gradient checkpointing: blocks keep their inputs alone and compute the rest again in the backward pass.

Chen et al. 2016, arXiv 1604.06174. On the CPU the gaps that this leaves in glibc's heap are kept small: of mallopt(3), a block from the
threshold on is mapped by itself and goes back to the system when it is freed. Left alone, glibc raises the threshold to 32 MiB as soon
as it sees large blocks freed, and later ones lie in the heap among small ones.
"""

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tabtune_core.models.stages import replaced


@contextmanager
def checkpointed(module: nn.Module, block_lists: Sequence[str]) -> Iterator[None]:
    """Checkpoints the blocks while the context lasts; without a graph they run as usual. Dropout draws the same masks again.

    Args:
        module: the model.
        block_lists: paths of its lists of blocks, for example ``icl_predictor.tf_icl.blocks``; the blocks may be called from anywhere.
    """
    blocks = [block for path in block_lists for block in module.get_submodule(path).children()]
    with replaced((block, "forward", partial(_recomputed, block.forward)) for block in blocks):
        yield


def _recomputed(forward: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """By position come the tensors too that are given by name: torch keeps the random state of the GPUs on which it finds one there."""
    positional = tuple(value.pop() if isinstance(value, list) else value for value in positional)  # TabPFN's blocks empty their list
    tensors = [value for value in named.values() if isinstance(value, torch.Tensor)]
    return checkpoint(lambda *every: forward(*every[: len(positional)], **named), *positional, *tensors, use_reentrant=False)


LARGE_BYTES = 4 << 20
"""Mapping a block costs a page fault for every 4 kB; of smaller ones that would be felt."""
USUAL_LARGE_BYTES, SPARE_BYTES = 32 << 20, 64 << 20
"""Where glibc's own threshold ends, and the free memory at the heap's end that it then keeps."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """While it lasts, blocks from 4 MiB on leave no gaps. Nothing happens without glibc, or where the environment has set the threshold."""
    chosen = "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = None if chosen else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, SPARE_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, USUAL_LARGE_BYTES)
