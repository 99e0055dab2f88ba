"""Do we agree with the ``tabicl`` package on the same checkpoint?"""

import numpy as np
import pandas as pd
import pytest
import torch
from tabicl import TabICLClassifier, TabICLRegressor
from tiny import tiny_checkpoint

from tabtune_core.data.task import make_context
from tabtune_core.lora.inject import adapter_factors, inject, merge
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.training.scoring import Scorer


def mixed_table(rows=90, seed=0):
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
    frame.loc[::11, "colour"] = np.nan  # with pandas 2, upstream takes None for a category of its own
    frame["label"] = np.where(frame["count"] + (frame["milliseconds"] - 1.7e12) / 20_000 > 6, "yes", "no")
    return frame, {
        "size": "number",
        "colour": "category",
        "count": "number",
        "constant": "number",
        "milliseconds": "number",
        "huge": "number",
        "label": "category",
    }


def ours(model, frame, kinds):
    context = make_context(frame, frame["label"].to_numpy(dtype=object), np.arange(60), kinds, "label")
    normalise = model.fit_preprocessing(context.x_CF)
    scorer = Scorer(normalise(context.x_CF), context.y_C, 2)
    return scorer.predict(model, normalise(context.encoder.transform(frame.iloc[60:])))


def theirs(path, name, frame):
    upstream = TabICLClassifier(
        model_path=path,
        allow_auto_download=False,
        checkpoint_version=CATALOGUE[name].weights_for("classification").file
        if name != "tabicl-mini"
        else CATALOGUE["tabicl-v2"].weights_for("classification").file,
        device="cpu",
        n_estimators=1,
        norm_methods="none",
        feat_shuffle_method="none",
        class_shuffle_method="none",
    )
    features = frame.drop(columns="label")
    return upstream.fit(features.iloc[:60], frame["label"].iloc[:60]).predict_proba(features.iloc[60:])


@pytest.mark.parametrize("name", ["tabicl-v1", "tabicl-v1.1", "tabicl-v2"])
def test_zero_shot_equals_the_upstream_classifier_with_one_member(tmp_path, name):
    path = tiny_checkpoint(tmp_path / "tiny.ckpt", name)
    frame, kinds = mixed_table()
    probabilities = ours(load_model(CATALOGUE[name], "classification", torch.device("cpu"), path), frame, kinds)
    assert probabilities.std(axis=0).min() > 1e-3, "the rows must differ for a match to mean anything"
    np.testing.assert_allclose(probabilities, theirs(path, name, frame), atol=1e-5)


def test_more_classes_than_the_model_has_are_told_apart_as_upstream_does(tmp_path):
    path = tiny_checkpoint(tmp_path / "tiny.ckpt")
    rng = np.random.default_rng(0)
    x_NF, y_N = rng.normal(size=(120, 4)), np.arange(120) % 23
    model = load_model(CATALOGUE["tabicl-v2"], "classification", torch.device("cpu"), path)
    normalise = model.fit_preprocessing(x_NF[:92])
    probabilities = model.predict(normalise(x_NF[:92]), y_N[:92], normalise(x_NF[92:]), 23)
    upstream = TabICLClassifier(
        model_path=path,
        allow_auto_download=False,
        device="cpu",
        n_estimators=1,
        norm_methods="none",
        feat_shuffle_method="none",
        class_shuffle_method="none",
    ).fit(x_NF[:92], y_N[:92])
    assert probabilities.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(probabilities, upstream.predict_proba(x_NF[92:]), atol=1e-5)


