"""Pipelines: the guide's names, scikit-learn's conventions, and a file that runs no code."""

import copy
import dataclasses
import json
import pickle
import zipfile
from functools import partial
from unittest.mock import Mock

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from small_table import small_table
from tiny import tiny_checkpoint

from tabtune_core import TabularPipeline, merge_lora_weights
from tabtune_core.api.pipeline_file import read_pipeline, write_pipeline
from tabtune_core.api.tuning_params import model_of, read_params
from tabtune_core.data.encoding import LARGEST
from tabtune_core.devices import name_of
from tabtune_core.engine.adapted_model import predict_rows
from tabtune_core.errors import (
    AdapterError,
    CheckpointError,
    DeviceError,
    LabelError,
    PipelineError,
    SettingError,
    TableError,
    TableWarning,
)
from tabtune_core.events import Evaluated, Note, RunPlanned, StepDone
from tabtune_core.lora.inject import adapter_tensors
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings
from tabtune_core.training import recompute, train_phase

FAST = {"device": "cpu", "steps": 6, "eval_every": 3, "learning_rate": 5e-3}


def of(kind, pipeline):
    return [event for event in pipeline.history if isinstance(event, kind)]


def disturb(pipeline):
    """Moves the trained tensors: after a fit without a gain, tests of saving and merging would pass trivially."""
    generator, module, report = torch.Generator().manual_seed(5), pipeline.model, pipeline.report
    for parameter in module.parameters() if report is None else adapter_tensors(module, report).values():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.03)
    return pipeline


@pytest.fixture(scope="module")
def fitted():
    X, y = small_table()
    return disturb(TabularPipeline("tabicl-mini", "peft", {**FAST, "peft_config": {"r": 4, "lora_alpha": 12}}).fit(X, y))


@pytest.fixture(scope="module")
def test_rows():
    return small_table(40, seed=1)


@pytest.mark.parametrize(
    ("strategy", "params", "message"),
    [
        ("peft", {"peft_config": {"lora_alfa": 16}}, "Unknown setting 'peft_config.lora_alfa'. Did you mean 'peft_config.lora_alpha'?"),
        ("peft", {"lora_alpha": 16}, "Unknown setting 'lora_alpha'. Did you mean 'peft_config.lora_alpha'?"),
        ("peft", {"epocs": 5}, "Unknown setting 'epocs'. Did you mean 'epochs'?"),
        ("peft", {"lr": 1e-3}, "Unknown setting 'lr'. Did you mean 'learning_rate'?"),
        ("peft", {"zzz": 5}, "Unknown setting 'zzz'. Known are checkpoint, seed"),
        ("peft", {"optimiser": "sgd"}, "Unknown setting 'optimiser'. Did you mean 'optimizer'?"),
        ("peft", {"optimizer": "sgd", "eps": 1e-8}, "'eps' changes nothing with the optimizer 'sgd'"),
        ("peft", {"max_grad_norm": 1.0, "clip_norm": 1.0}, "'max_grad_norm' and 'clip_norm' are the same setting"),
        ("peft", {"lr_ratio": 10, "peft_config": {"lr_ratio": 10}}, "'peft_config.lr_ratio' and 'lr_ratio' are the same setting"),
        ("base-ft", {"lr_ratio": 1.0}, "'lr_ratio' changes nothing with tuning_strategy 'base-ft'"),
        ("base-ft", {"rate_scales_with_rank": True}, "'rate_scales_with_rank' changes nothing with tuning_strategy 'base-ft'"),
        ("inference", {"max_grad_norm": 1.0}, "'max_grad_norm' changes nothing with tuning_strategy 'inference'"),
        ("peft", {"peft_config": {"bias": "some"}}, "lora.bias is 'some'; it must be one of none, all, lora_only"),
        ("peft", {"peft_config": 8}, "'peft_config' is 8; it must be a dictionary"),
        ("peft", "fast", "'tuning_params' is 'fast'; it must be a dictionary"),
        ("peft", {1: 2}, "'tuning_params' is {1: 2}; it must be a dictionary"),
        ("peft", {"warmup_steps": -1}, "train.warmup_steps is -1"),
        ("base-ft", {"peft_config": {"r": 8}}, "'peft_config.r' changes nothing with tuning_strategy 'base-ft'"),
        ("inference", {"context_rows": 50}, "'context_rows' changes nothing with tuning_strategy 'inference'"),
        ("inference", {"time_limit": 5}, "'time_limit' changes nothing with tuning_strategy 'inference'"),
        ("inference", {"epochs": 5}, "'epochs' changes nothing with tuning_strategy 'inference'"),
        ("inference", {"validation_share": 0.3}, "'validation_share' changes nothing with tuning_strategy 'inference'"),
        ("inference", {"validation_rows": 30}, "'validation_rows' changes nothing with tuning_strategy 'inference'"),
        ("lora", {}, "tuning_strategy is 'lora'; it must be one of 'inference', 'base-ft', 'peft'"),
    ],
)
def test_invalid_settings_are_refused_with_the_remedy(strategy, params, message):
    with pytest.raises(SettingError) as caught:
        TabularPipeline("tabicl-mini", strategy, params).settings()
    assert message in str(caught.value)


