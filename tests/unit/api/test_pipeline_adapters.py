"""Several adapters on one pipeline, saving and loading adapter files, and merged exports, on small random weights."""

import numpy as np
import pytest
import torch
from small_table import small_table
from tiny import tiny_checkpoint

from tabtune_core import LoraAdapter, TabularPipeline, load_lora_adapter, merge_lora_weights
from tabtune_core.errors import AdapterError
from tabtune_core.metrics import metrics_of

X, Y = small_table()
NUMBERS = np.random.default_rng(1).normal(size=len(X))
FAST = {"device": "cpu", "steps": 1, "learning_rate": 5e-3}


@pytest.fixture(scope="module")
def fit(checkpoint):
    def fit(strategy="peft", task="classification", moved=True, **params):
        """Fits a pipeline; the trained tensors are moved far enough to show in the predictions."""
        params = {"checkpoint": checkpoint[task], **({"device": "cpu"} if strategy == "inference" else FAST), **params}
        pipeline = TabularPipeline("tabicl-v2", strategy, params, task=task).fit(
            X, Y if task == "classification" else NUMBERS
        )
        for name, parameter in pipeline.model.named_parameters():
            if "lora_" in name and moved:
                parameter.data.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)), alpha=0.3)
        return pipeline

    return fit


@pytest.fixture(scope="module")
def file_of(fit, tmp_path_factory):
    """A pipeline with an adapter of rank 2, and the adapter's file."""
    path = tmp_path_factory.mktemp("adapter") / "other.pt"
    other = fit(peft_config={"r": 2})
    other.save_adapter(path)
    return other, path


def test_adapters_on_one_base_predict_as_in_their_own_pipelines(fit, file_of):
    other, path = file_of
    pipeline, base = fit(peft_config={"r": 3, "target_modules": ["decoder"]}), fit("inference")
    own, weights = pipeline.predict_proba(X), pipeline.model
    assert pipeline.load_adapter(path) == "other"
    assert (pipeline.adapters, pipeline.active_adapter) == (("default", "other"), "other")
    np.testing.assert_array_equal(pipeline.predict_proba(X), other.predict_proba(X))
    assert pipeline.report == other.report
    with pipeline.disable_adapter():
        np.testing.assert_array_equal(pipeline.predict_proba(X), base.predict_proba(X))
    pipeline.set_adapter("default")
    np.testing.assert_array_equal(pipeline.predict_proba(X), own)
    assert pipeline.model is weights, "the weights were not loaded again"
    each = pipeline.predict_each(X)
    assert list(each) == ["base", "default", "other"]
    assert each["other"].tolist() == other.predict(X).tolist()
    assert each["base"].tolist() == base.predict(X).tolist()
    assert pipeline.active_adapter == "default"
    with pytest.raises(AdapterError, match="There is no adapter 'third'; there are 'default', 'other'"):
        pipeline.set_adapter("third")
    with pytest.raises(AdapterError, match="'base' names the base alone"):
        pipeline.load_adapter(path, name="base")
    with pytest.raises(AdapterError, match="There is an adapter 'other' already"):
        pipeline.load_adapter(path)


def test_all_adapters_are_saved_with_the_pipeline(fit, file_of, tmp_path):
    pipeline = fit(peft_config={"bias": "lora_only", "use_dora": True})
    pipeline.load_adapter(file_of[1], "second")
    pipeline.set_adapter("default")
    pipeline.merge_lora_weights()
    pipeline.save(tmp_path / "p.zip")
    loaded = TabularPipeline.load(tmp_path / "p.zip")
    assert (loaded.adapters, loaded.active_adapter) == (("default", "second"), "default")
    for name in loaded.adapters:
        loaded.set_adapter(name)
        pipeline.set_adapter(name)
        np.testing.assert_allclose(loaded.predict_proba(X), pipeline.predict_proba(X), atol=1e-6)


def test_unmerging_restores_every_bit_and_a_merged_file_predicts_the_same(fit, tmp_path):
    pipeline = fit()
    before = pipeline.predict_proba(X)
    pipeline.save_merged(tmp_path / "merged.ckpt")
    pipeline.merge_lora_weights()
    assert not any("lora" in name for name in pipeline.model.state_dict())
    np.testing.assert_allclose(pipeline.predict_proba(X), before, atol=1e-3)
    pipeline.unmerge()
    np.testing.assert_array_equal(pipeline.predict_proba(X), before)
    merged = fit("inference", checkpoint=str(tmp_path / "merged.ckpt"))
    np.testing.assert_allclose(merged.predict_proba(X), before, atol=1e-3)
    assert np.abs(fit("inference").predict_proba(X) - before).max() > 0.05


