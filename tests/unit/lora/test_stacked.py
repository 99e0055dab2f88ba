"""Stacked updates of several runs: each run's output, gradients and masks are those of its own layer, and the padding never moves."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tabtune_core.lora.layers import LoRALinear, LowRankUpdate
from tabtune_core.lora.stacked import Stack

RANKS, INPUTS, OUTPUTS = (1, 4, 3), 5, 6


def layers(dropout=0.0):
    base = nn.Linear(INPUTS, OUTPUTS, dtype=torch.float64)
    found = [LoRALinear(base, rank, alpha=1.0 + rank, dropout=dropout * (rank > 1)).train() for rank in RANKS]
    for layer in found:
        nn.init.normal_(layer.lora_B.weight)
    return found


def stacked(found):
    generators = [torch.Generator().manual_seed(place) for place in range(len(found))]
    return Stack.of(found, generators)


def step(stack, loss):
    stack.give_gradients(*torch.autograd.grad(loss, (stack.a_KRI, stack.b_KRO)))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("tables", [2, 40])
def test_each_run_has_the_output_and_the_gradients_of_its_own_layer(tables, dropout):
    alone, together = layers(dropout), layers(dropout)
    for one, other in zip(alone, together, strict=True):
        other.load_state_dict(one.state_dict())
        other.base = alone[0].base
        one.base = alone[0].base
    x, direction = torch.randn(3 * tables, 7, INPUTS, dtype=torch.float64), torch.randn(3 * tables, 7, OUTPUTS, dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    stack = stacked(together)
    output = stack.forward(ours)
    expected = []
    for place, (layer, part) in enumerate(zip(alone, theirs.chunk(3), strict=True)):
        torch.manual_seed(place)
        expected.append(layer(part))
    torch.testing.assert_close(output, torch.cat(expected))
    (torch.cat(expected) * direction).sum().backward()
    grad, *of_factors = torch.autograd.grad((output * direction).sum(), (ours, stack.a_KRI, stack.b_KRO))
    stack.give_gradients(*of_factors)
    torch.testing.assert_close(grad, theirs.grad)
    for one, other in zip(alone, together, strict=True):
        for wanted, found in zip(one.factors, other.factors, strict=True):
            torch.testing.assert_close(found.grad, wanted.grad)


def test_a_weight_that_is_read_in_parts_has_each_runs_rows_of_the_update():
    weight = torch.randn(OUTPUTS, INPUTS, dtype=torch.float64)
    updates = [LowRankUpdate(weight, rank, 3.0, 0.0).train() for rank in RANKS]
    for update in updates:
        nn.init.normal_(update.lora_B)
    x_KNI = torch.randn(3, 8, INPUTS, dtype=torch.float64)
    expected = torch.stack([F.linear(x, update.updated(weight)[2:]) for x, update in zip(x_KNI, updates, strict=True)])
    stack = stacked(updates)
    _, rows = stack.forward(weight).split([2, OUTPUTS - 2])
    torch.testing.assert_close(F.linear(x_KNI, rows), expected)
    step(stack, F.linear(x_KNI, rows).sum())
    assert [update.lora_B.grad[:2].any().item() for update in updates] == [False] * 3
    assert all(update.lora_B.grad[2:].any() and update.lora_A.grad.any() for update in updates)


def test_what_all_runs_share_is_read_by_each():
    found = layers()
    x_1NI = torch.randn(1, 4, INPUTS, dtype=torch.float64)
    torch.testing.assert_close(stacked(found).forward(x_1NI), torch.cat([layer(x_1NI) for layer in found]))


@pytest.mark.parametrize("fused", [True, False])
def test_optimizers_of_the_runs_move_the_stack_as_their_own_factors_and_the_padding_stays_zero(fused):
    alone, together = layers(), layers()
    for one, other in zip(alone, together, strict=True):
        other.load_state_dict(one.state_dict())
    stack = stacked(together)
    optimizers = [torch.optim.AdamW(layer.factors, lr=0.01, weight_decay=0.1, fused=fused) for layer in (*alone, *together)]
    x_KNI = torch.randn(3, 8, INPUTS, dtype=torch.float64)
    for _ in range(3):
        step(stack, stack.forward(x_KNI).square().sum())
        for layer, x in zip(alone, x_KNI, strict=True):
            layer.zero_grad()
            layer(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    for rank, one, other, a_RI, b_RO in zip(RANKS, alone, together, stack.a_KRI, stack.b_KRO, strict=True):
        torch.testing.assert_close(list(other.factors), list(one.factors))
        torch.testing.assert_close(a_RI[:rank], one.lora_A.weight)
        assert not a_RI[rank:].any()
        assert not b_RO[rank:].any()


def test_rows_that_cannot_be_told_apart_are_refused():
    with pytest.raises(AssertionError, match="cannot be told apart"):
        stacked(layers()).forward(torch.randn(4, 2, INPUTS, dtype=torch.float64))