def test_unknown_tasks_and_models_are_refused():
    with pytest.raises(SettingError, match="task is 'clustering'; it must be one of classification, regression"):
        TabularPipeline(task="clustering").settings()
    with pytest.raises(SettingError, match="There is no model 'TabNoSuch'; choose TabICL, .*or one of tabicl-mini"):
        TabularPipeline("TabNoSuch").settings()


def test_a_setting_may_have_another_librarys_name():
    read = read_params("tabicl-mini", "peft", {"max_grad_norm": 0.5, "peft_config": {"lr_ratio": 10}}, "classification")
    assert (read.train.clip_norm, read.train.lr_ratio) == (0.5, 10)
    assert read_params("tabicl-mini", "peft", {"peft_config": {"init_lora_weights": True}}, "classification").lora == LoraSettings()


def test_a_family_name_means_the_current_release_unless_the_environment_names_another(monkeypatch):
    monkeypatch.delenv("TABTUNE_TABICL", raising=False)
    assert model_of("TabICL") == "tabicl-v2"
    monkeypatch.setenv("TABTUNE_TABICL", "tabicl-mini")
    assert (model_of("TabICL"), model_of("tabicl-v1")) == ("tabicl-mini", "tabicl-v1")


def test_an_adapter_is_trained_as_configured_and_chosen_on_held_out_rows(fitted):
    plan = of(RunPlanned, fitted)[0]
    assert (plan.train_rows, plan.validation_rows, plan.test_rows) == (72, 18, 0)
    assert plan.trainable_parameters == fitted.report.trainable_parameters == fitted.result.trainable_parameters
    assert {layer.alpha / layer.rank for layer in fitted.report.layers} == {3.0}
    assert len(of(StepDone, fitted)) == 6
    assert fitted.result.validation["log_loss"] <= fitted.result.zero_shot_validation["log_loss"]
    assert not fitted.model.training


def test_predictions_are_the_original_class_labels(fitted, test_rows):
    X, y = test_rows
    p = fitted.predict_proba(X)
    assert fitted.classes_.tolist() == ["drop", "keep"]
    assert fitted.predict(X).tolist() == fitted.classes_[p.argmax(axis=1)].tolist()
    scores = fitted.evaluate(X, y)
    assert scores["accuracy"] == pytest.approx(fitted.score(X, y)) == pytest.approx(np.mean(fitted.predict(X) == y))
    assert set(scores) == set(fitted.result.validation)
    numbers = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(
        X[["size", "noise"]].to_numpy(), np.where(y == "keep", 7, 3)
    )
    assert numbers.predict(X[["size", "noise"]].to_numpy()).dtype == numbers.classes_.dtype
    assert numbers.classes_.tolist() == [3, 7]


def test_each_strategy_trains_what_it_promises(fitted):
    X, y = small_table()
    full = TabularPipeline("tabicl-mini", "base-ft", FAST).fit(X, y)
    zero_shot = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X, y)
    assert full.result.trainable_parameters > 0.99 * full.result.total_parameters
    assert zero_shot.result.trainable_parameters == 0
    assert full.result.zero_shot_validation == pytest.approx(fitted.result.zero_shot_validation), "the same rows under the same seed"
    assert full.report is None


