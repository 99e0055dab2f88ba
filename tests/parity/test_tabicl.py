"""Do we agree with the ``tabicl`` package on the same checkpoint?"""

import numpy as np
import pandas as pd
import pytest
import torch
from tabicl import TabICLClassifier, TabICLRegressor
from tiny import adapted, tiny_checkpoint

from tabtune_core.data.task import make_context
from tabtune_core.lora.inject import merge
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.training.scoring import Scorer

ALONE = {
    "allow_auto_download": False,
    "device": "cpu",
    "n_estimators": 1,
    "norm_methods": "none",
    "feat_shuffle_method": "none",
}
"""One member of upstream's ensemble."""


TASKS = pytest.mark.parametrize("task", ["classification", "regression"])


def mixed_table(task, rows=90, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "count": rng.integers(0, 9, rows).astype(float),
            "constant": 1.0,
            "milliseconds": 1.7e12 + 1000 * rng.integers(0, 90, rows),
            "huge": 1e30 * rng.normal(size=rows),
        }
    )
    frame.loc[::7, "size"] = np.nan
    frame.loc[::11, "colour"] = np.nan  # with pandas 2, upstream treats None as a separate category
    signal = frame["count"] + (frame["milliseconds"] - 1.7e12) / 20_000
    return frame.assign(label=np.where(signal > 6, "yes", "no") if task == "classification" else 5000 + 300 * signal)


def ours(model, frame):
    kinds = {name: "category" if name == "colour" else "number" for name in frame}
    context = make_context(frame, frame["label"].to_numpy(dtype=object), np.arange(60), kinds, "label")
    normalise = model.fit_preprocessing(context.x_CF)
    scorer = Scorer(normalise(context.x_CF), context.y_C, 2 if model.task == "classification" else 0)
    return scaled(scorer.predict(model, normalise(context.encoder.transform(frame.iloc[60:]))), frame)


def scaled(predicted, frame):
    """Regression predictions in standard deviations, so that the tolerance for probabilities applies."""
    return predicted if predicted.ndim == 2 else predicted / frame["label"].std()


def theirs(path, frame, task, name="tabicl-v2"):
    version = CATALOGUE[name].weights_for(task).file
    x, y = frame.drop(columns="label"), frame["label"]
    if task == "regression":
        return scaled(
            TabICLRegressor(model_path=path, checkpoint_version=version, **ALONE).fit(x[:60], y[:60]).predict(x[60:]),
            frame,
        )
    upstream = TabICLClassifier(model_path=path, checkpoint_version=version, class_shuffle_method="none", **ALONE)
    return upstream.fit(x[:60], y[:60]).predict_proba(x[60:])


@pytest.mark.parametrize(
    ("name", "task"),
    [*((name, "classification") for name in ("tabicl-v1", "tabicl-v1.1", "tabicl-v2")), ("tabicl-v2", "regression")],
)
def test_zero_shot_equals_the_upstream_estimator_with_one_member(tmp_path, name, task):
    path, frame = tiny_checkpoint(tmp_path / "tiny.ckpt", name, task=task), mixed_table(task)
    predicted = ours(load_model(CATALOGUE[name], task, torch.device("cpu"), path), frame)
    assert predicted.std(axis=0).min() > 1e-3, "the rows must differ for a match to mean anything"
    np.testing.assert_allclose(predicted, theirs(path, frame, task, name), atol=1e-5)


def test_more_classes_than_the_model_has_are_predicted_as_upstream(tmp_path):
    path = tiny_checkpoint(tmp_path / "tiny.ckpt")
    rng = np.random.default_rng(0)
    x_NF, y_N = rng.normal(size=(120, 4)), np.arange(120) % 23
    model = load_model(CATALOGUE["tabicl-v2"], "classification", torch.device("cpu"), path)
    normalise = model.fit_preprocessing(x_NF[:92])
    probabilities = model.predict(normalise(x_NF[:92]), y_N[:92], normalise(x_NF[92:]), 23)
    upstream = TabICLClassifier(model_path=path, class_shuffle_method="none", **ALONE).fit(x_NF[:92], y_N[:92])
    assert probabilities.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(probabilities, upstream.predict_proba(x_NF[92:]), atol=1e-5)


@TASKS
def test_the_shipped_model_opens_in_the_upstream_package(task):
    card, frame = CATALOGUE["tabicl-mini"], mixed_table(task)
    path, _ = find_checkpoint(card, task)
    np.testing.assert_allclose(
        ours(load_model(card, task, torch.device("cpu")), frame), theirs(path, frame, task), atol=1e-5
    )


@TASKS
def test_a_merged_checkpoint_gives_upstream_the_adapted_predictions(tmp_path, task):
    frame = mixed_table(task)
    model = load_model(
        CATALOGUE["tabicl-v2"], task, torch.device("cpu"), tiny_checkpoint(tmp_path / "tiny.ckpt", task=task)
    )
    base = ours(model, frame)
    report = adapted(model)
    moved = ours(model, frame)
    merge(model.module, report)
    model.save(tmp_path / "merged.ckpt")
    assert np.abs(moved - base).max() > 1e-2
    np.testing.assert_allclose(theirs(tmp_path / "merged.ckpt", frame, task), moved, atol=1e-5)
