"""Do we agree with the ``tabdpt`` package on the same checkpoint?"""

import numpy as np
import pytest
import torch
from tabdpt import TabDPTClassifier, TabDPTRegressor
from tiny import adapted, tiny_checkpoint

from tabtune_core.lora.inject import merge
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.checkpoints import find_checkpoint

CARD = CATALOGUE["tabdpt-1.3"]
CASES = [  # the tiny checkpoint has 4 classes and 16 features
    pytest.param(5, 3, id="3 classes"),
    pytest.param(5, 7, id="7 classes: two digits"),
    pytest.param(5, 17, id="17 classes: three digits"),
    pytest.param(5, 0, id="numbers"),
    pytest.param(30, 3, id="3 classes of 30 features: PCA"),
    pytest.param(30, 0, id="numbers of 30 features: PCA"),
]


def table(features, classes, rows=120):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, features)) * np.logspace(-3, 6, features) + 100
    x[rng.random(x.shape) < 0.1] = np.nan
    y = np.arange(rows) % classes if classes else 5 + rng.normal(size=rows)
    return x[:80], y[:80], x[80:]


def open_tiny(tmp_path, classes):
    task = "classification" if classes else "regression"
    return load_model(CARD, task, torch.device("cpu"), tiny_checkpoint(tmp_path / "tiny.safetensors", CARD.name))


def ours(model, x_context, y_context, x_query, classes):
    normalise = model.fit_preprocessing(x_context)
    return model.predict(normalise(x_context), y_context, normalise(x_query), classes)


def theirs(path, x_context, y_context, x_query, classes):
    kind = TabDPTClassifier if classes else TabDPTRegressor
    upstream = kind(model_weight_path=path, device="cpu", use_flash=False, compile=False, verbose=False)
    torch.manual_seed(0)  # upstream's PCA starts from the global generator
    upstream.fit(x_context, y_context)
    return upstream.predict_proba(x_query) if classes else upstream.predict(x_query, n_ensembles=1)


@pytest.mark.parametrize(("features", "classes"), CASES)
def test_zero_shot_equals_the_upstream_estimator_with_one_member(tmp_path, features, classes):
    data = table(features, classes)
    predicted = ours(open_tiny(tmp_path, classes), *data, classes)
    assert predicted.std(axis=0).max() > 1e-2, "the rows must differ for a match to mean anything"
    np.testing.assert_allclose(predicted, theirs(tmp_path / "tiny.safetensors", *data, classes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("classes", [3, 0])
def test_the_shipped_model_opens_in_the_upstream_package(classes):
    task = "classification" if classes else "regression"
    path, _ = find_checkpoint(CATALOGUE["tabdpt-mini"], task)
    data, model = table(5, classes), load_model(CATALOGUE["tabdpt-mini"], task, torch.device("cpu"))
    np.testing.assert_allclose(ours(model, *data, classes), theirs(path, *data, classes), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("features", "classes"), CASES)
def test_a_merged_checkpoint_gives_upstream_the_adapted_predictions(tmp_path, features, classes):
    data = table(features, classes)
    model = open_tiny(tmp_path, classes)
    base = ours(model, *data, classes)
    report = adapted(model)
    moved = ours(model, *data, classes)
    merge(model.module, report)
    model.save(tmp_path / "merged.safetensors")
    assert np.abs(moved - base).max() > 1e-2
    np.testing.assert_allclose(theirs(tmp_path / "merged.safetensors", *data, classes), moved, atol=1e-5, rtol=0)
