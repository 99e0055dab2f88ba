"""Do we agree with AutoGluon on the same Mitra checkpoint?"""

import numpy as np
import pytest
import torch
from tiny import adapted, tiny_checkpoint

from tabtune_core.lora.inject import merge
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.training.scoring import Scorer

pytest.importorskip("autogluon.tabular.models.mitra", reason="Mitra needs AutoGluon")

from autogluon.tabular.models.mitra._internal.config.enums import Task
from autogluon.tabular.models.mitra._internal.data.preprocessor import Preprocessor
from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D

CLASSIFIER, REGRESSOR, BINS = ("mitra-v1", "classification"), ("mitra-v1", "regression"), ("mitra-v2", "regression")
CASES = pytest.mark.parametrize("case", [CLASSIFIER, REGRESSOR, BINS], ids="-".join)


def table(task, rows=90, seed=0):
    """Context rows, their targets, and query rows, with missing numbers, a constant column and columns of very
    different scales.
    """
    rng = np.random.default_rng(seed)
    x = np.column_stack(
        [rng.normal(size=(rows, 2)), rng.integers(0, 4, rows), np.ones(rows), 1e30 * rng.normal(size=rows)]
    )
    x[::7, 0] = np.nan
    signal = np.nan_to_num(x[:, 0]) + x[:, 1]
    y = np.digitize(signal, [-0.7, 0.7]) if task == "classification" else 40 + 3 * signal
    return x[:60], y[:60], x[60:]


def open_tiny(path, case):
    name, task = case
    return load_model(CATALOGUE[name], task, torch.device("cpu"), tiny_checkpoint(path, name, task=task))


def ours(model, x_CF, y_C, x_QF):
    normalise = model.fit_preprocessing(x_CF)
    return Scorer(normalise(x_CF), y_C, 3 if model.task == "classification" else 0).predict(model, normalise(x_QF))


def the_module(path, x_CF, y_C, x_QF, task):
    """Runs ``Tab2D`` itself on AutoGluon's preprocessed arrays, and decodes as AutoGluon and mitra-finetune do."""
    module = Tab2D.from_pretrained(str(path), device="cpu").eval()
    steps = Preprocessor(
        dim_embedding=None,
        n_classes=10,
        dim_output=module.dim_output,
        use_quantile_transformer=False,
        use_feature_count_scaling=False,
        use_random_transforms=False,
        shuffle_classes=False,
        shuffle_features=False,
        random_mirror_regression=False,
        random_mirror_x=False,
        task=Task[task.upper()],
    ).fit(x_CF.copy(), y_C)
    arrays = steps.transform_X(x_CF.copy()), steps.transform_X(x_QF.copy()), steps.transform_y(y_C)
    context, query, shown = (torch.tensor(array)[None] for array in arrays)
    edges = torch.linspace(-0.5, 1.5, module.dim_output + 1)
    if task == "regression" and module.dim_output > 1:
        shown = torch.clamp(torch.bucketize(shown, edges) - 1, 0, module.dim_output - 1)
    masks = [torch.zeros(1, n, dtype=torch.bool) for n in (context.shape[2], context.shape[1], query.shape[1])]
    with torch.no_grad():
        output = module(context, shown, query, *masks)[0]
    if task == "classification":
        return torch.softmax(output[:, : len(np.unique(y_C))], dim=-1).numpy()
    if module.dim_output > 1:
        output = torch.softmax(output, dim=-1) @ (edges[:-1] + (edges[1] - edges[0]) / 2)
    return steps.inverse_transform_y(output.numpy())


def in_precision(base, precision):
    class Estimator(base):
        def _create_config(self, *args, **kwargs):
            config, module = super()._create_config(*args, **kwargs)
            config.hyperparams["precision"] = precision
            return config, module

    return Estimator


def autogluon(path, x_CF, y_C, x_QF, task, precision):
    from autogluon.tabular.models.mitra.sklearn_interface import MitraClassifier, MitraRegressor  # loads transformers

    classes = {"classification": MitraClassifier, "regression": MitraRegressor}
    estimator = in_precision(classes[task], precision)(
        hf_model=str(path),
        device="cpu",
        fine_tune=False,
        verbose=False,
        random_mirror_x=False,
        random_mirror_regression=False,
    )
    estimator.fit(x_CF.copy(), y_C, x_CF[:20].copy(), y_C[:20])
    return estimator.predict_proba(x_QF.copy()) if task == "classification" else estimator.predict(x_QF.copy())


@CASES
def test_predictions_equal_the_upstream_modules(tmp_path, case):
    arrays = table(case[1])
    predicted = ours(open_tiny(tmp_path / "tiny", case), *arrays)
    assert predicted.std(axis=0).min() > 1e-3, "the rows must differ for a match to mean anything"
    np.testing.assert_allclose(predicted, the_module(tmp_path / "tiny", *arrays, case[1]), atol=1e-5)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", {"atol": 1e-5, "rtol": 1e-6}), ("bfloat16", {"atol": 2e-2, "rtol": 5e-2})]
)
@pytest.mark.parametrize("case", [CLASSIFIER, REGRESSOR], ids="-".join)
def test_autogluons_estimators_agree_within_their_precision(tmp_path, case, precision, tolerance):
    arrays = table(case[1])
    predicted = ours(open_tiny(tmp_path / "tiny", case), *arrays)
    np.testing.assert_allclose(predicted, autogluon(tmp_path / "tiny", *arrays, case[1], precision), **tolerance)


@CASES
def test_a_merged_checkpoint_gives_upstream_the_adapted_predictions(tmp_path, case):
    arrays = table(case[1])
    model = open_tiny(tmp_path / "tiny", case)
    base = ours(model, *arrays)
    report = adapted(model)
    moved = ours(model, *arrays)
    merge(model.module, report)
    model.save(tmp_path / "merged")
    assert np.abs(moved - base).max() > 1e-2
    np.testing.assert_allclose(the_module(tmp_path / "merged", *arrays, case[1]), moved, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_shipped_model_opens_in_the_upstream_package(task):
    data = table(task)
    path, _ = find_checkpoint(CATALOGUE["mitra-mini"], task)
    predicted = ours(load_model(CATALOGUE["mitra-mini"], task, torch.device("cpu")), *data)
    np.testing.assert_allclose(predicted, the_module(path.parent, *data, task), atol=1e-5, rtol=1e-6)
