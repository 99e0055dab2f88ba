"""Injection: exactly the requested parts are trained, and the report names them."""

import re

import pytest
import torch
from tiny import TARGETS_OF_TABDPT, UNUSED_OF_TABDPT, tabdpt_logits, tiny_module, tiny_tabdpt

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.attach import adapter_at, attach, detach
from tabtune_core.lora.inject import (
    adapter_factors,
    adapter_tensors,
    dead_adapters,
    inject,
    load_factors,
    merge,
    merged_copy,
)
from tabtune_core.lora.layers import LowRankUpdate
from tabtune_core.lora.names import TargetRules
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings

CARD = get_card("tabicl-v2")
RULES = CARD.rules("classification")
OF_TABDPT = TargetRules(TARGETS_OF_TABDPT, unused=UNUSED_OF_TABDPT)


def adapted(module, rules=RULES, **how):
    """Returns the report of ``inject`` for an adapter of rank 4 without dropout, with changes."""
    return inject(module, LoraSettings(**{"rank": 4, "dropout": 0, **how}), rules)


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


def test_the_report_counts_what_the_module_has(module):
    total = sum(p.numel() for p in module.parameters())
    report = adapted(module)
    assert report.trainable_parameters == sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert report.total_parameters == total + report.trainable_parameters
    assert {layer.target for layer in report.layers} == set(RULES.targets)
    assert sorted(dead_adapters(module, report)) == sorted(layer.path for layer in report.layers), "before any gradient"
    parameters = f"{report.trainable_parameters:,} of {report.total_parameters:,} parameters train"
    assert repr(report) == f"<LoRA of rank 4 in {len(report.layers)} layers: {parameters}; rows() lists them>"


def test_a_weight_that_is_read_stays_the_same_object_and_is_not_computed_to_be_adapted(monkeypatch):
    module = torch.nn.Sequential(torch.nn.Linear(5, 3))
    weight, update = module[0].weight, LowRankUpdate(module[0].weight, 2, 4.0, 0.0)
    place, version = weight.data_ptr(), weight._version
    monkeypatch.setattr(update, "forward", lambda weight: pytest.fail("the updated weight was computed"))
    attach(module, "0", update)
    assert adapter_at(module, "0") is update
    assert module[0].parametrizations.weight.original is weight
    assert detach(module, "0") is update
    assert module[0].weight is weight
    assert (weight.data_ptr(), weight._version) == (place, version)


def test_the_rank_is_capped_layer_by_layer_and_keeps_its_scaling():
    module = tiny_module()
    report = adapted(module, rank=24)
    widths = {layer.path: min(layer.out_features, layer.in_features) for layer in report.layers}
    assert {layer.path: layer.rank for layer in report.layers} == {at: min(24, width) for at, width in widths.items()}
    assert {layer.alpha / layer.rank for layer in report.layers} == {2.0}
    scaled = adapted(tiny_module(), use_rslora=True, rank=16, alpha=8).layers
    assert {round(layer.scaling, 12) for layer in scaled} == {2.0} and any(layer.capped for layer in scaled)
    assert min(widths.values()) < 24 < max(widths.values())
    assert {layer.path for layer in report.layers if layer.capped} == {path for path in widths if widths[path] < 24}
    assert f"LoRA of ranks {min(widths.values())} to 24 in" in repr(report)


def test_a_target_that_matches_nothing_names_the_parts_that_exist():
    module = tiny_module()
    with pytest.raises(TargetError, match=r"No linear layer under 'col_embeder'\. Modules .*: col_embedder\.in_l"):
        adapted(module, targets=("row_interactor", "col_embeder"))
    assert all(p.requires_grad for n, p in module.named_parameters() if "rope" not in n), "a refusal changes nothing"


def test_layers_smaller_than_their_adapter_are_skipped_unless_named():
    passed = adapted(tiny_module(), targets=("icl_predictor.tf_icl",)).left_out
    assert passed
    assert all("ssmax_layer" in path for path in passed)
    named = adapted(tiny_module(), targets=("icl_predictor.tf_icl.blocks.0.attn.ssmax_layer",))
    assert {layer.kind for layer in named.layers} == {"linear"}


def test_a_merged_copy_is_plain_and_leaves_the_adapted_module_unchanged(module):
    plain_keys = list(module.state_dict())
    report = adapted(module)
    randomise(module, report)
    adapted_keys, expected = list(module.state_dict()), module(*episode())
    merged = merged_copy(module)
    torch.testing.assert_close(merged(*episode()), expected, atol=1e-5, rtol=0)
    assert sorted(merged.state_dict()) == sorted(plain_keys)
    assert list(module.state_dict()) == adapted_keys
    assert torch.equal(merge(module, report)(*episode()), merged(*episode()))
    with pytest.raises(AdapterError, match="no LoRA adapter to merge"):
        merged_copy(merged)
    again = adapted(merged, targets=("row_interactor",))
    with pytest.raises(AdapterError, match="has a LoRA adapter already. Merge it first"):
        adapted(merged)
    with pytest.raises(AdapterError, match="belongs to another model or other targets"):
        load_factors(merged, again, adapter_tensors(*other_targets()))


def other_targets():
    module = tiny_module()
    return module, adapted(module)


VARIANTS = [
    {},
    {"use_rslora": True},
    {"use_dora": True},
    {"init_lora_weights": "pissa"},
    {"bias": "lora_only"},
    {"bias": "all", "use_dora": True},
]


def trained_tabdpt(rules=OF_TABDPT, **how):
    """Returns a module and its report; every trainable tensor has moved."""
    module = tiny_tabdpt()
    report = adapted(module, rules, **how)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in adapter_tensors(module, report).values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module, report


