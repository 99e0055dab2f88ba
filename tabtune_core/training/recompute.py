"""Gradient checkpointing: blocks keep only their inputs and compute the rest again in the backward pass.

Chen et al. 2016, arXiv 1604.06174. On the CPU this also keeps gaps in glibc's heap small. Blocks above a threshold
(mallopt(3)) are mapped separately and returned to the system when freed. By default glibc raises the threshold up to 32
MiB as soon as large blocks are freed, and places later ones in the heap among small ones.
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
    """Checkpoints the blocks inside the context; without gradients they run as usual. Dropout draws the same masks
    again.

    ``block_lists`` are paths such as ``icl_predictor.tf_icl.blocks``; the blocks in these lists may be called from
    anywhere.
    """
    blocks = [block for path in block_lists for block in module.get_submodule(path).children()]
    with replaced((block, "forward", partial(_recomputed, block.forward)) for block in blocks):
        yield


def _recomputed(forward: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Checkpoints a call.

    Tensors given by name are also passed by position: torch saves only the random state of GPUs it finds there.
    """
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
    """Maps blocks from 4 MiB on separately inside the context.

    Does nothing without glibc or if the environment sets the threshold.
    """
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
