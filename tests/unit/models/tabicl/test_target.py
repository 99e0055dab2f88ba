"""How TabICL standardizes a numeric target."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from tabtune_core.models.tabicl.model import _scaler


@pytest.mark.parametrize("offset", [0.0, 5e6, 1e15])
def test_a_target_far_from_0_is_standardized(offset):
    y_N = offset + np.random.default_rng(0).normal(scale=13, size=300)
    assert _scaler(y_N).transform(y_N[:, None]).std() == pytest.approx(1, rel=1e-3)
    np.testing.assert_allclose(_scaler(y_N).inverse_transform([[0.0]]), y_N.mean())


@pytest.mark.parametrize("y_N", [np.full(9, 0.1), np.arange(9) * 1e-14, np.arange(9.0) - 4])
def test_usual_targets_are_standardized_as_scikit_learn_does(y_N):
    own, theirs = _scaler(y_N), StandardScaler().fit(y_N[:, None])
    assert (own.mean_, own.scale_) == (theirs.mean_, theirs.scale_)
