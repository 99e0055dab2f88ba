"""Pickles and files of pipelines: they predict the same, and run no code."""

import dataclasses
import json
import pickle
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from pipelines import FAST, disturb
from small_table import small_table

from tabtune_core import TabularPipeline, merge_lora_weights
from tabtune_core.api.pipeline_file import read_pipeline, write_pipeline
from tabtune_core.data.encoding import LARGEST
from tabtune_core.errors import AdapterError, CheckpointError, PipelineError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE

VARIANT = {"bias": "all", "use_rslora": True, "use_dora": True}
VARIANT = {"peft_config": {**VARIANT, "rank_pattern": {"decoder": 3}, "alpha_pattern": {"attn": 5}}}


@pytest.mark.parametrize(
    ("strategy", "more"), [("peft", {}), ("base-ft", {**FAST, "steps": 1}), ("inference", {"device": "cpu"})]
)
def test_a_pickled_pipeline_predicts_the_same_and_holds_no_base_weights(fitted, strategy, more, test_rows):
    pipeline = (
        fitted
        if strategy == "peft"
        else TabularPipeline("tabicl-mini", strategy, {**more, "seed": np.int64(1)}).fit(*small_table())
    )
    if strategy == "base-ft":
        disturb(pipeline)
    pickled = pickle.dumps(pipeline)
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.predict_proba(test_rows[0]), pipeline.predict_proba(test_rows[0]))
    assert (again.get_params(), again.result) == (pipeline.get_params(), pipeline.result)
    base_bytes = 4 * sum(parameter.numel() for parameter in pipeline.model.parameters())
    assert (len(pickled) < base_bytes / 2) == (strategy != "base-ft")


@pytest.mark.parametrize(("strategy", "more"), [("peft", VARIANT), ("base-ft", {})])
def test_a_saved_pipeline_predicts_the_same_under_any_file_name(strategy, more, test_rows, tmp_path):
    pipeline = TabularPipeline("tabicl-mini", strategy, {**FAST, "steps": 2, **more}).fit(*small_table())
    before = pipeline.predict_proba(test_rows[0])
    assert np.abs(disturb(pipeline).predict_proba(test_rows[0]) - before).max() > 1e-2
    pipeline.save(tmp_path / "pipeline.joblib")
    loaded = TabularPipeline.load(tmp_path / "pipeline.joblib")
    np.testing.assert_allclose(loaded.predict_proba(test_rows[0]), pipeline.predict_proba(test_rows[0]), atol=1e-6)
    assert loaded.predict(test_rows[0]).tolist() == pipeline.predict(test_rows[0]).tolist()
    assert loaded.get_params() == pipeline.get_params()
    assert loaded.history == pipeline.history
    assert loaded.report == pipeline.report
    names = zipfile.ZipFile(tmp_path / "pipeline.joblib").namelist()
    assert sorted(names) == ["context.safetensors", "pipeline.json", "weights.safetensors"]


def test_a_saved_adapter_is_plain_tensors_that_rebuild_the_merged_weights(fitted, tmp_path):
    fitted.save_adapter(tmp_path / "lora_adapters.pt")
    lora = torch.load(tmp_path / "lora_adapters.pt", weights_only=True)
    base = load_model(CATALOGUE["tabicl-mini"], "classification", torch.device("cpu")).module.state_dict()
    merged = merge_lora_weights(fitted).state_dict()
    assert len(lora["lora_a"]) == len(fitted.report.layers)
    for path, a in lora["lora_a"].items():
        name = path if path in base else f"{path}.weight"
        torch.testing.assert_close(base[name] + lora["lora_b"][path] @ a * lora["scaling"][path], merged[name])
    assert set(lora["scaling"].values()) == {lora["alpha"] / lora["rank"]}
    with pytest.raises(AdapterError, match="no LoRA adapter to save"):
        TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(*small_table()).save_adapter(
            tmp_path / "none.pt"
        )
    assert not (tmp_path / "none.pt").exists()


@pytest.fixture(scope="module")
def good(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.zip"
    fitted.save(path)
    return path


PARAMS = {"model_name": "tabicl-mini", "task": "classification", "tuning_strategy": "peft"}


def facts_of(file):
    return json.loads(zipfile.ZipFile(file).read("pipeline.json"))


def with_member(source, target, name, content):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))