def test_nested_blocks_without_the_adapter_leave_it_active_afterwards(fit, file_of):
    pipeline = fit()
    with pipeline.disable_adapter(), pipeline.disable_adapter():
        pipeline.load_adapter(file_of[1])
    assert pipeline.active_adapter == "other"
    with pipeline.disable_adapter():
        pipeline.set_adapter("default")
        with pipeline.disable_adapter():
            assert pipeline.active_adapter is None
    assert pipeline.active_adapter == "default"
    with pipeline.disable_adapter():
        pipeline.set_adapter(None)
    assert pipeline.active_adapter is None


@pytest.mark.parametrize("config", [{"use_dora": True, "bias": "all"}, {"init_lora_weights": "pissa"}], ids=str)
def test_a_file_holds_everything_that_a_variant_trains(fit, tmp_path, config):
    trained, other = fit(peft_config=config), fit("inference")
    trained.save_adapter(tmp_path / "a.pt")
    other.load_adapter(tmp_path / "a.pt")
    np.testing.assert_allclose(other.predict_proba(X), trained.predict_proba(X), atol=1e-6)


def test_factors_saved_as_the_guide_shows_are_accepted_as_a_file(fit, tmp_path):
    trained, other = fit(peft_config={"r": 2, "lora_alpha": 6}), fit("inference")
    lora_a, lora_b = trained.model.lora_A.state_dict(), trained.model.lora_B.state_dict()
    assert lora_a.keys() == lora_b.keys() == {layer.path for layer in trained.report.layers}
    torch.save({"rank": 2, "alpha": 6, "lora_a": lora_a, "lora_b": lora_b}, tmp_path / "by_hand.pt")
    other.load_adapter(tmp_path / "by_hand.pt")
    np.testing.assert_allclose(other.predict_proba(X), trained.predict_proba(X), atol=1e-6)
    assert not hasattr(merge_lora_weights(trained), "lora_A")
    trained.set_adapter(None)
    assert not hasattr(trained.model, "lora_A")


def test_an_adapter_of_another_task_base_or_kind_is_refused_with_the_reason(fit, file_of, tmp_path):
    _, path = file_of
    numbers = fit("inference", "regression")
    with pytest.raises(AdapterError, match="was trained for classification and cannot be used for regression"):
        numbers.load_adapter(path)
    with pytest.raises(AdapterError, match="was trained for classification and cannot be used for regression"):
        load_lora_adapter(path, task="regression")
    with pytest.raises(AdapterError, match="There are no adapters for 'clustering'"):
        load_lora_adapter(path, task="clustering")
    other = fit("inference", checkpoint=str(tiny_checkpoint(tmp_path / "other.ckpt", seed=3)))
    with pytest.raises(AdapterError, match="trained on weights of tabicl-v2 with the SHA-256"):
        other.load_adapter(path)
    with pytest.raises(AdapterError, match="this pipeline trained its own"):
        fit("base-ft").load_adapter(path)
    assert numbers.adapters == other.adapters == ()
    adapter = load_lora_adapter(path, task="classification")
    assert isinstance(adapter, LoraAdapter)
    with pytest.raises(AdapterError, match="give it one with name="):
        fit("inference").load_adapter(adapter)


def test_a_file_that_is_not_an_adapter_is_refused(tmp_path):
    path = tmp_path / "crafted.pt"
    torch.save([1], path)
    with pytest.raises(AdapterError, match="needs the entries 'rank', 'alpha'"):
        load_lora_adapter(path)
    torch.save({"rank": 2, "alpha": 4, "lora_a": {}, "lora_b": {}, "tensors": {}}, path)
    with pytest.raises(AdapterError, match="it lacks the entry 'task'. Save it again with save_adapter"):
        load_lora_adapter(path)
    of_ours = {"rank": 2, "alpha": 4, "lora_a": {}, "lora_b": {}}
    for more, said in (
        ({}, "its tensors are not those of an adapter"),
        ({"lora_a": {"icl": 3}}, "its tensors are not those of an adapter"),
        ({"tensors": {}, "later": 1}, "it has the entry 'later', which this version does not know"),
    ):
        torch.save(of_ours | more, path)
        with pytest.raises(AdapterError, match=said):
            load_lora_adapter(path)
    with pytest.raises(AdapterError, match="nowhere.pt is not an adapter: there is no file at"):
        load_lora_adapter(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("strategy", ["peft", "inference"])
def test_a_regression_pipeline_can_predict_score_and_be_saved(fit, tmp_path, strategy):
    pipeline = fit(strategy, "regression", views=2)
    predicted = pipeline.predict(X)
    assert predicted.shape == NUMBERS.shape
    assert set(pipeline.evaluate(X, NUMBERS)) == set(metrics_of("regression"))
    assert pipeline.evaluate(X, NUMBERS)["r2"] == pytest.approx(pipeline.score(X, NUMBERS))
    assert not hasattr(pipeline, "classes_")
    pipeline.save(tmp_path / "p.zip")
    loaded = TabularPipeline.load(tmp_path / "p.zip")
    assert (loaded.task, loaded.tuning_params["views"]) == ("regression", 2)
    np.testing.assert_allclose(loaded.predict(X), predicted, atol=1e-6)
