"""Pipelines: the guide's names and scikit-learn's conventions."""

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from pipelines import FAST, of
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from small_table import small_table

from tabtune_core import TabularPipeline
from tabtune_core.api.pipeline import pipeline_of_run
from tabtune_core.api.tuning_params import model_of, read_params
from tabtune_core.data.merged_classes import with_label
from tabtune_core.errors import DeviceError, LabelError, SettingError, TableError, TableWarning
from tabtune_core.events import Note, RunPlanned, StepDone
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings

NOTHING = "changes nothing with tuning_strategy"


@pytest.mark.parametrize(
    ("strategy", "params", "message"),
    [
        ("peft", {"peft_config": {"lora_alfa": 16}}, "'peft_config.lora_alfa'. Did you mean 'peft_config.lora_alpha'?"),
        ("peft", {"lora_alpha": 16}, "Unknown setting 'lora_alpha'. Did you mean 'peft_config.lora_alpha'?"),
        ("peft", {"epocs": 5}, "Unknown setting 'epocs'. Did you mean 'epochs'?"),
        ("peft", {"lr": 1e-3}, "Unknown setting 'lr'. Did you mean 'learning_rate'?"),
        ("peft", {"zzz": 5}, "Unknown setting 'zzz'. Known are checkpoint, seed"),
        ("peft", {"optimizer": "sgd", "eps": 1e-8}, "'eps' changes nothing with the optimizer 'sgd'"),
        ("peft", {"lr_ratio": 2, "peft_config": {"lr_ratio": 2}}, "'peft_config.lr_ratio' and 'lr_ratio' are the same"),
        ("base-ft", {"lr_ratio": 1.0}, f"'lr_ratio' {NOTHING} 'base-ft'"),
        ("base-ft", {"peft_config": {"r": 8}}, f"'peft_config.r' {NOTHING} 'base-ft'"),
        ("inference", {"clip_norm": 1.0}, f"'clip_norm' {NOTHING} 'inference'"),
        ("inference", {"validation_share": 0.3}, f"'validation_share' {NOTHING} 'inference'"),
        ("peft", {"peft_config": {"bias": "some"}}, "lora.bias is 'some'; it must be one of none, all, lora_only"),
        ("peft", {"peft_config": 8}, "'peft_config' is 8; it must be a dictionary"),
        ("peft", "fast", "'tuning_params' is 'fast'; it must be a dictionary"),
        ("peft", {1: 2}, "'tuning_params' is {1: 2}; it must be a dictionary"),
        ("lora", {}, "tuning_strategy is 'lora'; it must be one of 'inference', 'base-ft', 'peft'"),
    ],
)
def test_invalid_settings_are_refused_with_the_remedy(strategy, params, message):
    with pytest.raises(SettingError) as caught:
        TabularPipeline("tabicl-mini", strategy, params).settings()
    assert message in str(caught.value)
    with pytest.raises(SettingError, match="There is no model 'TabNoSuch'; choose TabICL, .*or one of tabicl-mini"):
        TabularPipeline("TabNoSuch").settings()


def test_settings_may_be_named_and_valued_as_in_the_guide_and_in_peft():
    config = {"lr_ratio": 10, "init_lora_weights": True}
    read = read_params("tabicl-mini", "peft", {"peft_config": config}, "classification")
    assert (read.lora, read.train.lr_ratio) == (LoraSettings(), 10)


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
    assert full.result.zero_shot_validation == pytest.approx(fitted.result.zero_shot_validation), (
        "the same rows under the same seed"
    )
    assert full.report is None


def test_single_params_can_be_searched_and_set_by_nested_names():
    X, y = small_table(40)
    given = {"device": "cpu", "steps": 6, "peft_config": {"r": 2}}
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), TabularPipeline("tabicl-mini", "peft", given)),
        {f"tabularpipeline__tuning_params__{n}": np.array(v) for n, v in {"steps": [1, 2], "lora_rank": [3]}.items()},
        cv=ShuffleSplit(1, random_state=0),
        error_score="raise",
    ).fit(X, y)
    assert sorted(search.cv_results_["param_tabularpipeline__tuning_params__steps"]) == [1, 2]
    best = search.best_estimator_[-1]
    assert best.result.steps_done == search.best_params_["tabularpipeline__tuning_params__steps"]
    assert best.settings().lora.rank == 3
    assert given == {"device": "cpu", "steps": 6, "peft_config": {"r": 2}}
    reloaded = pickle.loads(pickle.dumps(best))
    assert reloaded._params["tuning_params"]["learning_rate"] == best.settings().learning_rate
    pipeline = TabularPipeline(tuning_params=given)
    pipeline.set_params(tuning_params__peft_config__lora_alpha=6, tuning_params__learning_rate=0.1)
    assert pipeline.tuning_params == {**given, "learning_rate": 0.1, "peft_config": {"r": 2, "lora_alpha": 6}}
    assert pipeline.set_params(tuning_params__peft_config={"r": 5}).tuning_params["peft_config"] == {"r": 5}
    with pytest.raises(SettingError, match="Unknown setting 'stepps'. Did you mean 'steps'"):
        pipeline.set_params(tuning_params__stepps=3)


