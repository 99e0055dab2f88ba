"""The scores agree with scikit-learn's, on random predictions with ties and with classes that nobody predicts."""

import numpy as np
import pytest
from sklearn import metrics as sk

from tabtune_core.metrics import METRICS

REFERENCES = {
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=np.arange(p.shape[1])),
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(axis=1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(axis=1)),
    "f1_weighted": lambda y, p: sk.f1_score(y, p.argmax(axis=1), average="weighted", zero_division=0),
    "roc_auc": lambda y, p: sk.roc_auc_score(y, p[:, 1] if p.shape[1] == 2 else p, multi_class="ovr"),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p.argmax(axis=1)),
}


def predictions(classes, rows=60):
    rng = np.random.default_rng(classes)
    p_NK = (rng.dirichlet(np.ones(classes), rows) * [*[1] * (classes - 1), 0.01]).round(2) + 1e-3
    return rng.permutation(np.arange(rows) % classes), p_NK / p_NK.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_score_is_scikit_learns(name, classes):
    y_N, p_NK = predictions(classes)
    assert METRICS[name].function(y_N, p_NK) == pytest.approx(REFERENCES[name](y_N, p_NK), abs=1e-12)


def test_a_class_that_is_nowhere_does_not_count():
    y_N, p_NK = np.array([0, 0, 0, 1]), np.tile([0.9, 0.1, 0.0], (4, 1))
    assert METRICS["f1_weighted"].function(y_N, p_NK) == pytest.approx(REFERENCES["f1_weighted"](y_N, p_NK))
