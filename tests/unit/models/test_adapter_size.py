"""The adapter size shown on a page equals that of an injected model."""

import pytest
from tiny import build

from tabtune_core.errors import TargetError
from tabtune_core.lora.attach import adaptable_weights
from tabtune_core.lora.inject import inject
from tabtune_core.lora.names import under
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.settings import LoraSettings

MINIS = [(name, task) for name, card in CATALOGUE.items() for task in card.weights if card.in_the_box]
CASES = [
    LoraSettings(rank=3),
    LoraSettings(rank=2, use_dora=True, bias="lora_only"),
    LoraSettings(rank=2, init_lora_weights="pissa"),
    LoraSettings(rank=64, targets=("row_attention",), rank_pattern={"row_attention": 5}),
    LoraSettings(rank=1, targets=("column_embeddings", "prediction_head"), bias="all"),
    LoraSettings(rank=3, targets=("late_layers",), rank_pattern={"late_layers": 2}),
]


def module_of(name, task):
    return build(CATALOGUE[name].family.name, CATALOGUE[name].weights_for(task).config)


@pytest.mark.parametrize(("name", "task"), MINIS)
def test_every_weight_and_bias_that_a_task_uses_is_in_the_catalogue(name, task):
    module, layers = module_of(name, task), CATALOGUE[name].layers(task)
    unused = CATALOGUE[name].family.unused.get(task, ())

    def used(path):
        return not any(under(path, part) for part in unused)

    weights = {entry.path: tuple(entry.matrix.shape) for entry in adaptable_weights(module) if used(entry.path)}
    biases = {path: p.numel() for path, p in module.named_parameters() if path.endswith("bias") and used(path)}
    assert {path.removesuffix(".weight"): shape for path, shape in layers.weights.items()} == weights
    assert layers.biases == biases


@pytest.mark.parametrize("lora", CASES, ids=["plain", "dora", "pissa", "pattern", "groups", "late"])
@pytest.mark.parametrize(("name", "task"), MINIS)
def test_the_size_equals_that_of_the_injected_module(name, task, lora, monkeypatch):
    card = get_card(name)
    monkeypatch.setattr("tabtune_core.lora.inject._refuse", lambda *given: None)  # it refuses rows of length zero
    report = inject(module_of(name, task), lora, card.rules(task))
    size = adapter_size(card, task, lora)
    assert size.trainable == report.trainable_parameters
    assert card.weights_for(task).total_parameters + size.factors == report.total_parameters


def test_a_pattern_without_a_match_is_refused_as_in_a_run():
    with pytest.raises(TargetError, match="rank_pattern names 'nowhere'"):
        adapter_size(get_card("tabicl-mini"), "classification", LoraSettings(rank_pattern={"nowhere": 2}))


FULL_SIZE = [(name, task) for name, card in CATALOGUE.items() for task in card.weights if not card.in_the_box]


@pytest.mark.parametrize(("name", "task"), FULL_SIZE)
def test_late_layers_are_the_last_third_of_the_blocks_and_the_head(name, task):
    card, family = get_card(name), get_card(name).family
    start = f"{family.late_blocks}."
    count = 1 + max(int(path.removeprefix(start).split(".")[0]) for path in card.layers(task).weights if start in path)
    late = [f"{start}{number}" for number in range(count - count // 3, count)]
    assert card.rules(task).groups["late_layers"] == (*late, *family.head)
    adapted = card.adapted_shapes(task, ("late_layers",))
    assert all(any(under(path, part) for path in adapted) for part in (*late, *family.head))
    assert all(any(under(path, part) for part in (*late, *family.head)) for path in adapted)