@pytest.mark.parametrize(
    ("model", "scale", "far", "named"),
    [
        ("tabicl-mini", 1e-8, 0, True),
        ("tabicl-mini", 1, 1e4, True),
        ("tabdpt-mini", 1, 1e4, True),
        ("tabicl-mini", 1, 0, False),
        ("tabdpt-mini", 1e-8, 0, False),
        ("mitra-mini", 1e-8, 1e4, False),
    ],
)
def test_a_column_whose_scale_hides_its_values_from_a_model_is_named(model, scale, far, named):
    if not CATALOGUE[model].family.installed:
        pytest.skip(f"{CATALOGUE[model].family.distribution} is not installed")
    current = np.random.default_rng(0).normal(size=80)
    X = pd.DataFrame({"word": [*"abcd"] * 20, "no": np.nan, "current": np.r_[current[:-1], current[-1] + far] * scale})
    y = current > 0
    pipeline = TabularPipeline(model, "inference", {"device": "cpu"}).fit(X, y)
    told = [note.text for note in of(Note, pipeline) if "hardly sees 'current'" in note.text]
    assert bool(told) is named
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


def test_a_fit_shows_a_bar_when_asked(capsys):
    TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 1}).fit(*small_table())
    assert capsys.readouterr().err == ""
    TabularPipeline("tabicl-mini", "peft", FAST).fit(*small_table(), verbose=True)
    last = capsys.readouterr().err.rstrip().splitlines()[-1]
    assert all(part in last for part in ("6/6", "loss=", "best log_loss=")), last


def test_rows_to_predict_may_lack_columns_that_the_model_does_not_use(tmp_path):
    X, y = small_table()
    whole = X.assign(person=np.arange(len(X)) // 3, remark=[f"remark {i}" for i in range(len(X))])
    pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "split_by": "group", "split_column": "person"})
    with pytest.warns(TableWarning, match="The column 'remark' is left out"):
        pipeline.fit(whole, y)
    pipeline.save(tmp_path / "pipeline.zip")
    for one in (pipeline, TabularPipeline.load(tmp_path / "pipeline.zip")):
        expected = one.predict_proba(whole)
        for rows in (X[["noise", "size", "colour"]], polars.from_pandas(X), whole.astype(object).to_numpy()):
            np.testing.assert_array_equal(one.predict_proba(rows), expected)
        assert (one.n_features_in_, list(one.feature_names_in_)) == (5, list(whole))
        with pytest.raises(TableError, match="X lacks the columns 'size'"):
            one.predict(whole.drop(columns="size"))


def test_a_new_fit_forgets_earlier_names_and_lists_columns_that_no_model_reads():
    X, y = small_table()
    pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"})
    with pytest.warns(TableWarning, match="The column 'remark' is left out: its 90 different values"):
        pipeline.fit(X.assign(remark=[f"remark {i}" for i in range(len(X))]), y)
    with pytest.warns(
        TableWarning, match="90 cells of 'size', such as 'wide': read as missing, because the column holds"
    ):
        pipeline.predict(X.assign(size="wide", remark=""))
    pipeline.fit(X[["size", "noise"]].to_numpy(), y == "keep")
    assert not hasattr(pipeline, "feature_names_in_")
    assert pipeline.evaluate(X[["size", "noise"]].to_numpy(), y == "keep") == pipeline.evaluate(
        X[["size", "noise"]].to_numpy(), (y == "keep") * 1.0
    )


@pytest.mark.parametrize("merged", [{"split_at_median": True}, {"group_rare_classes": 9}])
def test_a_pipeline_of_a_run_takes_the_labels_of_its_table(tmp_path, merged):
    X, y = small_table()
    own = pd.Series(np.where(np.arange(90) % 15 == 0, np.array([*"pqrstu"])[np.arange(90) // 15], y))
    own = pd.Series(np.arange(90) + 50 * (y == "keep")) if "split_at_median" in merged else own
    of_run = RunSettings(dataset="-", target="y", strategy="inference", device="cpu", **merged)
    named = with_label(own.to_frame("y"), of_run)["y"]
    made = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X, named)
    pipeline = pipeline_of_run(made._base, of_run, {}, made._context, made._columns, made.history)
    pipeline.save(tmp_path / "p.zip")
    for one in (pipeline, TabularPipeline.load(tmp_path / "p.zip")):
        assert one.evaluate(X, own) == one.evaluate(X, named) == made.evaluate(X, named)
        assert one.score(X, own) == one.evaluate(X, own)["accuracy"] > 0.5
    with pytest.raises(LabelError, match="are not among the classes"):
        made.evaluate(X, own)
