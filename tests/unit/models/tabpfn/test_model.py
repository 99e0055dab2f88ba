"""TabPFN's files as they were released, later ones, and rows that must not tell of each other."""

import numpy as np
import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.errors import CheckpointError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE

pytest.importorskip("tabpfn", reason="TabPFN needs its package")

OUTER = {
    "feature_group_embedder.weight": "encoder.5.layer.weight",
    "target_embedder.weight": "y_encoder.2.layer.weight",
    "target_embedder.bias": "y_encoder.2.layer.bias",
    **{f"output_projection.{i}.{part}": f"decoder_dict.standard.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")},
}
ATTENTION = {
    "per_sample_attention_between_features": "self_attn_between_features",
    "per_column_attention_between_cells": "self_attn_between_items",
}


def as_released(tensors, heads):
    """The state of a file of January 2025: attention's three projections in one tensor, with a dimension for the heads."""
    old = {OUTER.get(name, name): tensor for name, tensor in tensors.items() if not name.startswith("blocks.")}
    for name, tensor in tensors.items():
        if name.startswith("blocks."):
            _, i, part, layer, *_ = name.split(".")
            where = f"transformer_encoder.layers.{i}"
            if part == "mlp":
                old[f"{where}.mlp.linear{1 + int(layer) // 2}.weight"] = tensor
            elif layer == "out_projection":
                old[f"{where}.{ATTENTION[part]}._w_out"] = tensor.T.unflatten(0, (heads, -1))
            elif layer == "q_projection":
                three = [tensors[name.replace("q_projection", f"{one}_projection")].unflatten(0, (heads, -1)) for one in "qkv"]
                old[f"{where}.{ATTENTION[part]}._w_qkv"] = torch.stack(three)
    return old


def opened(path):
    return load_model(CATALOGUE["tabpfn-v2"], "classification", torch.device("cpu"), path)


def predicted(model, x_NF, context=20):
    normalise = model.fit_preprocessing(x_NF[:context])
    return model.predict(normalise(x_NF[:context]), np.arange(context) % 3, normalise(x_NF[context:]), 3)


def test_a_file_as_it_was_released_is_the_model_under_its_new_names(tmp_path):
    x_NF, model = np.random.default_rng(0).normal(size=(30, 5)), opened(tiny_checkpoint(tmp_path / "new", "tabpfn-v2"))
    content = torch.load(tmp_path / "new")
    old = as_released(content["state_dict"], content["config"]["nhead"])
    assert not set(old) & {name for name in content["state_dict"] if name.startswith(("blocks", "output", "target"))}
    torch.save({"config": content["config"], "state_dict": old}, tmp_path / "old")
    np.testing.assert_array_equal(predicted(opened(tmp_path / "old"), x_NF), predicted(model, x_NF))


@pytest.mark.parametrize("later", ["base", "tabpfn_v2_6", "tabpfn_v3_5"])
def test_weights_of_a_later_tabpfn_are_refused_with_what_their_licence_forbids(tmp_path, later):
    content = torch.load(tiny_checkpoint(tmp_path / "x", "tabpfn-v2"))
    torch.save({**content, "architecture_name": later}, tmp_path / "x")
    with pytest.raises(CheckpointError, match=f"'{later}', of a later TabPFN, whose weights may not be used commercially"):
        opened(tmp_path / "x")


@pytest.mark.parametrize("missing", [slice(0), slice(5), slice(20)], ids=["none", "some", "all"])
def test_a_column_that_is_one_number_in_the_context_tells_rows_nothing_of_each_other(tmp_path, missing):
    x_NF = np.random.default_rng(0).normal(size=(30, 5))
    x_NF[:20, 1], x_NF[missing, 1] = 7.0, np.nan
    model = opened(tiny_checkpoint(tmp_path / "x", "tabpfn-v2"))
    together = predicted(model, x_NF)
    assert np.isfinite(together).all()
    assert together.std(axis=0).min() > 1e-3
    for i in range(20, 30):
        alone = predicted(model, np.concatenate([x_NF[:20], x_NF[i : i + 1]]))
        np.testing.assert_allclose(alone[0], together[i - 20], rtol=1e-5, atol=1e-6)
