"""What a run held in memory at its peak, by cause: counted from the tensors themselves, the rest from the measured peak."""

import torch
from torch import nn

from tabtune_core.lora.layers import LowRank


def held_bytes(module: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, int]:
    """Bytes of weights, adapter, gradients and optimizer state, as they are now: after a step, with its gradients still there."""
    own = {id(t): t for layer in module.modules() if isinstance(layer, LowRank) for t in (*layer.factors, *layer.beside.values())}
    parameters = list(module.parameters())
    states = optimizer.state.values() if optimizer else ()
    return {
        "weights": sum(p.nbytes for p in parameters if id(p) not in own),
        "adapter": sum(t.nbytes for t in own.values()),
        "gradients": sum(p.grad.nbytes for p in parameters if p.grad is not None),
        "optimizer": sum(t.nbytes for state in states for t in state.values() if isinstance(t, torch.Tensor)),
    }


def by_cause(without_activations: dict[str, int], growth_bytes: int | None) -> dict[str, int] | None:
    """The same with activations: what the peak grew by over the loaded model, less gradients and optimizer; None where unknown."""
    if growth_bytes is None:
        return None
    return without_activations | {"activations": max(0, growth_bytes - without_activations["gradients"] - without_activations["optimizer"])}
