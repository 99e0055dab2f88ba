"""Do the models agree with their upstream packages on the same checkpoint, as it is and with an adapter merged?"""

import dataclasses
import socket
import webbrowser

import numpy as np
import pytest
import torch
from tiny import adapted, needs, tiny_checkpoint

from tabtune_core.lora.inject import merge
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.checkpoints import find_checkpoint
from tabtune_core.models.tabpfn.family import PLAIN
from tabtune_core.training.scoring import Scorer

CPU = torch.device("cpu")
NEAR = {"atol": 1e-5, "rtol": 1e-5}
CASES = (  # TabDPT's tiny checkpoint has 4 classes, which more are predicted with as digits, and 16 features
    *(("tabicl-v1", 5, 2), ("tabicl-v1.1", 5, 2), ("tabicl-v2", 5, 3), ("tabicl-v2", 5, 23), ("tabicl-v2", 5, 0)),
    *(("tabdpt-1.3", 5, 3), ("tabdpt-1.3", 5, 17), ("tabdpt-1.3", 5, 0), ("tabdpt-1.3", 30, 7), ("tabdpt-1.3", 30, 0)),
    *(("mitra-v1", 5, 3), ("mitra-v1", 5, 0), ("mitra-v2", 5, 0)),
    *((name, 5, classes) for name in ("tabpfn-v2", "tabpfn-v2.5", "tabpfn-v2.6") for classes in (3, 0)),
)


@pytest.fixture(autouse=True)
def _no_way_out(monkeypatch):
    """TabPFN's package would ask for a licence in a browser and count what it does."""

    def refuse(*_, **__):
        raise AssertionError("something was sent, looked up or opened")

    for owner, name in ((socket, "create_connection"), (socket, "getaddrinfo"), (webbrowser, "open")):
        monkeypatch.setattr(owner, name, refuse)


def table(name, features, classes, rows=150):
    """Context rows, targets and query rows, with gaps, few values, a constant, and columns of very different scales."""
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(rows, features)) * np.logspace(-3, 6, features)
    x_NF += 0 if name.startswith("mitra") else 100  # its package loses the order of nearly equal numbers
    x_NF[rng.random(x_NF.shape) < 0.1] = np.nan
    x_NF[:, 1], x_NF[:, 2], x_NF[3, 0] = rng.integers(0, 4, rows), 1.0, 130.0
    signal_N = x_NF[:, 1] + 0.3 * rng.normal(size=rows)
    y_N = np.argsort(np.argsort(signal_N)) * classes // rows if classes else 40 + 3 * signal_N
    return x_NF[:110], y_N[:110], x_NF[110:]


def of_tabicl(path, x_CF, y_C, x_QF, name):
    from tabicl import TabICLClassifier, TabICLRegressor

    numbers = y_C.dtype.kind == "f"
    alone = {"n_estimators": 1, "norm_methods": "none", "feat_shuffle_method": "none", "allow_auto_download": False}
    alone |= {"checkpoint_version": CATALOGUE[name].weights_for("regression" if numbers else "classification").file}
    if numbers:
        return TabICLRegressor(model_path=path, device="cpu", **alone).fit(x_CF, y_C).predict(x_QF)
    upstream = TabICLClassifier(model_path=path, device="cpu", class_shuffle_method="none", **alone)
    return upstream.fit(x_CF, y_C).predict_proba(x_QF)


def of_tabdpt(path, x_CF, y_C, x_QF, name):
    from tabdpt import TabDPTClassifier, TabDPTRegressor

    kind = TabDPTRegressor if y_C.dtype.kind == "f" else TabDPTClassifier
    upstream = kind(model_weight_path=path, device="cpu", use_flash=False, compile=False, verbose=False)
    torch.manual_seed(0)  # upstream's PCA starts from the global generator
    upstream.fit(x_CF, y_C)
    return upstream.predict(x_QF, n_ensembles=1) if y_C.dtype.kind == "f" else upstream.predict_proba(x_QF)


def of_mitra(path, x_CF, y_C, x_QF, name):
    """Runs ``Tab2D`` itself on AutoGluon's preprocessed arrays, and decodes as AutoGluon and mitra-finetune do."""
    from autogluon.tabular.models.mitra._internal.config.enums import Task
    from autogluon.tabular.models.mitra._internal.data.preprocessor import Preprocessor
    from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D

    task = Task.REGRESSION if y_C.dtype.kind == "f" else Task.CLASSIFICATION
    module = Tab2D.from_pretrained(str(path if path.is_dir() else path.parent), device="cpu").eval()
    off = ("use_quantile_transformer", "use_feature_count_scaling", "use_random_transforms", "shuffle_classes")
    off += ("shuffle_features", "random_mirror_regression", "random_mirror_x")
    shape = {"dim_embedding": None, "n_classes": 10, "dim_output": module.dim_output}
    steps = Preprocessor(task=task, **shape, **dict.fromkeys(off, False)).fit(x_CF.copy(), y_C)
    arrays = steps.transform_X(x_CF.copy()), steps.transform_X(x_QF.copy()), steps.transform_y(y_C)
    context, query, shown = (torch.tensor(array)[None] for array in arrays)
    edges = torch.linspace(-0.5, 1.5, module.dim_output + 1)
    bins = task is Task.REGRESSION and module.dim_output > 1
    if bins:
        shown = torch.clamp(torch.bucketize(shown, edges) - 1, 0, module.dim_output - 1)
    masks = [torch.zeros(1, n, dtype=torch.bool) for n in (context.shape[2], context.shape[1], query.shape[1])]
    with torch.no_grad():
        output = module(context, shown, query, *masks)[0]
    if task is Task.CLASSIFICATION:
        return torch.softmax(output[:, : len(np.unique(y_C))], dim=-1).numpy()
    output = torch.softmax(output, dim=-1) @ (edges[:-1] + (edges[1] - edges[0]) / 2) if bins else output
    return steps.inverse_transform_y(output.numpy())


