"""Promises of every variant of LoRA: on a layer that is called, a weight that is read, a table that is looked up."""

import pytest
import torch
from torch import nn

from tabtune_core.execution.jobs.truncate_rank import directions
from tabtune_core.lora.attach import adapter_at
from tabtune_core.lora.inject import adapter_tensors, adapter_updates, inject, load_factors, merged_copy
from tabtune_core.lora.package import factor_tensors
from tabtune_core.settings import LoraSettings
from tabtune_core.variants import VARIANTS


def lora(variant, dropout=0.0):
    return LoraSettings(rank=3, alpha=7, dropout=dropout, targets=("called", "read", "table"), **VARIANTS[variant].peft)


class Three(nn.Module):
    """A layer that is called, attention whose projections are read, and an embedding table."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.called, self.table = nn.Linear(8, 6), nn.Embedding(7, 8)
        self.read = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, ids):
        x_BTD = self.table(ids)
        return self.called(self.read(x_BTD, x_BTD, x_BTD, need_weights=False)[0])


IDS = torch.tensor([[0, 3, 6, 1], [2, 2, 5, 4]])


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


def trained(variant, steps=3, seed=1):
    module = Three()
    torch.manual_seed(seed)
    report = inject(module, lora(variant))
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 0.03)
    for _ in range(steps):
        optimizer.zero_grad()
        module(IDS).square().sum().backward()
        optimizer.step()
    return module, report


@torch.no_grad()
def predicted(module):
    return module.eval()(IDS)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_before_training_predictions_equal_the_bases_bit_by_bit(variant, dropout):
    plain, module = Three(), Three()
    inject(module, lora(variant, dropout))
    assert torch.equal(predicted(module), predicted(plain))
    assert torch.equal(predicted(merged_copy(module)), predicted(plain))
    torch.testing.assert_close(module.train()(IDS), plain.train()(IDS), atol=1e-6, rtol=0)


def test_every_trainable_tensor_moves_and_nothing_else(variant):
    module, report = trained(variant)
    start = trained(variant, steps=0)[0]
    before = {**dict(start.named_parameters()), **dict(start.named_buffers())}
    after = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {name for name, p in module.named_parameters() if p.requires_grad}
    assert len(moved) == sum(tensor.requires_grad for tensor in adapter_tensors(module, report).values()) >= 8


def test_weights_with_the_update_added_are_the_same_function(variant):
    module, _ = trained(variant)
    assert (predicted(module) - predicted(Three())).abs().max() > 0.05
    torch.testing.assert_close(predicted(merged_copy(module)), predicted(module), atol=1e-5, rtol=0)


def test_the_tensors_of_a_file_restore_it_without_an_initialisation(variant):
    module, report = trained(variant)
    torch.manual_seed(9)
    other = Three()
    load_factors(other, inject(other, lora(variant), from_file=True), factor_tensors(module, report))
    assert torch.equal(predicted(other), predicted(module))


def test_its_computed_size_equals_its_tensors(variant):
    module, report = trained(variant, steps=0)
    for layer in report.layers:
        held = adapter_at(module, layer.path)
        own = [*held.factors, *held.beside.values()]
        shape = layer.out_features, layer.in_features
        assert layer.parameters == sum(tensor.numel() for tensor in own if tensor.requires_grad)
        assert VARIANTS[variant].frozen(*shape, layer.rank) == sum(
            part.numel() for part in own if not part.requires_grad
        )


def test_its_update_can_be_rebuilt_from_its_singular_directions(variant):
    module, report = trained(variant)
    expected = predicted(module)
    for layer in report.layers:
        adapter = adapter_at(module, layer.path)
        found = directions(*adapter_updates(module, report)[layer.path], layer.scaling)
        adapter.variant.put(adapter, *found.factors(len(found.values)))
    torch.testing.assert_close(predicted(module), expected, atol=1e-5, rtol=0)
