"""Mitra: how the module treats a table, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.errors import CheckpointError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE

CPU = torch.device("cpu")
SMALL = ("mitra-v1", "classification")


def open_tiny(folder, case):
    name, task = case
    return load_model(CATALOGUE[name], task, CPU, tiny_checkpoint(folder / "tiny", name, task=task))


def arrays(task, rows=50, seed=0):
    """Preprocessed rows with targets, and the number of classes; the first 30 rows are the context."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    y = np.digitize(x[:, 0], [-0.5, 0.5]) if task == "classification" else 7 + 2 * x[:, 0].astype(float)
    return x, y, 3 if task == "classification" else 0


def episode(task):
    x, y, classes = arrays(task)
    y_T = torch.from_numpy(y if classes else y.astype(np.float32))[None]
    return torch.from_numpy(x)[None], y_T[:, :30], y_T[:, 30:], classes


def predict(model):
    x, y, classes = arrays(model.task)
    return model.predict(x[:30], y[:30], x[30:], classes)


def test_the_loss_is_the_cross_entropy_of_the_predicted_probabilities(tmp_path):
    model = open_tiny(tmp_path, SMALL)
    x, y_C, y_Q, classes = episode("classification")
    y_Q[0, :5] = -1  # a class missing from the context is not scored
    expected = -np.log(predict(model)[np.arange(5, 20), y_Q[0, 5:]]).mean()
    assert model.loss(x, y_C, y_Q, classes).item() == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_the_squared_error_of_the_predicted_numbers_in_ranges_of_the_context(tmp_path):
    model = open_tiny(tmp_path, ("mitra-v1", "regression"))
    _, y, _ = arrays("regression")
    expected = np.mean(((predict(model) - y[30:]) / np.ptp(y[:30])) ** 2)
    assert model.loss(*episode("regression")).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["mitra-v1", "mitra-v2"])
def test_a_context_with_a_single_target_value_predicts_it(tmp_path, name):
    model = open_tiny(tmp_path, (name, "regression"))
    x, y, _ = arrays("regression")
    np.testing.assert_array_equal(model.predict(x[:30], np.full(30, 5.5), x[30:], 0), np.full(20, 5.5))
    x_T, y_C, y_Q, _ = episode("regression")
    assert torch.isfinite(model.loss(x_T, torch.full_like(y_C, 5.5), y_Q, 0))


def test_preprocessing_is_learnt_from_the_context_and_does_not_change_the_callers_rows(tmp_path):
    context = np.array([[1.0, 5.0, 1.7e12, np.nan], [3.0, 5.0, 1.7e12 + 1, np.nan], [np.nan, 5.0, 1.7e12 + 2, np.nan]])
    copy = context.copy()
    transform = open_tiny(tmp_path, SMALL).fit_preprocessing(context)
    np.testing.assert_array_equal(transform(context), [[-1, -1], [1, 0], [0, 1]])
    np.testing.assert_array_equal(transform(np.array([[np.nan, 6.0, 1.7e12 + 9, 4.0]])), [[0, 8]])
    np.testing.assert_array_equal(context, copy)


def _without_config(folder):
    (folder / "config.json").unlink()


def _deeper(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_layers": 3}))


def _of_numbers(folder):
    shutil.rmtree(folder)
    tiny_checkpoint(folder, "mitra-v1", task="regression")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_config, "config.json is missing or does not describe a Mitra model"),
        (
            _deeper,
            "model.safetensors does not fit the installed autogluon.tabular package: the tensor .* is missing in the "
            "file",
        ),
        (_of_numbers, "holds a model for regression, and the task is classification. Name a checkpoint for class"),
    ],
)
def test_a_folder_that_is_not_a_checkpoint_of_the_task_is_refused(tmp_path, change, message):
    open_tiny(tmp_path, SMALL)
    change(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match=message):
        load_model(CATALOGUE["mitra-v1"], "classification", CPU, tmp_path / "tiny")
