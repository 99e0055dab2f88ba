"""Classes with any number of rows, under each split: every score is finite on the held-out rows, or the split is
refused.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tabtune_core.data.splits import FEWEST_OF_A_CLASS
from tabtune_core.data.task import plan_split, split_table
from tabtune_core.errors import LabelError, SettingError
from tabtune_core.metrics import metrics_of, score_all
from tabtune_core.settings import RunSettings, TrainSettings

COUNTS = st.lists(st.one_of(st.integers(1, 9), st.integers(10, 80)), min_size=2, max_size=6)
SHARES = st.sampled_from([(0.2, 0.2), (0.05, 0.05), (0.1, 0.3), (0.3, 0.5), (0.5, 0.4)])


def splits(counts, shares, kind, seed, most=10_000):
    """Returns the labels of a table with these classes, and its split into at most ``most`` held-out rows; skips
    refused splits.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.array([f"class {k}" for k in range(len(counts))], dtype=object), counts))
    frame = pd.DataFrame({"at": rng.permutation(len(labels)) // 3, "target": labels})
    how = {} if kind == "random" else {"split_by": kind, "split_column": "at"}
    how |= {"train": TrainSettings(validation_rows=most, test_rows=most)}
    asked = RunSettings(
        dataset="-", target="target", validation_share=shares[0], test_share=shares[1], seed=seed, **how
    )
    try:
        return labels, replace(split_table(frame, labels, asked), findings=plan_split(frame, asked)[1])
    except (LabelError, SettingError):
        reject()


@settings(deadline=None, max_examples=30)
@given(COUNTS, SHARES, st.sampled_from(["random", "group", "time"]), st.integers(0, 99))
def test_every_score_is_finite_on_validation_and_test_rows_or_the_split_is_refused(counts, shares, kind, seed):
    labels, split = splits(counts, shares, kind, seed)
    classes, ids = np.unique(labels, return_inverse=True)
    for rows in (split.validation, split.test):
        scores = score_all(ids[rows], np.random.default_rng(seed).dirichlet(np.ones(len(classes)), size=len(rows)))
        assert np.isfinite(list(scores.values())).all()
        assert set(scores) == set(metrics_of("classification"))
        assert set(labels[rows]) <= set(labels[split.train])


@settings(deadline=None, max_examples=50)
@given(COUNTS, SHARES, st.integers(0, 99))
def test_a_random_split_puts_a_class_in_every_part_or_only_in_training(counts, shares, seed):
    labels, split = splits(counts, shares, "random", seed)
    parts = [set(labels[rows]) for rows in (split.train, split.validation, split.test)]
    usual = {f"class {k}" for k, count in enumerate(counts) if count >= FEWEST_OF_A_CLASS}
    assert parts == [set(labels), usual, usual]
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(len(labels)))