def test_a_warm_up_is_in_steps_and_at_most_as_long_as_the_run():
    X, y = small_table()
    rates = {}
    for warmup in (2, 500):
        pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 3, "warmup_steps": warmup}).fit(X, y)
        rates[warmup] = [step.learning_rate / 5e-3 for step in of(StepDone, pipeline)]
    assert rates[2] == pytest.approx([0.5, 1, 1])
    assert rates[500] == pytest.approx([1 / 3, 2 / 3, 1])
    assert any("The warm-up of 500 steps is longer than the run" in note.text for note in of(Note, pipeline))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Random weights by task, for tests that do not depend on skill."""
    folder = tmp_path_factory.mktemp("tiny")
    return {task: str(tiny_checkpoint(folder / task, task=task)) for task in ("classification", "regression")}


@pytest.fixture(scope="module")
def losses_of(tiny):
    """Computes the losses of three steps on one table under one seed."""
    given = {**FAST, "checkpoint": tiny["classification"], "steps": 3, "warmup_steps": 0, "peft_config": {"r": 2, "lora_dropout": 0.1}}

    def losses_of(**params):
        pipeline = TabularPipeline("tabicl-v2", "peft", {**given, **params}).fit(*small_table())
        return [step.loss for step in of(StepDone, pipeline)]

    return losses_of


def test_a_time_limit_ends_training_and_the_result_reports_it():
    X, y = small_table()
    pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "time_limit": 1e-6}).fit(X, y)
    assert (pipeline.result.outcome, pipeline.result.ended_by, pipeline.result.steps_done) == ("finished", "time limit", 1)
    assert [event.step for event in of(Evaluated, pipeline) if event.split == "validation"] == [0, 1]
    told = "The time limit of 1e-06 s, which one step takes longer than, ended training after step 1 of 6; that step was evaluated"
    assert any(note.text.startswith(told) for note in of(Note, pipeline))


@pytest.fixture(scope="module")
def plain_losses(losses_of):
    return losses_of()


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer": "adam"},
        {"optimizer": "sgd"},
        {"schedule": "linear"},
        {"schedule": "constant"},
        {"clip_norm": 1e-9},
        {"lr_ratio": 16},
        {"rate_scales_with_rank": True},
    ],
    ids=str,
)
def test_every_setting_changes_the_training(losses_of, plain_losses, changed):
    losses = losses_of(**changed)
    assert losses[0] == plain_losses[0], "the first loss is before the first step"
    assert losses[-1] != pytest.approx(plain_losses[-1], abs=1e-6)


def test_recomputed_activations_change_only_memory(losses_of, plain_losses, monkeypatch):
    recomputed = Mock(side_effect=recompute.checkpoint)
    monkeypatch.setattr(recompute, "checkpoint", recomputed)
    assert losses_of(gradient_checkpointing=True) == pytest.approx(plain_losses, abs=1e-6)
    assert recomputed.called
    recomputed.reset_mock()
    losses_of(steps=1)
    assert not recomputed.called


def test_a_captured_step_trains_the_same_and_a_note_says_why_there_is_none(losses_of, plain_losses, monkeypatch):
    X, y = small_table()
    pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 1, "cuda_graph": True}).fit(X, y)
    told = "is not captured as a CUDA graph, although train.cuda_graph asks for it: it needs an NVIDIA GPU, and the device is cpu."
    assert [note.severity for note in of(Note, pipeline) if told in note.text] == ["warning"]
    repeat = Mock(side_effect=lambda work, device: work)
    monkeypatch.setattr(train_phase, "why_not", lambda *given, **named: None)
    monkeypatch.setattr(train_phase, "CapturedStep", partial(train_phase.CapturedStep, repeat=repeat))
    assert losses_of(cuda_graph=True) == pytest.approx(plain_losses, abs=1e-6)
    assert repeat.call_count == 1


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_16_bit_training_on_a_gpu_is_close_to_32_bit(losses_of, amp, gpu):
    losses, expected = losses_of(device=name_of(gpu), amp=amp), losses_of(device=name_of(gpu))
    assert losses == pytest.approx(expected, abs=0.1)
    assert losses != expected


def test_class_weights_change_the_loss_and_are_refused_without_training():
    X, y = small_table()
    few = np.where(np.arange(len(y)) % 9 == 0, y, "keep")
    losses = [
        [
            step.loss
            for step in of(StepDone, TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 1, "class_weights": weights}).fit(X, few))
        ]
        for weights in ("none", "balanced")
    ]
    assert losses[0][0] != pytest.approx(losses[1][0], abs=1e-3), "the first loss is before the first step"
    late = X.assign(day=np.arange(len(X)))  # in a split by time, the last rows are the only ones of their class
    new = np.where(late["day"] >= len(X) - 2, "new", few)
    by_time = {**FAST, "split_by": "time", "split_column": "day"}
    with pytest.raises(LabelError, match="The split by time: day leaves the class 'new' without a training row"):
        TabularPipeline("tabicl-mini", "peft", by_time).fit(late, new)
    with pytest.raises(SettingError, match="'class_weights' changes nothing with tuning_strategy 'inference'"):
        read_params("tabicl-mini", "inference", {"class_weights": "balanced"}, "classification")
    with pytest.raises(SettingError, match=r"train\.class_weights changes nothing for regression"):
        read_params("tabicl-mini", "peft", {"class_weights": "balanced"}, "regression")


def fitted_with(weights, task="classification", model="tabicl-mini", **params):
    """Returns the losses of the steps and the predictions afterwards."""
    X, y = small_table()
    y = y if task == "classification" else np.linspace(0, 1, len(y)) ** 2
    pipeline = TabularPipeline(model, "peft", {**FAST, "steps": 2, **params}, task=task).fit(X, y, sample_weight=weights)
    return [step.loss for step in of(StepDone, pipeline)], pipeline.predict(X.head(5))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_equal_weights_train_as_without_weights_and_only_ratios_count(tiny, task):
    rows = len(small_table()[0])
    weights = np.random.default_rng(0).uniform(0, 2, rows) ** 4
    without, same, weighted, tenfold = (
        fitted_with(given, task, "tabicl-v2", checkpoint=tiny[task]) for given in (None, np.full(rows, 2.5), weights, list(10 * weights))
    )
    assert without[0] == same[0]
    np.testing.assert_array_equal(without[1], same[1])
    assert weighted[0][0] != pytest.approx(without[0][0], abs=1e-3), "the first loss is before the first step"
    assert tenfold[0] == pytest.approx(weighted[0], rel=1e-4)


def test_row_weights_by_class_equal_class_weights_and_the_two_multiply():
    counts = pd.Series(small_table()[1]).value_counts()[small_table()[1]].to_numpy()
    assert len(set(counts)) > 1
    plain, balanced, by_row, undone = (
        fitted_with(weights, class_weights=by_class, steps=1)[0][0]
        for weights, by_class in ((None, "none"), (None, "balanced"), (1 / counts, "none"), (counts, "balanced"))
    )
    # class weights count only the training rows, whose class shares the split keeps close to those of all rows
    assert by_row == pytest.approx(balanced, rel=0.02)
    assert undone == pytest.approx(plain, rel=0.02)
    assert balanced != pytest.approx(plain, rel=0.03)


def test_steps_with_only_zero_weights_change_nothing_and_are_reported():
    X, y = small_table()
    weights = np.zeros(len(y))
    weights[:8] = [1e-300, 1e300, 1.5e300, 1e300] * 2  # a wider range than float32 has
    pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 12, "eval_every": 12, "batch_size": 4}).fit(X, y, weights)
    losses = [step.loss for step in of(StepDone, pipeline)]
    assert 0 < len(losses) < 12
    assert np.isfinite(losses).all()
    assert any(f"{12 - len(losses)} steps changed nothing: no row" in note.text for note in of(Note, pipeline))


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (np.ones(3), r"sample_weight has the shape \(3,\); X has"),
        (np.ones((4, 1)), "sample_weight has the shape"),
        (["a"] * 60, "sample_weight must be numbers, one per row"),
        ("negative", "sample_weight holds -1; every weight must be a number of 0 or more"),
        ("missing", "sample_weight holds nan"),
        ("nothing", "sample_weight is zero for every row"),
    ],
)
def test_invalid_weights_are_refused(weights, told):
    X, y = small_table()
    made = {"negative": -1.0, "missing": np.nan, "nothing": 0.0}
    weights = np.full(len(y), made[weights]) if isinstance(weights, str) else weights
    with pytest.raises(LabelError, match=told):
        TabularPipeline("tabicl-mini", "peft", FAST).fit(X, y, sample_weight=weights)


def test_weights_without_training_are_refused():
    X, y = small_table()
    with pytest.raises(SettingError, match="sample_weight changes nothing with tuning_strategy 'inference'"):
        TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X, y, sample_weight=np.ones(len(y)))


def test_rows_without_a_label_are_left_out_and_reported():
    X, y = small_table()
    some = [None if place % 10 == 0 else label for place, label in enumerate(y)]
    known = sum(label is not None for label in some)
    with pytest.warns(TableWarning, match=f"because y is missing there: {len(y) - known} rows of {len(y)}"):
        pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X, some)
    assert len(pipeline.context_rows_) == known


def test_a_column_may_decide_which_rows_are_for_validation():
    X, y = small_table()
    frame = X.assign(day=np.arange(len(X)) // 2, who=[f"p{i // 3}" for i in range(len(X))])
    for by, column, told in (
        ("time", "day", "trains on 72 rows up to 35, validates on 18 rows from 36 to 44."),
        ("group", "who", "24 groups"),
    ):
        pipeline = TabularPipeline("tabicl-mini", "base-ft", {"device": "cpu", "steps": 1, "split_by": by, "split_column": column}).fit(
            frame, y
        )
        assert told in of(Note, pipeline)[0].text
        assert (column in pipeline._context.encoder.to_json()["numbers"]) == (by == "time")
        assert np.isfinite(pipeline.predict_proba(frame)).all()
    values = frame[["size", "noise", "day"]].to_numpy()
    by_array = TabularPipeline("tabicl-mini", "base-ft", {"device": "cpu", "steps": 1, "split_by": "time", "split_column": "x2"}).fit(
        values, y
    )
    assert "Split by time on 'x2'" in of(Note, by_array)[0].text
    with pytest.raises(SettingError, match="split_column is 'x9'. The table has no column 'x9'"):
        TabularPipeline("tabicl-mini", "base-ft", {"device": "cpu", "steps": 1, "split_by": "time", "split_column": "x9"}).fit(values, y)


def test_a_table_of_20_rows_trains_on_every_query_row():
    X, y = small_table(20)
    pipeline = TabularPipeline("tabicl-mini", "peft", FAST).fit(X, np.where(np.arange(20) < 2, "rare", y))
    assert pipeline.result.steps_done == 6
    result, plan = pipeline.result, of(RunPlanned, pipeline)[0]
    assert (result.used_rows, result.skipped_rows, result.skipped_episodes) == (6 * plan.query_rows, 0, 0)


def test_it_follows_scikit_learns_conventions(fitted):
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        again.predict(small_table()[0])
    assert clone(fitted).set_params(tuning_strategy="inference").tuning_strategy == "inference"
    assert fitted.n_features_in_ == 3
    assert fitted.feature_names_in_.tolist() == ["size", "colour", "noise"]


def test_single_params_can_be_searched_and_set_by_nested_names():
    X, y = small_table(40)
    given = {"device": "cpu", "steps": 6, "peft_config": {"r": 2}}
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), TabularPipeline("tabicl-mini", "peft", given)),
        {"tabularpipeline__tuning_params__steps": np.array([1, 2]), "tabularpipeline__tuning_params__lora_rank": np.array([3])},
        cv=ShuffleSplit(1, random_state=0),
        error_score="raise",
    ).fit(X, y)
    assert sorted(search.cv_results_["param_tabularpipeline__tuning_params__steps"]) == [1, 2]
    best = search.best_estimator_[-1]
    assert (best.result.steps_done, best.settings().lora.rank) == (search.best_params_["tabularpipeline__tuning_params__steps"], 3)
    assert given == {"device": "cpu", "steps": 6, "peft_config": {"r": 2}}
    reloaded = pickle.loads(pickle.dumps(best))
    assert reloaded._params["tuning_params"]["learning_rate"] == best.settings().learning_rate, "the value in use is kept"
    pipeline = TabularPipeline(tuning_params=given)
    pipeline.set_params(tuning_params__peft_config__lora_alpha=6, tuning_params__learning_rate=0.1)
    assert pipeline.tuning_params == {**given, "learning_rate": 0.1, "peft_config": {"r": 2, "lora_alpha": 6}}
    assert pipeline.set_params(tuning_params__peft_config={"r": 5}).tuning_params["peft_config"] == {"r": 5}
    with pytest.raises(SettingError, match="Unknown setting 'stepps'. Did you mean 'steps'"):
        pipeline.set_params(tuning_params__stepps=3)


@pytest.mark.parametrize(
    ("model", "scale", "far", "why"),
    [
        ("tabicl-mini", 1e-8, 0, "adds 1e-06"),
        ("tabicl-mini", 1, 1e4, "so far from the others"),
        ("tabdpt-mini", 1, 1e4, "so far from the others"),
        ("tabicl-mini", 1, 0, None),
        ("tabdpt-mini", 1e-8, 0, None),
        ("mitra-mini", 1e-8, 1e4, None),
    ],
)
def test_a_column_whose_scale_hides_its_values_from_a_model_is_named(model, scale, far, why):
    if not CATALOGUE[model].family.installed:
        pytest.skip(f"{CATALOGUE[model].family.distribution} is not installed")
    current = np.random.default_rng(0).normal(size=80)
    X = pd.DataFrame({"word": list("abcd") * 20, "empty": np.nan, "current": np.append(current[:-1], current[-1] + far) * scale})
    y = current > 0
    pipeline = TabularPipeline(model, "inference", {"device": "cpu"}).fit(X, y)
    told = [note.text for note in of(Note, pipeline) if "hardly sees 'current'" in note.text]
    assert len(told) == (why is not None) and all(why in text for text in told)
    assert (pipeline.score(X, y) < 0.9) == bool(told)


def test_rows_and_labels_that_do_not_match_are_refused(fitted, test_rows):
    X, y = test_rows
    with pytest.raises(TableError, match="lacks the columns 'noise'"):
        fitted.predict(X.drop(columns="noise"))
    with pytest.raises(LabelError, match="'other' are not among the classes"):
        fitted.evaluate(X, ["other", *y[1:]])
    with pytest.raises(LabelError, match="y has no label in 0 rows, so there is nothing to score"):
        fitted.evaluate(X[:0], y[:0])
    with pytest.raises(DeviceError, match="'cuda:7' was requested"):
        TabularPipeline("tabicl-mini", "inference", {"device": "cuda:7"}).fit(X, y)


VARIANT = {
    "peft_config": {"bias": "all", "use_rslora": True, "use_dora": True, "rank_pattern": {"decoder": 3}, "alpha_pattern": {"attn": 5}}
}


@pytest.mark.parametrize(("strategy", "more"), [("peft", {}), ("base-ft", {**FAST, "steps": 1}), ("inference", {"device": "cpu"})])
def test_a_pickled_pipeline_predicts_the_same_and_holds_no_base_weights(fitted, strategy, more, test_rows):
    pipeline = fitted if strategy == "peft" else TabularPipeline("tabicl-mini", strategy, {**more, "seed": np.int64(1)}).fit(*small_table())
    if strategy == "base-ft":
        disturb(pipeline)
    pickled = pickle.dumps(pipeline)
    again = pickle.loads(pickled)
    np.testing.assert_array_equal(again.predict_proba(test_rows[0]), pipeline.predict_proba(test_rows[0]))
    assert (again.get_params(), again.result) == (pipeline.get_params(), pipeline.result)
    base_bytes = 4 * sum(parameter.numel() for parameter in pipeline.model.parameters())
    assert (len(pickled) < base_bytes / 2) == (strategy != "base-ft")


def test_an_unfitted_pipeline_is_pickled_as_its_arguments():
    again = pickle.loads(pickle.dumps(TabularPipeline("tabicl-mini", tuning_params=FAST)))
    assert again.get_params() == TabularPipeline("tabicl-mini", tuning_params=FAST).get_params()
    for use in (lambda: again.predict([[1.0]]), lambda: again.save_merged("merged.ckpt")):
        with pytest.raises(NotFittedError):
            use()


def test_a_pickled_or_copied_pipeline_keeps_its_requests_for_metadata():
    with config_context(enable_metadata_routing=True):
        fitted = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).set_score_request(sample_weight=True).fit(*small_table())
        for again in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
            assert again.get_metadata_routing().score.requests == {"sample_weight": True}


def test_a_fit_shows_a_bar_when_asked(capsys):
    TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 1}).fit(*small_table())
    assert capsys.readouterr().err == ""
    TabularPipeline("tabicl-mini", "peft", FAST).fit(*small_table(), verbose=True)
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert all(part in last for part in ("6/6", "loss=", "best log_loss=")), last


def test_no_rows_give_no_predictions(fitted, test_rows):
    none = test_rows[0].iloc[:0]
    assert fitted.predict_proba(none).shape == (0, len(fitted.classes_))
    assert fitted.predict(none).shape == (0,)


def test_the_number_of_trainable_parameters_is_printed_in_one_line(fitted):
    said = repr(fitted.report)
    assert (len(said) < 200, str(fitted.report) == said) == (True, True)
    assert f"rank 4 in {len(fitted.report.layers)} layers: {fitted.report.trainable_parameters:,} of" in said


def test_predictions_do_not_depend_on_column_or_container_types(tmp_path):
    X, y = small_table()
    times = pd.Series(pd.date_range("2024-01-31 23:00", periods=len(X), freq="7h", tz="Europe/Berlin"))
    step = pd.Series(np.arange(len(X)) % 4)
    frame = X.assign(at=times, bought=step == 1, day=times.dt.date, grade=step.astype("category"), code=(step / 3).astype(str))
    frame[7] = step
    pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(frame, y)
    pipeline.save(tmp_path / "pipeline.zip")
    expected = pipeline.predict_proba(frame)
    other = frame.assign(
        at=times.dt.tz_convert(None).astype("timestamp[us][pyarrow]"),
        bought=frame["bought"].astype(float),
        day=pd.to_datetime(frame["day"]),
        grade=step.astype("Float32"),
        code=step / 3,
        colour=frame["colour"].astype("string"),
    )
    missing = other.assign(grade=other["grade"].where(step.index != 0), bought=other["bought"].where(step.index != 0))
    for one in (pipeline, TabularPipeline.load(tmp_path / "pipeline.zip")):
        for rows in (
            other[list(other)[::-1]],
            frame.astype(object).to_numpy(),
            frame.astype(object).to_numpy().tolist(),
            polars.from_pandas(other.rename(columns=str)),
        ):
            np.testing.assert_array_equal(one.predict_proba(rows), expected)
        np.testing.assert_array_equal(one.predict_proba(missing)[1:], expected[1:])


def test_a_new_fit_forgets_earlier_names_and_lists_columns_that_no_model_reads():
    X, y = small_table()
    pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"})
    with pytest.warns(TableWarning, match="The column 'remark' is left out: its 90 different values in 90 rows"):
        pipeline.fit(X.assign(remark=[f"remark {i}" for i in range(len(X))]), y)
    with pytest.warns(TableWarning, match="90 cells of 'size', such as 'wide': read as missing, because the column holds numbers below"):
        pipeline.predict(X.assign(size="wide", remark=""))
    pipeline.fit(X[["size", "noise"]].to_numpy(), y == "keep")
    assert not hasattr(pipeline, "feature_names_in_")
    assert pipeline.evaluate(X[["size", "noise"]].to_numpy(), y == "keep") == pipeline.evaluate(
        X[["size", "noise"]].to_numpy(), (y == "keep") * 1.0
    )


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
    assert set(zipfile.ZipFile(tmp_path / "pipeline.joblib").namelist()) == {"pipeline.json", "weights.safetensors", "context.safetensors"}


def test_a_zero_shot_pipeline_keeps_its_context_and_its_classes(test_rows, tmp_path):
    X, y = small_table()
    pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X[["size", "noise"]].to_numpy(), y == "keep")
    pipeline.save(tmp_path / "zero-shot.zip")
    loaded, rows = TabularPipeline.load(tmp_path / "zero-shot.zip"), test_rows[0][["size", "noise"]].to_numpy()
    assert loaded.predict(rows).tolist() == pipeline.predict(rows).tolist()
    assert loaded.classes_.tolist() == [False, True]
    assert not hasattr(loaded, "feature_names_in_")


def test_a_pipeline_is_saved_as_it_was_fitted(fitted, test_rows, tmp_path):
    expected = fitted.predict_proba(test_rows[0])
    renamed = copy.copy(fitted).set_params(tuning_strategy="inference", tuning_params=None)
    renamed.save(tmp_path / "p.zip")
    loaded = TabularPipeline.load(tmp_path / "p.zip")
    assert loaded.tuning_strategy == "peft"
    np.testing.assert_allclose(loaded.predict_proba(test_rows[0]), expected, atol=1e-6)


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
        TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(*small_table()).save_adapter(tmp_path / "none.pt")
    assert not (tmp_path / "none.pt").exists()


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.fixture(scope="module")
def good(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.zip"
    fitted.save(path)
    return path


def facts_of(file):
    return json.loads(zipfile.ZipFile(file).read("pipeline.json"))


def with_member(source, target, name, content):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))


@pytest.mark.parametrize("member", ["pipeline.json", "weights.safetensors", "context.safetensors"])
def test_a_crafted_file_cannot_run_code(good, tmp_path, member):
    mark, crafted = tmp_path / "ran", tmp_path / "crafted.joblib"
    with_member(good, crafted, member, pickle.dumps(Payload(mark)))
    with pytest.raises(PipelineError, match=r"crafted.joblib is not a saved pipeline"):
        TabularPipeline.load(crafted)
    crafted.write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(PipelineError, match=r"crafted.joblib is not a saved pipeline"):
        TabularPipeline.load(crafted)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark))).close()
    assert mark.exists(), "the payload runs if it is unpickled"


def test_the_error_for_a_broken_stream_names_the_file(good, tmp_path):
    with zipfile.ZipFile(good) as archive:
        start = archive.getinfo("pipeline.json").header_offset + 60
    content = bytearray(good.read_bytes())
    content[start : start + 40] = bytes(range(40))
    (tmp_path / "broken.zip").write_bytes(content)
    with pytest.raises(PipelineError, match="broken.zip is not a saved pipeline"):
        TabularPipeline.load(tmp_path / "broken.zip")


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
        (lambda content: context_of(content, y_C=content.context.y_C * 0), "classes of its context rows differ from those that it names"),
        (lambda content: context_of(content, y_C=content.context.y_C + 1), "classes of its context rows differ from those that it names"),
        (lambda content: {"tensors": {**content.tensors, "7/x": torch.zeros(3)}}, "holds tensors that do not belong to its adapters"),
        (partial(first_number, number=np.inf), "hold numbers that are too large or not finite"),
        (partial(first_number, number=-1e308), "hold numbers that are too large or not finite"),
        (partial(first_number, number=LARGEST), "hold numbers that are too large or not finite"),
    ],
    ids=["absent class", "unknown class", "foreign tensor", "infinite", "negative", "largest"],
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
        ({"format": 99}, r"its pipeline format is not one that this version reads \(1 or 2 or 3\)"),
        ({"classes": ["keep", "drop"]}, "names other classes than its rows have, or in another order"),
        ({"loader": 1}, "has the entry 'loader', which this version does not know"),
        ({"classes_type": "<U99999999"}, "which is not a type of classes"),
        ({"columns": 3}, "'columns' has the wrong type"),
        ({"history": []}, "its history has no result"),
        ({"history": [["RunFinished", "{}"]]}, "is not a saved pipeline"),
        ({"active_adapter": "other"}, "must be among them"),
        ({"adapters": [{"name": "default", "lora": {"rank": 10**9}}]}, None),
        (
            {
                "params": {
                    "model_name": "tabicl-mini",
                    "task": "classification",
                    "tuning_strategy": "peft",
                    "tuning_params": {"views": 10**9},
                }
            },
            "at most 64",
        ),
    ],
)
def test_the_contents_of_a_file_are_checked_before_use(good, tmp_path, change, message):
    with_member(good, tmp_path / "bad.zip", "pipeline.json", json.dumps(facts_of(good) | change))
    with pytest.raises(PipelineError if message else AdapterError, match=message or "above the cap"):
        TabularPipeline.load(tmp_path / "bad.zip")


def test_merged_weights_predict_the_same_and_the_pipeline_stays_adapted(fitted, test_rows):
    before, names = fitted.predict_proba(test_rows[0]), list(fitted.model.state_dict())
    merged = copy.copy(fitted._base)
    merged.module = merge_lora_weights(fitted)
    np.testing.assert_allclose(predict_rows(merged, test_rows[0], fitted._context, views=1), before, atol=1e-5)
    assert not any("lora" in name for name in merged.module.state_dict())
    assert list(fitted.model.state_dict()) == names
    assert merge_lora_weights(fitted.model).state_dict().keys() == merged.module.state_dict().keys()


def test_a_pipeline_whose_file_could_not_be_opened_again_is_not_written(tmp_path):
    X, y = small_table()
    named = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X.rename(columns={"size": "s" * 20_000}), y)
    with pytest.raises(PipelineError, match="cannot be saved, as its file could not be opened again: its entry 'columns'"):
        named.save(tmp_path / "pipeline.zip")
    long = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X, np.uint64(2**63) + np.arange(len(y), dtype=np.uint64) % 2)
    with pytest.raises(PipelineError, match="could not be opened again: it holds a whole number of more than 64 bits"):
        long.save(tmp_path / "pipeline.zip")
    assert list(tmp_path.iterdir()) == []
