"""Recomputed activations: the same gradients from less memory, and an unchanged module."""

import pytest
import torch
from tiny import tiny_module
from torch import nn

from tabtune_core.lora.inject import inject
from tabtune_core.models.catalogue import FAMILIES
from tabtune_core.settings import LoraSettings
from tabtune_core.training.train_phase import checkpointed


class Stack(nn.Module):
    """Layers called one by one with shared arguments, like TabDPT's."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Dropout(0.3), nn.Linear(32, 8)) for _ in range(4)
        )

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return x


def stack():
    return Stack(), (torch.randn(64, 8),), ("layers",)


def adapted_tabicl():
    module = tiny_module()
    inject(
        module,
        LoraSettings(rank=2, dropout=0.2, targets=("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl")),
    )
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)  # with B at zero the A factors would have no gradient to compare
    return module.train(), (torch.randn(1, 60, 6), torch.arange(40)[None].float() % 3), FAMILIES["TabICL"].block_lists


def gradients(module, inputs):
    """Gradients of the trainable parameters under dropout, and the bytes that autograd kept for the backward pass."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    module.zero_grad()
    torch.manual_seed(3)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = module(*inputs).square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}, sum(kept.values())


@pytest.mark.parametrize("make", [stack, adapted_tabicl])
def test_gradients_are_equal_and_autograd_keeps_less(make):
    torch.manual_seed(0)
    module, inputs, block_lists = make()
    expected, plain_bytes = gradients(module, inputs)
    with checkpointed(module, block_lists):
        found, recomputed_bytes = gradients(module, inputs)
    assert expected.keys() == found.keys()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert recomputed_bytes < plain_bytes / 2
    assert gradients(module, inputs)[1] == plain_bytes, "outside nothing is recomputed"
