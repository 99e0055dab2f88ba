"""Gradient checkpointing: blocks keep only their inputs and compute the rest again in the backward pass.

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
    """Checkpoints the blocks in lists such as ``icl_predictor.tf_icl.blocks``; dropout draws the same masks again."""
    blocks = [block for path in block_lists for block in module.get_submodule(path).children()]
    with replaced((block, "forward", partial(_recomputed, block.forward)) for block in blocks):
        yield


def _recomputed(forward: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Checkpoints a call; tensors go by position, where torch looks for the GPUs whose random state it saves."""
    # TabPFN passes lists to be emptied
    positional = tuple(value.pop() if isinstance(value, list) else value for value in positional)
    tensors = [value for value in named.values() if isinstance(value, torch.Tensor)]
    return checkpoint(
        lambda *every: forward(*every[: len(positional)], **named), *positional, *tensors, use_reentrant=False
    )
