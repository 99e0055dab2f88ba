"""scikit-learn's own checks of an estimator, on a pipeline."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

from tabtune_core import TabularPipeline

EXCEPTIONS = {
    "check_supervised_y_2d": "a column of labels is taken without a warning",
    "check_methods_subset_invariance": "float32 sums differ by 1e-7 with the number of rows at once",
}


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_pass_but_for_the_exceptions_named_here():
    results = check_estimator(TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}), on_fail=None, on_skip=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert len(results) > 40
    assert failed <= EXCEPTIONS.keys()
