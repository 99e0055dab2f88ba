"""16-bit copies change only how often tensors are copied."""

import pytest
import torch
from dispatched import Dispatched
from tiny import tiny_module
from torch import nn

from tabtune_core.lora.half_copies import half_copies
from tabtune_core.lora.inject import adapter_factors, inject
from tabtune_core.settings import LoraSettings

TARGETS = ("col_embedder.tf_col", "row_interactor", "icl_predictor.tf_icl", "icl_predictor.decoder")
INPUTS = (torch.randn(1, 60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40)[None].float() % 3)


@pytest.fixture
def adapted():
    torch.manual_seed(0)
    module = tiny_module().train()
    report = inject(module, LoraSettings(rank=2, dropout=0, targets=TARGETS, bias="lora_only"))
    factors = [factor for pair in adapter_factors(module, report).values() for factor in pair]
    for factor in factors:
        nn.init.normal_(factor, std=0.3)
    return module, factors


def outputs(module):
    with torch.autocast("cpu", torch.bfloat16):
        return module(*INPUTS).float()


def gradients(module):
    module.zero_grad()
    outputs(module).square().mean().backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_outputs_equal_autocasts_and_gradients_agree_within_rounding(adapted):
    module, factors = adapted
    expected, wanted = outputs(module), gradients(module)
    with half_copies(module, factors, torch.bfloat16):
        assert torch.equal(outputs(module), expected)
        found = gradients(module)
    assert found.keys() == wanted.keys()
    assert {gradient.dtype for gradient in found.values()} == {torch.float32}
    for name, gradient in wanted.items():  # per tensor: the rounding of single numbers differs between processors
        assert (found[name] - gradient).norm() <= 0.02 * gradient.norm() + 1e-3, name


def test_each_step_copies_the_current_factors_all_at_once(adapted):
    module, factors = adapted
    with half_copies(module, factors, torch.bfloat16):
        before = outputs(module)
        with torch.no_grad():
            factors[0].mul_(3)
        after = outputs(module)
        with Dispatched() as seen:
            gradients(module)
    assert not torch.equal(before, after)
    assert torch.equal(after, outputs(module))
    with Dispatched() as without:
        gradients(module)
    assert seen.kernels.count("_foreach_copy_") == 2
    assert without.kernels.count("_to_copy") - seen.kernels.count("_to_copy") >= 3 * len(factors) / 2


def test_16_bit_copies_exist_only_under_autocast_and_are_removed_afterwards(adapted):
    module, factors = adapted
    expected = module(*INPUTS)
    with half_copies(module, factors, torch.bfloat16):
        outputs(module)
        assert torch.equal(module(*INPUTS), expected)
        hooks = dict(module._forward_pre_hooks)
    assert (len(hooks), len(module._forward_pre_hooks)) == (1, 0)
    with Dispatched() as seen, half_copies(module, factors, None):
        outputs(module)
    assert "_foreach_copy_" not in seen.kernels
