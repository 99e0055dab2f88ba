"""Several adapters on one base: turning one off and on again restores every bit."""

import copy

import pytest
import torch
from tiny import TARGETS_OF_TABDPT, UNUSED_OF_TABDPT, tabdpt_logits, tiny_module, tiny_tabdpt

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.inject import adapter_tensors
from tabtune_core.lora.names import TargetRules
from tabtune_core.lora.package import factor_tensors
from tabtune_core.settings import LoraSettings

RULES = TargetRules(TARGETS_OF_TABDPT, unused=UNUSED_OF_TABDPT)
ADAPTERS = {
    "plain": LoraSettings(rank=4, dropout=0.1),
    "dora": LoraSettings(
        rank=2, alpha=8, dropout=0, targets=("head", "cls_y_encoders", "encoder"), use_dora=True, bias="all"
    ),
    "pissa": LoraSettings(rank=3, dropout=0.1, init_lora_weights="pissa"),
    "head": LoraSettings(rank=8, dropout=0, targets=("head",), bias="lora_only"),
}
NOWHERE = LoraSettings(targets=("nowhere",))


def logits(module):
    with torch.no_grad():
        return tabdpt_logits(module)


def add(adapters, name, seed):
    report = adapters.add(name, ADAPTERS[name], RULES)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # a frozen start moves too: nothing may rely on the base's own
        for parameter in adapter_tensors(adapters.module, report).values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return logits(adapters.module)


@pytest.fixture
def filled():
    adapters = AdapterSet(tiny_tabdpt())
    return adapters, {name: add(adapters, name, seed) for seed, name in enumerate(ADAPTERS)}


@pytest.mark.parametrize("order", [("plain", "dora", "head"), ("head", "plain", None, "dora", "plain")])
def test_an_adapter_turned_off_and_on_predicts_the_same_bits(filled, order):
    adapters, expected = filled
    expected[None] = logits(tiny_tabdpt())
    assert all((expected[a] - expected[b]).abs().max() > 1e-2 for a in expected for b in expected if a is not b)
    for name in order:
        adapters.set(name)
        assert torch.equal(logits(adapters.module), expected[name])


def test_the_base_is_unchanged_bit_by_bit_by_its_adapters(filled):
    adapters, expected = filled
    plain, state = tiny_tabdpt().state_dict(), adapters.base.state_dict()
    assert sorted(state) == sorted(plain)
    assert all(torch.equal(state[name], plain[name]) for name in plain)
    assert not any(p.requires_grad for p in adapters.base.parameters())
    assert torch.equal(logits(adapters.module), expected["head"])
    trained = adapter_tensors(adapters.module, adapters.report("head")).values()
    assert {id(p) for p in adapters.module.parameters() if p.requires_grad} == {id(p) for p in trained}


@pytest.mark.parametrize("name", ADAPTERS)
def test_unmerging_restores_every_bit(filled, name):
    adapters, expected = filled
    adapters.set(name)
    adapters.merge()
    merged = logits(adapters.module)
    assert sorted(adapters.module.state_dict()) == sorted(tiny_tabdpt().state_dict())
    torch.testing.assert_close(merged, expected[name], atol=1e-5, rtol=0)
    assert torch.equal(logits(adapters.base), logits(tiny_tabdpt()))
    adapters.unmerge()
    assert torch.equal(logits(adapters.module), expected[name])
    adapters.set(None)
    assert torch.equal(logits(adapters.module), logits(tiny_tabdpt()))


def test_an_adapter_moves_to_another_set_by_its_tensors(filled):
    adapters, expected = filled
    adapters.set("dora")
    other = AdapterSet(tiny_tabdpt())
    assert (other.active, other.merged, other.module, other.names) == (None, False, other.base, ())
    torch.manual_seed(77)
    other.add("copy", ADAPTERS["dora"], RULES, adapters.tensors("dora"))
    assert other.names == ("copy",)
    assert torch.equal(logits(other.module), expected["dora"])


def test_adapters_are_off_in_a_block_to_the_end_of_the_outermost(filled):
    adapters, _ = filled
    with adapters.disabled() as module:
        assert module is adapters.module is adapters.base
        with adapters.disabled():
            pass
        assert adapters.active is None
    assert adapters.active == "head"
    with adapters.disabled():
        adapters.set("plain")
    assert adapters.active == "plain"


def test_attention_that_reads_its_weights_also_switches_adapters():
    module = tiny_module().train()
    x, y = torch.randn(1, 20, 4), torch.randint(0, 3, (1, 12)).float()
    base, plain, adapters = module(x, y), copy.deepcopy(module.state_dict()), AdapterSet(module)
    for name, rank in {"a": 2, "b": 5}.items():
        targets = "row_interactor", "icl_predictor.tf_icl.blocks.0.attn"
        report = adapters.add(name, LoraSettings(rank=rank, alpha=8, dropout=0, targets=targets, use_dora=True))
        assert {"weight"} < {layer.kind for layer in report.layers}
        for parameter in adapter_tensors(adapters.module, report).values():
            torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(rank))
    second = adapters.module(x, y)
    adapters.set("a")
    first = adapters.module(x, y)
    adapters.set("b")
    assert torch.equal(adapters.module(x, y), second)
    adapters.set("a")
    assert torch.equal(adapters.module(x, y), first)
    assert min((first - base).abs().max(), (first - second).abs().max()) > 1e-2
    adapters.set(None)
    assert adapters.module is module
    assert all(torch.equal(value, plain[name]) for name, value in module.state_dict().items())


def test_a_refused_adapter_leaves_the_set_as_it_was(filled):
    adapters, expected = filled
    tensors = factor_tensors(adapters.module, adapters.report("head"))
    with pytest.raises(TargetError, match="No linear layer under 'nowhere'"):
        adapters.add("new", NOWHERE)
    with pytest.raises(AdapterError, match="belongs to another model or other targets"):
        adapters.add("new", ADAPTERS["plain"], RULES, tensors)
    with pytest.raises(AdapterError, match="There is an adapter 'head' already"):
        adapters.add("head", ADAPTERS["head"])
    with pytest.raises(AdapterError, match="There is no adapter 'new'; there are 'plain', 'dora', 'pissa', 'head'"):
        adapters.set("new")
    assert adapters.active == "head"
    assert torch.equal(logits(adapters.module), expected["head"])
    adapters.merge()
    with pytest.raises(TargetError):
        adapters.add("new", NOWHERE)
    assert (adapters.active, adapters.merged) == ("head", True)
