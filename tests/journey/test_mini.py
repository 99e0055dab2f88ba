"""The model in the box beats chance clearly on real tables: half of their rows as context, one view, mean of ten splits."""

import itertools

import numpy as np
import torch
from sklearn import datasets
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from tabtune_core.models.adapter import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.training.scoring import Scorer


def real_tables():
    for load in (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer):
        yield load(return_X_y=True)
    x, y = datasets.load_diabetes(return_X_y=True)
    yield x, (y > np.median(y)).astype(int)


def test_mean_roc_auc_over_four_real_tables():
    model = load_model(CATALOGUE["tabicl-mini"], "classification", torch.device("cpu"))
    areas = []
    for (x, y), seed in itertools.product(real_tables(), range(10)):
        x_context, x_query, y_context, y_query = train_test_split(x, y, test_size=0.5, random_state=seed, stratify=y)
        normalise = model.fit_preprocessing(x_context)
        probabilities = Scorer(normalise(x_context), y_context, y.max() + 1).predict(model, normalise(x_query))
        areas.append(roc_auc_score(y_query, probabilities if y.max() > 1 else probabilities[:, 1], multi_class="ovr"))
    assert np.mean(areas) >= 0.94