def test_factors_of_tables_also_load_under_the_names_of_linear_layers():
    module, report = trained_tabdpt()
    trained = adapter_tensors(module, report)
    by_hand = {re.sub("lora_embedding_([AB])", r"lora_\1.weight", name): value for name, value in trained.items()}
    assert by_hand.keys() != trained.keys()
    other = tiny_tabdpt()
    load_factors(other, adapted(other, OF_TABDPT), by_hand)
    assert torch.equal(tabdpt_logits(other), tabdpt_logits(module))


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_requested_weights_and_biases_change_and_a_merged_copy_has_them(variant):
    before = tiny_tabdpt().state_dict()
    module, report = trained_tabdpt(**variant)
    merged = merged_copy(module)
    torch.testing.assert_close(tabdpt_logits(merged), tabdpt_logits(module), atol=1e-5, rtol=0)
    after = merged.state_dict()
    assert after.keys() == before.keys()
    asked = {f"{layer.path}.weight" for layer in report.layers} | set(report.biases)
    assert {name for name in before if not torch.equal(after[name], before[name])} == asked
    assert not any(p.requires_grad for p in merged.parameters())


def test_the_biases_of_adapted_layers_or_all_used_ones_train():
    how = {"targets": ("encoder", "transformer_encoder")}
    assert trained_tabdpt(**how, bias="none")[1].biases == ()
    assert trained_tabdpt(**how, bias="lora_only")[1].biases == ("encoder.bias",)
    every = trained_tabdpt(**how, bias="all")[1].biases
    assert {"head.2.bias", "transformer_encoder.1.ff_norm.bias"} < set(every)
    assert not any(name.startswith(UNUSED_OF_TABDPT) for name in every)
    attention = "row_interactor.tf_row.blocks.0.attn"
    packed = adapted(tiny_module(), targets=(attention,), bias="lora_only").biases
    assert packed == (f"{attention}.in_proj_bias", f"{attention}.out_proj.bias")


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (
            {"targets": ("transformer_encoder",), "bias": "lora_only"},
            "bias='lora_only' would train nothing: there is no bias in the adapted layers",
        ),
        ({"targets": ("head",), "rank_pattern": {"heed": 2}}, r"rank_pattern names 'heed', .* are head\.0, head"),
        ({"targets": ("head",), "alpha_pattern": {"heed": 2}}, "alpha_pattern names 'heed', which no adapted layer"),
        ({"rank_pattern": {"q_gate": 5}}, "Rank 5 is above the cap of every layer that the rank pattern gives it.* 2"),
        ({"rank": 99, "targets": ("q_gate",)}, "Rank 99 is above the cap of every target: their largest .* allows 2"),
        ({"targets": ("encoder", "reg_y_encoders")}, "does not use 'reg_y_encoders' for this task: an adapter there"),
    ],
)
def test_what_could_not_train_is_refused_by_name(how, why):
    with pytest.raises(TargetError, match=why):
        trained_tabdpt(**how)


@pytest.mark.parametrize(
    ("key", "paths"),
    [
        ("head.0", ["head.0"]),
        ("transformer_encoder.1.ff", ["transformer_encoder.1.ff.up", "transformer_encoder.1.ff.down"]),
        ("q_proj", ["transformer_encoder.0.q_proj", "transformer_encoder.1.q_proj"]),
        ("ff.up", ["transformer_encoder.0.ff.up", "transformer_encoder.1.ff.up"]),
        ("column_embeddings", ["encoder"]),
    ],
)
def test_a_pattern_is_a_path_a_prefix_consecutive_names_or_a_group(key, paths):
    rules = TargetRules(("transformer_encoder", "encoder", "head"), {"column_embeddings": ("encoder",)})
    _, report = trained_tabdpt(rules, rank_pattern={key: 3})
    assert [layer.path for layer in report.layers if layer.rank == 3] == paths
    assert {layer.scaling for layer in report.layers} == {2.0}, "alpha is twice each layer's rank unless set"
    _, report = trained_tabdpt(rules, alpha=8, alpha_pattern={key: 20})
    assert [layer.path for layer in report.layers if layer.scaling == 5] == paths


def test_the_first_key_that_matches_a_layer_counts_and_the_others_keep_the_default_even_if_it_is_capped():
    _, report = trained_tabdpt(rank_pattern={"head.0": 1, "head": 2}, alpha=6)
    assert {layer.path: (layer.rank, layer.scaling) for layer in report.layers if layer.target == "head"} == {
        "head.0": (1, 6),
        "head.2": (2, 3),
    }
    _, report = trained_tabdpt(rank=4, rank_pattern={"encoder": 2, "head": 2})
    assert min(layer.rank for layer in report.layers if layer.capped) == 2
    assert {layer.path for layer in report.layers} == {layer.path for layer in trained_tabdpt(rank=4)[1].layers}
    assert {layer.rank for layer in trained_tabdpt(rank=2, targets=("q_gate",))[1].layers} == {2}, "the largest legal"


def test_parts_that_a_task_does_not_use_are_not_adapted():
    _, report = trained_tabdpt(targets=("encoder", "cls_y_encoders", "0"))
    assert {layer.path for layer in report.layers if layer.target == "0"} >= {"head.0", "transformer_encoder.0.q_proj"}
    assert not any(layer.path.startswith("reg_y_encoders") for layer in report.layers)


def test_dora_on_rows_without_a_length_is_refused():
    module = tiny_tabdpt()
    torch.nn.init.zeros_(module.head[0].weight[3])
    with pytest.raises(TargetError, match=r"a row of zeros has no direction. There are such rows in head\.0"):
        adapted(module, OF_TABDPT, use_dora=True)
    assert adapted(module, OF_TABDPT).layers
