"""Injection: exactly what was asked is trained, and it is said what that is."""

import copy

import pytest
import torch
from tiny import tiny_module

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.inject import adapter_factors, dead_adapters, inject, load_factors, merge, merged_copy
from tabtune_core.models.families import TABICL

ARGUMENTS = {"rank": 4, "alpha": 8, "dropout": 0.0, "groups": TABICL.groups["classification"], "passed_over": TABICL.passed_over}


def episode(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 24, 5, generator=generator)
    y = torch.randint(0, 3, (2, 16), generator=generator).float()
    return x, y


def randomise(module, report, seed=5):
    generator = torch.Generator().manual_seed(seed)
    for _, b in adapter_factors(module, report).values():
        torch.nn.init.normal_(b, std=0.2, generator=generator)


@pytest.fixture(params=["tabicl-v1", "tabicl-v2"])
def module(request):
    return tiny_module(request.param).train()


def test_an_untrained_adapter_is_invisible(module):
    expected = module(*episode())
    inject(module, targets=TABICL.targets, **ARGUMENTS)
    torch.testing.assert_close(module(*episode()), expected, atol=1e-6, rtol=0)


def test_every_adapter_gets_a_gradient_and_nothing_else_does(module):
    report = inject(module, targets=TABICL.targets, **ARGUMENTS)
    randomise(module, report)  # A's gradient is zero as long as B is
    module(*episode()).square().mean().backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    factors = [p for pair in adapter_factors(module, report).values() for p in pair]
    assert len(gradients) == len(factors) == 2 * len(report.layers)
    assert all("lora_" in name for name in gradients)
    assert dead_adapters(module, report) == []
    assert any(layer.path.endswith("attn.in_proj_weight") for layer in report.layers)
    assert any(layer.path.endswith("attn.out_proj") for layer in report.layers)


def test_a_step_leaves_the_base_bit_equal(module):
    before = copy.deepcopy(module.state_dict())
    report = inject(module, targets=TABICL.targets, **ARGUMENTS)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for _ in range(2):
        module(*episode()).square().mean().backward()
        optimizer.step()
    for _, b in adapter_factors(module, report).values():
        assert b.abs().max() > 0
        torch.nn.init.zeros_(b)
    after = merge(module, report).state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_report_counts_what_the_module_has(module):
    total = sum(p.numel() for p in module.parameters())
    report = inject(module, targets=TABICL.targets, **ARGUMENTS)
    assert report.trainable_parameters == sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert report.total_parameters == total + report.trainable_parameters
    assert {layer.target for layer in report.layers} == set(TABICL.targets)


def test_the_rank_is_capped_layer_by_layer_and_keeps_its_scaling():
    module = tiny_module()
    report = inject(module, **{**ARGUMENTS, "rank": 24, "alpha": 48}, targets=TABICL.targets)
    widths = {layer.path: min(layer.out_features, layer.in_features) for layer in report.layers}
    assert {layer.path: layer.rank for layer in report.layers} == {path: min(24, width) for path, width in widths.items()}
    assert {layer.alpha / layer.rank for layer in report.layers} == {2.0}
    assert min(widths.values()) < 24 < max(widths.values())


def test_a_rank_above_every_cap_is_refused():
    with pytest.raises(TargetError, match=r"Rank 99 is above the cap of every target: their largest weight allows 10\."):
        inject(tiny_module(), **{**ARGUMENTS, "rank": 99}, targets=("icl_predictor.decoder.2",))


def test_a_target_that_matches_nothing_names_the_parts_that_exist():
    module = tiny_module()
    with pytest.raises(
        TargetError, match=r"No linear layer under 'col_embeder'\. Parts that have some: col_embedder\.in_linear, col_embedder\.tf_col,"
    ):
        inject(module, **ARGUMENTS, targets=("row_interactor", "col_embeder"))
    assert all(p.requires_grad for n, p in module.named_parameters() if "rope" not in n), "a refused injection leaves the model as it was"


@pytest.mark.parametrize("group", TABICL.groups["classification"])
def test_the_guides_group_names_match_real_parts(group):
    report = inject(tiny_module(), **ARGUMENTS, targets=(group,))
    assert report.layers
    assert all(any(layer.path.startswith(part) for part in TABICL.groups["classification"][group]) for layer in report.layers)


def test_layers_smaller_than_their_adapter_are_passed_over_unless_named():
    passed = inject(tiny_module(), **ARGUMENTS, targets=("icl_predictor.tf_icl",)).left_out
    assert passed
    assert all("ssmax_layer" in path for path in passed)
    named = inject(tiny_module(), **ARGUMENTS, targets=("icl_predictor.tf_icl.blocks.0.attn.ssmax_layer",))
    assert {layer.kind for layer in named.layers} == {"linear"}


def test_merging_keeps_the_function_and_the_upstream_keys(module):
    keys = set(module.state_dict())
    report = inject(module, targets=TABICL.targets, **{**ARGUMENTS, "dropout": 0.3})
    randomise(module, report)
    with torch.no_grad():
        module.train()
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.eval()  # upstream's eval() would take another path
        adapted, plain = module(*episode()), tiny_module_output(module)
        merged = merge(module, report)(*episode())
    assert (adapted - plain).abs().max() > 1e-2
    torch.testing.assert_close(merged, adapted, atol=1e-5, rtol=0)
    assert set(module.state_dict()) == keys


def tiny_module_output(module):
    fresh = tiny_module("tabicl-v2" if module.col_embedder.target_aware else "tabicl-v1").train()
    return fresh(*episode())


def test_a_merged_copy_is_plain_and_leaves_the_adapted_module_as_it_is(module):
    plain_keys = list(module.state_dict())
    report = inject(module, targets=TABICL.targets, **ARGUMENTS)
    randomise(module, report)
    adapted_keys, expected = list(module.state_dict()), module(*episode())
    merged = merged_copy(module)
    torch.testing.assert_close(merged(*episode()), expected, atol=1e-5, rtol=0)
    assert sorted(merged.state_dict()) == sorted(plain_keys)
    assert list(module.state_dict()) == adapted_keys
    with pytest.raises(AdapterError, match="no LoRA adapter to merge"):
        merged_copy(merged)


def test_factors_load_into_a_differently_seeded_adapter(module):
    other = copy.deepcopy(module)
    report = inject(module, targets=TABICL.targets, **ARGUMENTS)
    randomise(module, report)
    torch.manual_seed(99)
    other_report = inject(other, targets=TABICL.targets, **ARGUMENTS)
    assert not torch.allclose(other(*episode()), module(*episode()), atol=1e-3)
    load_factors(other, other_report, adapter_factors(module, report))
    assert torch.equal(other(*episode()), module(*episode()))


def test_factors_of_other_targets_are_refused():
    module, other = tiny_module(), tiny_module()
    report = inject(module, targets=("row_interactor",), **ARGUMENTS)
    other_report = inject(other, targets=TABICL.targets, **ARGUMENTS)
    with pytest.raises(AdapterError, match="belongs to another model or other targets"):
        load_factors(other, other_report, adapter_factors(module, report))
