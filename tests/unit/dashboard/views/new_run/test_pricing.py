"""The size of an adapter, from the catalogue's shapes."""

import dataclasses

import pytest

from dashboard.views.new_run.launch_panel import price_adapters
from tabtune_core.models.cards import Layers, adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings

MINI = get_card("tabicl-mini")


def priced(card=MINI, ranks=(8,), lora=None, **axes):
    run = RunSettings(dataset="d", target="t", lora=lora or LoraSettings())
    return price_adapters(card, "classification", SweepSettings(run=run, ranks=ranks, **axes))


def one_layer(config, task):
    layers = Layers()
    layers.linear("layer", 768, 768, bias=False)
    return layers


def test_the_guides_example_of_a_768_by_768_weight():
    family = dataclasses.replace(MINI.family, layers=one_layer, targets=("layer",))
    weights = dataclasses.replace(MINI.weights["classification"], total_parameters=768 * 768)
    row = priced(dataclasses.replace(MINI, family=family, weights={"classification": weights})).iloc[0]
    assert row["Trainable"] == 12_288
    assert row["Share (%)"] == pytest.approx(100 * 12_288 / (768 * 768 + 12_288))


def test_a_group_names_its_parts():
    assert set(MINI.adapted_shapes("classification", ("decoder",))) == {
        "icl_predictor.decoder.0",
        "icl_predictor.decoder.2",
    }


def test_a_rank_too_large_for_a_layer_is_capped():
    row = priced(ranks=(64,)).iloc[0]
    assert row["Trainable"] < 64 * sum(sum(shape) for shape in MINI.adapted_shapes("classification").values())


def test_there_is_a_row_for_each_rank_and_set_of_parts():
    table = priced(ranks=(2, 4), target_sets=((), ("decoder",)))
    assert table[["Rank", "Parts"]].to_numpy().tolist() == [
        [2, "default"],
        [2, "decoder"],
        [4, "default"],
        [4, "decoder"],
    ]
    assert table["Trainable"].is_unique


@pytest.mark.parametrize("part", ["no_such_part", "col_embed"])
def test_a_part_that_matches_nothing_costs_nothing(part):
    assert MINI.adapted_shapes("classification", (part,)) == {}


def test_the_share_equals_that_of_a_finished_run():
    """The leaderboard divides by all parameters of the trained model, including its adapter."""
    adapter = adapter_size(MINI, "classification", LoraSettings(rank=8)).factors
    assert priced()["Share (%)"].item() == pytest.approx(
        100 * adapter / (MINI.weights_for("classification").total_parameters + adapter)
    )
