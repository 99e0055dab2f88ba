"""Ticks in the tree of a model's parts become targets that adapt exactly the ticked parts."""

import random

import pytest

from dashboard.views.new_run.target_tree import adapted, as_data, paths_of, toggled, tree_of
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings

MINIS = ("tabicl-mini", "tabdpt-mini", "mitra-mini")
TASK = "classification"


def all_nodes(nodes):
    for node in nodes:
        yield node
        yield from all_nodes(node.children)


@pytest.mark.parametrize("name", MINIS)
def test_ticks_become_targets_that_adapt_exactly_the_ticked_parts(name):
    card, dice, targets = get_card(name), random.Random(0), []
    nodes = list(all_nodes(tree_of(card, TASK)))
    for _ in range(40):
        node, before = dice.choice(nodes), adapted(card, TASK, targets)
        off = set(node.usual) <= before
        wanted = before - {leaf.path for leaf in node.leaves} if off else before | set(node.usual)
        targets = toggled(card, TASK, targets, node.path)
        assert adapted(card, TASK, targets) == (wanted or before)


def test_unticking_and_ticking_again_restores_the_models_own_targets():
    card = get_card("tabicl-mini")
    without = toggled(card, TASK, [], "icl_predictor.decoder")
    assert without == ["col_embedder.tf_col.blocks", "row_interactor.tf_row.blocks", "icl_predictor.tf_icl.blocks"]
    assert toggled(card, TASK, without, "icl_predictor.decoder") == []


def test_a_partly_adapted_part_is_half_ticked():
    card = get_card("tabicl-mini")
    top = as_data(card, TASK, ["icl_predictor.tf_icl.blocks.0"], 8)
    assert [node["state"] for node in top] == ["none", "none", "some"]
    blocks = next(child for child in top[2]["children"] if child["path"] == "icl_predictor.tf_icl.blocks")
    assert [child["state"] for child in blocks["children"]] == ["all", *["none"] * 7]
    assert (
        top[2]["adapter"]
        == adapter_size(card, TASK, LoraSettings(rank=8, targets=("icl_predictor.tf_icl.blocks.0",))).factors
    )


def test_the_guides_groups_are_listed_with_their_parts():
    named = {
        child["path"]: child["group"]
        for node in as_data(get_card("tabicl-mini"), TASK, [], 8)
        for child in (node, *node["children"])
    }
    assert named["col_embedder"] == "column_embeddings"
    assert named["row_interactor.tf_row.blocks"] == named["icl_predictor.tf_icl.blocks"] == "row_attention"


def test_every_node_can_be_named_as_a_target():
    card = get_card("tabdpt-mini")
    assert all(adapted(card, TASK, [path]) for path in paths_of(card, TASK))
