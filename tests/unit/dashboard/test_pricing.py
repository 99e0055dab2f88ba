"""What a rank costs, from the catalogue's shapes."""

import pytest

from dashboard.pricing import price_ranks
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings

MINI = get_card("tabicl-mini")


def test_the_default_parts_are_those_of_the_catalogue():
    assert price_ranks(MINI, "classification", (4,), LoraSettings())["Adapter parameters"].tolist() == [
        MINI.adapter_parameters("classification", 4)
    ]


def test_a_group_names_its_parts():
    assert set(MINI.adapted_shapes("classification", ("decoder",))) == {"icl_predictor.decoder.0.weight", "icl_predictor.decoder.2.weight"}


def test_a_rank_above_a_layer_is_capped_and_said():
    priced = price_ranks(MINI, "classification", (64,), LoraSettings())
    assert priced["Capped layers"].item() > 0
    assert priced["Adapter parameters"].item() < 64 * sum(sum(shape) for shape in MINI.adapted_shapes("classification").values())


def test_scaling_is_alpha_over_rank_or_its_root():
    assert price_ranks(MINI, "classification", (2, 8), LoraSettings(alpha=16.0))["Scaling"].tolist() == [8.0, 2.0]
    assert price_ranks(MINI, "classification", (4, 16), LoraSettings(alpha=16.0, use_rslora=True))["Scaling"].tolist() == [8.0, 4.0]


@pytest.mark.parametrize("part", ["no_such_part", "col_embed"])
def test_a_part_that_matches_nothing_costs_nothing(part):
    assert MINI.adapted_shapes("classification", (part,)) == {}


def test_the_share_is_the_one_that_a_finished_run_reports():
    """The leaderboard divides by all parameters of the model that was trained, its adapter included."""
    priced = price_ranks(MINI, "classification", (8,), LoraSettings())
    adapter = MINI.adapter_parameters("classification", 8)
    assert priced["Share of the model (%)"].item() == pytest.approx(
        100 * adapter / (MINI.weights_for("classification").total_parameters + adapter)
    )