def test_the_error_for_a_damaged_or_missing_file_names_it(good, tmp_path):
    facts = facts_of(good)
    facts["context"]["encoder"]["numbers"].reverse()
    with_member(good, tmp_path / "bad.zip", "pipeline.json", json.dumps(facts))
    with pytest.raises(PipelineError, match="do not have the hash"):
        TabularPipeline.load(tmp_path / "bad.zip")
    with_member(good, tmp_path / "half.zip", "pipeline.json", json.dumps({"format": 1, "context": {}}))
    with pytest.raises(PipelineError, match="half.zip is not a saved pipeline: it lacks the entry"):
        TabularPipeline.load(tmp_path / "half.zip")
    with pytest.raises(PipelineError, match="There is no saved pipeline at"):
        TabularPipeline.load(tmp_path / "nowhere.zip")


def context_of(content, **changes):
    return {"context": dataclasses.replace(content.context, **changes)}


def first_number(content, number):
    x_CF = content.context.x_CF.copy()
    x_CF[0, 0] = number
    return context_of(content, x_CF=x_CF)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: context_of(content, y_C=content.context.y_C * 0), "classes of its context rows differ from"),
        (lambda content: {"tensors": {**content.tensors, "7/x": torch.zeros(3)}}, "holds tensors that do not belong"),
        (partial(first_number, number=-1e308), "hold numbers that are too large or not finite"),
        (partial(first_number, number=LARGEST), "hold numbers that are too large or not finite"),
    ],
    ids=["absent class", "foreign tensor", "negative", "largest"],
)
def test_a_file_with_impossible_arrays_is_refused(good, tmp_path, change, message):
    content = read_pipeline(good)
    write_pipeline(tmp_path / "bad.zip", dataclasses.replace(content, **change(content)))
    with pytest.raises(PipelineError, match=message):
        TabularPipeline.load(tmp_path / "bad.zip")


def test_a_path_of_weights_in_a_pipeline_file_reveals_no_other_file(good, tmp_path):
    facts = facts_of(good)
    (tmp_path / "diary.txt").write_text("secret")
    for named, error, message in (
        (tmp_path / "diary.txt", AdapterError, "trained on weights with the SHA-256"),
        (tmp_path / "nowhere", CheckpointError, "There is no checkpoint at"),
        ("/dev/zero", CheckpointError, "There is no checkpoint at"),
    ):
        facts["params"]["tuning_params"]["checkpoint"] = str(named)
        with_member(good, tmp_path / "named.zip", "pipeline.json", json.dumps(facts))
        with pytest.raises(error, match=message) as refused:
            TabularPipeline.load(tmp_path / "named.zip")
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "its pipeline format is not 1, the one that this version reads"),
        ({"classes": ["keep", "drop"]}, "names other classes than its rows have, or in another order"),
        ({"loader": 1}, "has the entry 'loader', which this version does not know"),
        ({"classes_type": "<U99999999"}, "which is not a type of classes"),
        ({"columns": 3}, "has a columns of the wrong type"),
        ({"history": []}, "its history has no result"),
        ({"history": [["RunFinished", "{}"]]}, "is not a saved pipeline"),
        ({"active_adapter": "other"}, "is not among its adapters"),
        ({"adapters": {"default": {"rank": 10**9}}}, None),
        ({"params": {**PARAMS, "tuning_params": {"views": 10**9}}}, "at most 64"),
    ],
)
def test_the_contents_of_a_file_are_checked_before_use(good, tmp_path, change, message):
    with_member(good, tmp_path / "bad.zip", "pipeline.json", json.dumps(facts_of(good) | change))
    with pytest.raises(PipelineError if message else AdapterError, match=message or "above the cap"):
        TabularPipeline.load(tmp_path / "bad.zip")


def test_a_pipeline_whose_file_could_not_be_opened_again_is_not_written(tmp_path):
    X, y = small_table()
    named = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(
        X.rename(columns={"size": "s" * 20_000}), y
    )
    with pytest.raises(
        PipelineError, match="cannot be saved, as its file could not be opened again: its entry 'columns'"
    ):
        named.save(tmp_path / "pipeline.zip")
    long = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(
        X, np.uint64(2**63) + np.arange(len(y), dtype=np.uint64) % 2
    )
    with pytest.raises(PipelineError, match="could not be opened again: it holds a whole number of more than 64 bits"):
        long.save(tmp_path / "pipeline.zip")
    assert list(tmp_path.iterdir()) == []
