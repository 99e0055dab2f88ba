"""The catalogue's sizes and shapes equal those of the modules."""

import pytest
import torch
from tiny import build

from tabtune_core.errors import SettingError
from tabtune_core.lora.inject import inject
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import CATALOGUE, get_card, with_tried_rates
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings

EVERY = [(name, task) for name, card in CATALOGUE.items() for task in card.weights]


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_sizes_and_adapter_sizes_equal_the_modules(name, task):
    card = CATALOGUE[name]
    with torch.device("meta"):  # sizes need no values
        module = build(card.family.name, card.weights_for(task).config)
    assert sum(p.numel() for p in module.parameters()) == card.weights_for(task).total_parameters
    report = inject(module, LoraSettings(rank=8), card.rules(task))
    assert card.adapted_shapes(task) == {layer.path: (layer.out_features, layer.in_features) for layer in report.layers}
    assert adapter_size(card, task, LoraSettings(rank=8)).factors == report.trainable_parameters


def test_the_guides_example_of_a_768_by_768_weight():
    layer = torch.nn.Sequential(torch.nn.Linear(768, 768, bias=False))
    report = inject(layer, LoraSettings(rank=8, targets=("0",)))
    assert report.trainable_parameters == 12_288
    assert report.trainable_parameters / (768 * 768) == pytest.approx(0.0208, abs=1e-4)


def test_the_error_for_an_unknown_model_names_the_known_ones():
    with pytest.raises(SettingError, match="There is no model 'tabpfn'; choose one of tabicl-mini, tabicl-v2"):
        get_card("tabpfn")


def test_a_learning_rate_says_whether_it_was_measured():
    cards = (CATALOGUE["tabdpt-mini"], CATALOGUE["tabicl-mini"])
    assert [card.told_rate("regression", strategy) for card in cards for strategy in ("peft", "base-ft")] == [
        "1e-3 (measured for this model; guide 2e-4)",
        "1e-4 (measured for this model; guide 2e-5)",
        "2e-4 (measured for this model; guide 2e-4)",
        "2e-5 (guide; not measured for this model)",
    ]


def test_each_rank_tries_multiples_of_the_models_rate_unless_rates_are_named():
    def rates(**given):
        sweep = with_tried_rates(SweepSettings(run=RunSettings(dataset="d", target="y", model="tabdpt-mini"), **given))
        return sweep.learning_rates, sweep.full_learning_rates

    assert rates() == ((1e-3, 4e-3, 1.6e-2), (1e-4, 4e-4, 1.6e-3))
    assert rates(learning_rates=(1e-3, 2e-3)) == ((1e-3, 2e-3), (1e-4, 4e-4, 1.6e-3))
    assert rates(learning_rates=(1e-3,)) == ((1e-3,), ())
    assert rates(one_rate=True) == ((), ())
