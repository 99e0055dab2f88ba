"""Groups of runs that are drawn as one line."""

import numpy as np
import pandas as pd

from tabtune_core.analysis.run_curves import BINS, group_means


def frame(**columns):
    rows = pd.DataFrame(columns)
    return rows.assign(run=pd.Categorical(rows["run"], categories=["b", "a", "never"]))


def test_a_group_has_its_mean_minimum_and_maximum_at_each_step():
    rows = frame(run=["a", "a", "a", "b"], step=[1, 1, 2, 1], seconds=[1.0, 3.0, 5.0, 7.0], loss=[0.2, 0.6, 0.5, 9.0])
    means = group_means(rows, "step")
    assert means["run"].tolist() == ["b", "a", "a"]
    assert means[["step", "seconds"]].to_numpy().tolist() == [[1, 7], [1, 2], [2, 5]]
    np.testing.assert_allclose(means[["loss_low", "loss", "loss_high"]], [[9, 9, 9], [0.2, 0.4, 0.6], [0.5, 0.5, 0.5]])
    assert list(means["run"].cat.categories) == ["b", "a", "never"]


def test_a_non_finite_loss_leaves_a_gap():
    means = group_means(frame(run=["a", "a"], step=[1, 1], loss=[np.inf, 1.0]), "step")
    assert means["loss"].isna().all()


def test_samples_at_different_seconds_are_averaged_in_equal_intervals():
    seconds = np.concatenate([np.arange(0, 100, 0.1), np.arange(0.05, 100, 0.1)])
    rows = frame(run="a", seconds=seconds, resident_bytes=np.repeat([2e6, 4e6], 1000))
    means = group_means(rows.assign(run=pd.Categorical(rows["run"])), "seconds")
    assert len(means) == BINS + 1
    np.testing.assert_allclose(means["resident_bytes"][1:-1], 3e6, rtol=0.2)
    assert means["seconds"].is_monotonic_increasing
