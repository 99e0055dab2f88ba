"""scikit-learn's own checks of an estimator, on pipelines of both tasks."""

import pytest
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import estimator_checks
from tiny import tiny_checkpoint

from tabtune_core import TabularPipeline

WEIGHTED = [
    *("check_all_zero_sample_weights_error", "check_sample_weights_list", "check_sample_weights_not_an_array"),
    *("check_sample_weights_not_overwritten", "check_sample_weights_pandas_series", "check_sample_weights_shape"),
]
EXCEPTIONS = {
    "check_supervised_y_2d": "a column of labels is accepted without a warning",
    "check_methods_subset_invariance": "float32 sums differ by 1e-7 with the number of rows at once",
    "check_methods_sample_order_invariance": "on some processors they also differ with the position of a row",
    "check_classifiers_train": "needs skill, which random weights lack; the mini model has it, see below",
    "check_regressors_train": "the same",
    **dict.fromkeys(WEIGHTED, "zero-shot trains nothing, so weights are refused; with LoRA they pass, see below"),
    "check_classifiers_one_label_sample_weights": "the same: rows of weight 0 remain context rows",
    "check_sample_weight_equivalence_on_dense_data": "weights act on the loss; a repeated row is also a repeated "
    "context row",
}


def pipeline(tmp_path, task, strategy="inference", **params):
    checkpoint = tiny_checkpoint(tmp_path / "tiny.ckpt", "tabicl-v2", task=task)
    return TabularPipeline("tabicl-v2", strategy, {"device": "cpu", "checkpoint": str(checkpoint), **params}, task=task)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_scikit_learns_checks_pass_except_for_those_named_here(tmp_path, task):
    results = estimator_checks.check_estimator(pipeline(tmp_path, task), on_fail=None, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert len(results) > 40
    assert failed <= EXCEPTIONS.keys()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("check", WEIGHTED)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_weight_checks_pass_for_strategies_that_train(tmp_path, task, check):
    getattr(estimator_checks, check)("TabularPipeline", pipeline(tmp_path, task, "peft", steps=1))


@pytest.mark.filterwarnings("ignore")
def test_the_mini_model_has_the_skill_that_a_classifier_must_have():
    estimator_checks.check_classifiers_train("Pipeline", TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_pipeline_is_the_estimator_of_its_task(tmp_path, task):
    one = pipeline(tmp_path, task)
    assert (is_classifier(one), is_regressor(one)) == (task == "classification", task == "regression")
    assert hasattr(one, "predict_proba") == (task == "classification")
