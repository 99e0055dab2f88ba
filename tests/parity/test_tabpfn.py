"""Do we agree with the ``tabpfn`` package on the same checkpoint, and does nothing leave the machine?"""

import dataclasses
import socket
import webbrowser

import numpy as np
import pytest
import torch
from tiny import adapted, tiny_checkpoint

from tabtune_core.lora.inject import merge
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.tabpfn.export import PLAIN
from tabtune_core.training.scoring import Scorer

pytest.importorskip("tabpfn", reason="TabPFN needs its package")

from tabpfn import TabPFNClassifier, TabPFNRegressor
from tabpfn.constants import ModelVersion
from tabpfn.inference_config import InferenceConfig
from tabpfn.preprocessing import PreprocessorConfig

CPU = torch.device("cpu")
TASKS = pytest.mark.parametrize("task", ["classification", "regression"])
MODELS = pytest.mark.parametrize("name", ["tabpfn-v2", "tabpfn-v2.5", "tabpfn-v2.6"])


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("something was sent, looked up or opened")

    for owner, name in ((socket, "create_connection"), (socket, "getaddrinfo"), (webbrowser, "open")):
        monkeypatch.setattr(owner, name, refuse)
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)


def table(task, rows=90, seed=0):
    """Context rows, targets and query rows, with missing numbers, a constant column, an outlier and columns of very
    different scales.
    """
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [rng.normal(size=(rows, 3)), rng.integers(0, 4, rows), np.ones(rows), 1e12 * rng.normal(size=rows)]
    )
    x[::7, 0], x[3, 1], x[-2, 1] = np.nan, 30.0, -700.0
    signal = np.nan_to_num(x[:, 0]) + x[:, 2]
    y = np.digitize(signal, [-0.7, 0.7]) if task == "classification" else 40 + 3 * signal
    return x[:60], y[:60], x[60:]


def open_tiny(path, name, task):
    """Files of v2.6 say how their estimators read a table; these differ from the package's defaults."""
    tiny_checkpoint(path, name, task=task)
    if name == "tabpfn-v2.6":
        kind = "multiclass" if task == "classification" else task
        said = dataclasses.asdict(InferenceConfig.get_default(kind, ModelVersion.V2_5))
        torch.save(
            {**torch.load(path), "inference_config": {**said, "SOFTMAX_TEMPERATURE": 0.5, "OUTLIER_REMOVAL_STD": 2.5}},
            path,
        )
    return load_model(CATALOGUE[name], task, CPU, path)


def ours(model, x_CF, y_C, x_QF):
    normalise = model.fit_preprocessing(x_CF)
    return Scorer(normalise(x_CF), y_C, 3 if model.task == "classification" else 0).predict(model, normalise(x_QF))


def theirs(path, x_CF, y_C, x_QF, task):
    """Their own estimator with one member and the preprocessing steps that the snippet of an export names."""
    kind = {"classification": TabPFNClassifier, "regression": TabPFNRegressor}[task]
    estimator = kind(
        model_path=str(path),
        device="cpu",
        n_estimators=1,
        inference_precision=torch.float32,
        inference_config=eval(PLAIN, {"PreprocessorConfig": PreprocessorConfig}),
    )
    estimator.fit(x_CF, y_C)
    return estimator.predict_proba(x_QF) if task == "classification" else estimator.predict(x_QF)


@MODELS
@TASKS
def test_predictions_equal_the_upstream_estimators(tmp_path, name, task):
    arrays = table(task)
    predicted = ours(open_tiny(tmp_path / "tiny.ckpt", name, task), *arrays)
    assert predicted.std(axis=0).min() > 1e-3, "the rows must differ for a match to mean anything"
    np.testing.assert_allclose(predicted, theirs(tmp_path / "tiny.ckpt", *arrays, task), atol=1e-5, rtol=1e-5)


@MODELS
@TASKS
def test_a_merged_checkpoint_gives_upstream_the_adapted_predictions(tmp_path, name, task):
    arrays = table(task)
    model = open_tiny(tmp_path / "tiny.ckpt", name, task)
    base = ours(model, *arrays)
    report = adapted(model)
    moved = ours(model, *arrays)
    merge(model.module, report)
    model.save(tmp_path / "merged.ckpt")
    assert np.abs(moved - base).max() > 1e-2
    np.testing.assert_allclose(theirs(tmp_path / "merged.ckpt", *arrays, task), moved, atol=1e-5, rtol=1e-5)
