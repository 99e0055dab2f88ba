"""TabPFN's released files, refused ones, the licence, and query rows that must not affect each other."""

import re

import numpy as np
import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.errors import CheckpointError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE, check_request
from tabtune_core.settings import RunSettings

pytest.importorskip("tabpfn", reason="TabPFN needs its package")

MODELS = ["tabpfn-v2", "tabpfn-v2.5", "tabpfn-v2.6"]
OUTER = {
    **{f"feature_group_embedder.{i}.weight": f"encoder.5.mlp.{i}.weight" for i in (0, 2)},
    "add_thinking_rows.row_token_values_TE": "add_thinking_tokens.row_token_values",
    "feature_group_embedder.weight": "encoder.5.layer.weight",
    "target_embedder.weight": "y_encoder.2.layer.weight",
    "target_embedder.bias": "y_encoder.2.layer.bias",
    **{f"output_projection.{i}.{of}": f"decoder_dict.standard.{i}.{of}" for i in (0, 2) for of in ("weight", "bias")},
}
ATTENTION = {
    "per_sample_attention_between_features": "self_attn_between_features",
    "per_column_attention_between_cells": "self_attn_between_items",
}


def as_released(tensors, heads):
    """Makes the state of a v2 or v2.5 file: attention's three projections in one tensor, with a dimension for the
    heads.
    """
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
                three = [
                    tensors[name.replace("q_projection", f"{x}_projection")].unflatten(0, (heads, -1)) for x in "qkv"
                ]
                old[f"{where}.{ATTENTION[part]}._w_qkv"] = torch.stack(three)
    return old


def opened(path, name="tabpfn-v2", task="classification"):
    return load_model(CATALOGUE[name], task, torch.device("cpu"), path)


def predicted(model, x_NF, context=20):
    normalise = model.fit_preprocessing(x_NF[:context])
    y_C, classes = (np.arange(context) % 3, 3) if model.task == "classification" else (np.arange(context) / 10, 0)
    return model.predict(normalise(x_NF[:context]), y_C, normalise(x_NF[context:]), classes)


@pytest.mark.parametrize("name", MODELS[:2])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_released_file_gives_the_model_under_its_new_names(tmp_path, name, task):
    x_NF, model = (
        np.random.default_rng(0).normal(size=(30, 5)),
        opened(tiny_checkpoint(tmp_path / "new", name, task=task), name, task),
    )
    content = torch.load(tmp_path / "new")
    old = as_released(content["state_dict"], content["config"]["nhead"])
    assert not set(old) & {
        path for path in content["state_dict"] if path.startswith(("blocks", "output", "target", "add_thinking"))
    }
    torch.save(
        {**content, "state_dict": {**old, **{p: t for p, t in content["state_dict"].items() if "criterion" in p}}},
        tmp_path / "old",
    )
    np.testing.assert_array_equal(predicted(opened(tmp_path / "old", name, task), x_NF), predicted(model, x_NF))


@pytest.mark.parametrize("name", MODELS[1:])
def test_a_later_release_opens_only_by_path_and_its_licence_is_passed_on(tmp_path, name):
    said = f"TabPFN-{name[-3:]} License, no commercial use"
    with pytest.raises(
        CheckpointError, match=re.escape(f"not downloaded automatically, because of its owner's licence ({said})")
    ):
        opened(None, name)
    with pytest.raises(CheckpointError, match="not downloaded automatically"):
        check_request(RunSettings(dataset="d", target="y", model=name))
    model = opened(tiny_checkpoint(tmp_path / "x", name), name)
    model.save(tmp_path / "merged")
    assert str(model.source.licence) == torch.load(tmp_path / "merged")["licence"] == said
    assert opened(tmp_path / "merged", name).source.licence == model.source.licence


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", [slice(0), slice(5), slice(20)], ids=["none", "some", "all"])
def test_a_column_constant_in_the_context_leaks_nothing_between_query_rows(tmp_path, name, missing):
    x_NF = np.random.default_rng(0).normal(size=(30, 5))
    x_NF[:20, 1], x_NF[missing, 1] = 7.0, np.nan
    model = opened(tiny_checkpoint(tmp_path / "x", name), name)
    together = predicted(model, x_NF)
    assert np.isfinite(together).all()
    assert together.std(axis=0).min() > 1e-3
    for i in range(20, 30):
        alone = predicted(model, np.concatenate([x_NF[:20], x_NF[i : i + 1]]))
        np.testing.assert_allclose(alone[0], together[i - 20], rtol=1e-5, atol=1e-6)
