"""Gradient checkpointing: blocks keep only their inputs and compute the rest again in the backward pass.

Chen et al. 2016, arXiv 1604.06174. On the CPU, large blocks of memory are mapped apart (mallopt(3)), so that they
return to the system when freed; else glibc would place later ones in the heap among small ones.
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
    """Checkpoints the blocks in lists such as ``icl_predictor.tf_icl.blocks``; dropout draws the same masks again."""
    blocks = [block for path in block_lists for block in module.get_submodule(path).children()]
    with replaced((block, "forward", partial(_recomputed, block.forward)) for block in blocks):
        yield


def _recomputed(forward: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Checkpoints a call; tensors go by position, where torch looks for the GPUs whose random state it saves."""
    positional = tuple(
        value.pop() if isinstance(value, list) else value for value in positional
    )  # TabPFN passes lists to be emptied
    tensors = [value for value in named.values() if isinstance(value, torch.Tensor)]
    return checkpoint(
        lambda *every: forward(*every[: len(positional)], **named), *positional, *tensors, use_reentrant=False
    )


LARGE_BYTES = 4 << 20
"""Mapping a block costs a page fault for every 4 kB, which would be noticeable for smaller blocks."""
USUAL_LARGE_BYTES, SPARE_BYTES = 32 << 20, 64 << 20
"""The highest value of glibc's own threshold, and the free memory that it then keeps at the heap's end."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Maps blocks from 4 MiB on apart; does nothing without glibc or if the environment sets the threshold."""
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
