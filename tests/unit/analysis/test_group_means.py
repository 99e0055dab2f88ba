"""Runs that are drawn as one line."""

import numpy as np
import pandas as pd
import pytest

from tabtune_core.analysis.run_curves import BINS, group_means


def frame(**columns):
    rows = pd.DataFrame(columns)
    return rows.assign(run=pd.Categorical(rows["run"], categories=["b", "a", "never"]))


def test_a_group_is_its_mean_at_each_step_between_its_lowest_and_highest_run():
    rows = frame(run=["a", "a", "a", "b"], step=[1, 1, 2, 1], seconds=[1.0, 3.0, 5.0, 7.0], loss=[0.2, 0.6, 0.5, 9.0])
    means = group_means(rows, "step")
    assert means["run"].tolist() == ["b", "a", "a"]
    assert means[["step", "seconds"]].to_numpy().tolist() == [[1, 7], [1, 2], [2, 5]]
    np.testing.assert_allclose(means[["loss_low", "loss", "loss_high"]], [[9, 9, 9], [0.2, 0.4, 0.6], [0.5, 0.5, 0.5]])
    assert list(means["run"].cat.categories) == ["b", "a", "never"]


def test_a_loss_that_is_not_finite_is_a_gap():
    means = group_means(frame(run=["a", "a"], step=[1, 1], loss=[np.inf, 1.0]), "step")
    assert means["loss"].isna().all()


def test_samples_that_fall_at_other_seconds_meet_in_equal_stretches():
    seconds = np.concatenate([np.arange(0, 100, 0.1), np.arange(0.05, 100, 0.1)])
    rows = frame(run="a", seconds=seconds, resident_bytes=np.repeat([2e6, 4e6], 1000))
    means = group_means(rows.assign(run=pd.Categorical(rows["run"])), "seconds")
    assert len(means) == BINS + 1
    np.testing.assert_allclose(means["resident_bytes"][1:-1], 3e6, rtol=0.2)
    assert means["seconds"].is_monotonic_increasing


@pytest.mark.parametrize("by", ["step", "seconds"])
def test_nothing_stays_nothing(by):
    rows = frame(run=["a"], step=[1], seconds=[0.0], loss=[1.0])
    assert len(group_means(rows.iloc[:0], by)) == 0
    assert len(group_means(rows, by)) == 1