def of_tabpfn(path, x_CF, y_C, x_QF, name):
    """Their own estimator with one member and the preprocessing steps that the snippet of an export names."""
    from tabpfn import TabPFNClassifier, TabPFNRegressor
    from tabpfn.preprocessing import PreprocessorConfig

    numbers, plain = y_C.dtype.kind == "f", eval(PLAIN, {"PreprocessorConfig": PreprocessorConfig})
    how = {"n_estimators": 1, "inference_precision": torch.float32, "inference_config": plain}
    estimator = (TabPFNRegressor if numbers else TabPFNClassifier)(model_path=str(path), device="cpu", **how)
    estimator.fit(x_CF, y_C)
    return estimator.predict(x_QF) if numbers else estimator.predict_proba(x_QF)


UPSTREAM = {"TabICL": of_tabicl, "TabDPT": of_tabdpt, "Mitra": of_mitra, "TabPFN": of_tabpfn}


def of_upstream(path, name, data):
    return UPSTREAM[CATALOGUE[name].family.name](path, *data, name)


def ours(model, data, classes):
    x_CF, y_C, x_QF = data
    normalise = model.fit_preprocessing(x_CF)
    return Scorer(normalise(x_CF), y_C, classes).predict(model, normalise(x_QF))


def opened(path, name, classes):
    needs(name)
    task = "classification" if classes else "regression"
    tiny_checkpoint(path, name, task=task)
    if name == "tabpfn-v2.6":  # its files say how their estimators read a table, here unlike the package's defaults
        from tabpfn.constants import ModelVersion
        from tabpfn.inference_config import InferenceConfig

        usual = InferenceConfig.get_default("multiclass" if classes else task, ModelVersion.V2_5)
        own = {**dataclasses.asdict(usual), "SOFTMAX_TEMPERATURE": 0.5, "OUTLIER_REMOVAL_STD": 2.5}
        torch.save({**torch.load(path), "inference_config": own}, path)
    return load_model(CATALOGUE[name], task, CPU, path)


@pytest.mark.parametrize(("name", "features", "classes"), CASES)
def test_predictions_equal_the_upstream_packages_also_with_an_adapter_merged(tmp_path, name, features, classes):
    data, model = table(name, features, classes), opened(tmp_path / "tiny", name, classes)
    base = ours(model, data, classes)
    assert base.std(axis=0).max() > 1e-3, "the rows must differ for a match to mean anything"
    np.testing.assert_allclose(of_upstream(tmp_path / "tiny", name, data), base, **NEAR)
    report = adapted(model)
    moved = ours(model, data, classes)
    assert np.abs(moved - base).max() > 1e-2
    merge(model.module, report)
    model.save(tmp_path / "merged")
    np.testing.assert_allclose(of_upstream(tmp_path / "merged", name, data), moved, **NEAR)


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini", "mitra-mini"])
@pytest.mark.parametrize("classes", [3, 0])
def test_the_shipped_model_opens_in_the_upstream_package(name, classes):
    task, data = "classification" if classes else "regression", table(name, 5, classes)
    needs(name)
    path, _ = find_checkpoint(CATALOGUE[name], task)
    predicted = ours(load_model(CATALOGUE[name], task, CPU), data, classes)
    upstreams = of_upstream(path, "tabicl-v2" if name == "tabicl-mini" else name, data)
    np.testing.assert_allclose(predicted, upstreams, **NEAR)


def test_categories_are_read_as_tabicls_own_estimator_reads_them(tmp_path):
    import pandas as pd
    from tabicl import TabICLClassifier

    from tabtune_core.data.task import make_context

    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=90), "colour": rng.choice(["red", "green", "blue"], 90)})
    frame.loc[::11, "colour"] = np.nan  # with pandas 2, upstream treats None as a separate category
    frame["label"] = np.where(frame["size"] + (frame["colour"] == "red") > 0.3, "yes", "no")
    kinds = {"size": "number", "colour": "category", "label": "category"}
    context = make_context(frame, frame["label"].to_numpy(dtype=object), np.arange(60), kinds, "label")
    model = opened(tmp_path / "tiny", "tabicl-v2", 2)
    own = ours(model, (context.x_CF, context.y_C, context.encoder.transform(frame.iloc[60:])), 2)
    alone = {"n_estimators": 1, "norm_methods": "none", "feat_shuffle_method": "none", "class_shuffle_method": "none"}
    upstream = TabICLClassifier(model_path=tmp_path / "tiny", allow_auto_download=False, device="cpu", **alone)
    x, y = frame.drop(columns="label"), frame["label"]
    np.testing.assert_allclose(upstream.fit(x[:60], y[:60]).predict_proba(x[60:]), own, **NEAR)
