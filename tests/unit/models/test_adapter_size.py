"""The size that a page tells is the one that an injected model has."""

import pytest
from tiny import build

from tabtune_core.errors import TargetError
from tabtune_core.lora.inject import inject
from tabtune_core.lora.names import under
from tabtune_core.lora.targets import adaptable_weights
from tabtune_core.models.adapter_size import adapter_size
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.settings import LoraSettings

MINIS = [(name, task) for name, card in CATALOGUE.items() for task in card.weights if card.in_the_box]
CASES = [
    LoraSettings(rank=3),
    LoraSettings(rank=2, use_dora=True, bias="lora_only"),
    LoraSettings(rank=2, bias="all"),
    LoraSettings(rank=64, targets=("row_attention",), rank_pattern={"row_attention": 5}),
    LoraSettings(rank=1, targets=("column_embeddings", "prediction_head"), bias="lora_only"),
]


def module_of(name, task):
    return build(CATALOGUE[name].family.name, CATALOGUE[name].weights_for(task).config)


@pytest.mark.parametrize(("name", "task"), MINIS)
def test_every_weight_and_bias_that_a_task_uses_is_in_the_catalogue(name, task):
    module, layers = module_of(name, task), CATALOGUE[name].layers(task)
    unused = CATALOGUE[name].family.unused[task]

    def used(path):
        return not any(under(path, part) for part in unused)

    weights = {entry.path: tuple(entry.matrix.shape) for entry in adaptable_weights(module) if used(entry.path)}
    biases = {path: p.numel() for path, p in module.named_parameters() if path.endswith("bias") and used(path)}
    assert {path.removesuffix(".weight"): shape for path, shape in layers.weights.items()} == weights
    assert layers.biases == biases


@pytest.mark.parametrize("lora", CASES, ids=["plain", "dora", "biases", "pattern", "groups"])
@pytest.mark.parametrize(("name", "task"), MINIS)
def test_the_size_is_that_of_the_injected_module(name, task, lora, monkeypatch):
    card = get_card(name)
    family = card.family
    monkeypatch.setattr("tabtune_core.lora.inject._refuse_rows_without_length", lambda entries: None)  # a fresh module has some
    report = inject(
        module_of(name, task), rank=lora.rank, alpha=lora.alpha, dropout=0.0, targets=lora.targets or family.targets,
        groups=family.groups[task], passed_over=family.passed_over, unused=family.unused[task], bias=lora.bias, use_dora=lora.use_dora,
        rank_pattern=lora.rank_pattern,
    )  # fmt: skip
    size = adapter_size(card, task, lora)
    assert size.trainable == report.trainable_parameters
    assert card.weights_for(task).total_parameters + size.factors == report.total_parameters


def test_a_pattern_that_names_nothing_is_refused_as_by_the_run():
    with pytest.raises(TargetError, match="rank_pattern names 'nowhere'"):
        adapter_size(get_card("tabicl-mini"), "classification", LoraSettings(rank_pattern={"nowhere": 2}))