def test_the_regressor_in_the_box_opens_in_the_upstream_package():
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(90, 4))
    y_N = 5000 + 300 * x_NF[:, 1] + 10 * rng.normal(size=90)
    path, _ = find_checkpoint(CATALOGUE["tabicl-mini"], "regression")
    model = load_model(CATALOGUE["tabicl-mini"], "regression", torch.device("cpu"))
    normalise = model.fit_preprocessing(x_NF[:60])
    predicted = model.predict(normalise(x_NF[:60]), y_N[:60], normalise(x_NF[60:]), 0)
    upstream = TabICLRegressor(
        model_path=path, allow_auto_download=False, device="cpu", n_estimators=1, norm_methods="none", feat_shuffle_method="none"
    ).fit(x_NF[:60], y_N[:60])
    np.testing.assert_allclose(predicted / y_N.std(), upstream.predict(x_NF[60:]) / y_N.std(), atol=1e-5)


def numbers(path, *, adapted):
    """Our predictions of a regressor and upstream's of the same weights; ``adapted``: of merged weights."""
    rng = np.random.default_rng(0)
    x_NF, card = rng.normal(size=(90, 4)), CATALOGUE["tabicl-v2"]
    x_NF[::7, 0] = np.nan
    y_N = 5000 + 300 * x_NF[:, 1] + 10 * rng.normal(size=90)
    model = load_model(card, "regression", torch.device("cpu"), tiny_checkpoint(path, task="regression"))
    family = card.family
    report = inject(
        model.module,
        rank=4,
        alpha=8,
        dropout=0.1,
        targets=family.targets,
        groups=family.groups["regression"],
        passed_over=family.passed_over,
    )
    for _, b in adapter_factors(model.module, report).values():
        torch.nn.init.normal_(b, std=0.1 * adapted, generator=torch.Generator().manual_seed(1))
    normalise = model.fit_preprocessing(x_NF[:60])
    predicted = model.predict(normalise(x_NF[:60]), y_N[:60], normalise(x_NF[60:]), 0)
    merge(model.module, report)
    model.save(path)
    upstream = TabICLRegressor(
        model_path=path, allow_auto_download=False, device="cpu", n_estimators=1, norm_methods="none", feat_shuffle_method="none"
    ).fit(x_NF[:60], y_N[:60])
    return predicted, upstream.predict(x_NF[60:]), y_N[:60].std()


def test_numbers_equal_those_of_the_upstream_regressor_zero_shot_and_merged(tmp_path):
    (plain, upstreams, scale), (adapted, merged, _) = numbers(tmp_path / "a", adapted=False), numbers(tmp_path / "b", adapted=True)
    assert plain.std() > 1e-3 * scale
    assert np.abs(adapted - plain).max() > 1e-2 * scale
    np.testing.assert_allclose(plain / scale, upstreams / scale, atol=1e-5)
    np.testing.assert_allclose(adapted / scale, merged / scale, atol=1e-5)


def test_the_model_in_the_box_opens_in_the_upstream_package():
    frame, kinds = mixed_table()
    model = load_model(CATALOGUE["tabicl-mini"], "classification", torch.device("cpu"))
    path, _ = find_checkpoint(CATALOGUE["tabicl-mini"], "classification")
    np.testing.assert_allclose(ours(model, frame, kinds), theirs(path, "tabicl-mini", frame), atol=1e-5)


def test_a_merged_checkpoint_gives_upstream_the_adapted_predictions(tmp_path):
    card = CATALOGUE["tabicl-v2"]
    frame, kinds = mixed_table()
    model = load_model(card, "classification", torch.device("cpu"), tiny_checkpoint(tmp_path / "tiny.ckpt"))
    base = ours(model, frame, kinds)
    report = inject(
        model.module,
        rank=4,
        alpha=8,
        dropout=0.1,
        targets=card.family.targets,
        groups=card.family.groups["classification"],
        passed_over=card.family.passed_over,
    )
    for _, b in adapter_factors(model.module, report).values():
        torch.nn.init.normal_(b, std=0.1, generator=torch.Generator().manual_seed(1))
    adapted = ours(model, frame, kinds)
    merge(model.module, report)
    model.save(tmp_path / "merged.ckpt")
    assert np.abs(adapted - base).max() > 1e-2
    np.testing.assert_allclose(theirs(tmp_path / "merged.ckpt", "tabicl-v2", frame), adapted, atol=1e-5)
