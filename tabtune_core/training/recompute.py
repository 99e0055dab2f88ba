"""Gradient checkpointing: blocks keep their inputs alone and compute the rest again in the backward pass.

Chen et al. 2016, arXiv 1604.06174.
"""

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
    tensors = [value for value in named.values() if isinstance(value, torch.Tensor)]
    return checkpoint(lambda *every: forward(*every[: len(positional)], **named), *positional, *tensors, use_reentrant=False)
