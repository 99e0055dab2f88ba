"""The models of the package clearly beat chance on real tables, with half of the rows as context and one view."""

import itertools

import numpy as np
import pytest
import torch
from sklearn import datasets
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import needs

from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.training.scoring import Scorer


def real_tables():
    for load in (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer):
        yield load(return_X_y=True)
    x, y = datasets.load_diabetes(return_X_y=True)
    yield x, (y > np.median(y)).astype(int)


def predicted(name, task, x, y, x_query, classes):
    model = load_model(CATALOGUE[name], task, torch.device("cpu"))
    normalise = model.fit_preprocessing(x)
    return Scorer(normalise(x), y, classes).predict(model, normalise(x_query))


@pytest.mark.parametrize(
    ("name", "least"),
    [("tabicl-mini", 0.94), ("tabdpt-mini", 0.93), pytest.param("mitra-mini", 0.9, marks=pytest.mark.slow)],
)
def test_the_mean_roc_auc_over_four_real_tables_is_high(name, least):
    needs(name)
    areas = []
    for (x, y), seed in itertools.product(real_tables(), range(3)):
        x_context, x_query, y_context, y_query = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
        probabilities = predicted(name, "classification", x_context, y_context, x_query, y.max() + 1)
        areas.append(roc_auc_score(y_query, probabilities if y.max() > 1 else probabilities[:, 1], multi_class="ovr"))
    assert np.mean(areas) >= least


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini", pytest.param("mitra-mini", marks=pytest.mark.slow)])
def test_numbers_are_predicted_nearly_as_well_as_by_ridge(name):
    needs(name)
    x, y = datasets.load_diabetes(return_X_y=True)
    gaps = []
    for seed in range(3):
        x_context, x_query, y_context, y_query = train_test_split(x, y, test_size=0.5, random_state=seed)
        ridge = make_pipeline(StandardScaler(), Ridge()).fit(x_context, y_context).predict(x_query)
        own = predicted(name, "regression", x_context, y_context, x_query, 0)
        gaps.append(r2_score(y_query, own) - r2_score(y_query, ridge))
    assert np.mean(gaps) >= -0.08
