"""Test rows are held out once per table, and every score is finite on held-out rows: on random tables, under every split."""

import dataclasses
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tabtune_core.data.splits import FEWEST_OF_A_CLASS
from tabtune_core.data.task import labels_of, plan_split, split_table
from tabtune_core.errors import LabelError, SettingError
from tabtune_core.metrics import metrics_of, score_all
from tabtune_core.settings import RunSettings, TrainSettings

SEEDS = range(5)
KINDS = {"random": None, "time": "day", "group": "customer"}
of_any = settings(deadline=None, max_examples=25)


@st.composite
def asked(draw, kinds=tuple(KINDS), *, even=False):
    """A run and its table, with rare classes, missing labels, and groups of all sizes or of about one row."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, groups = draw(st.integers(120, 300)), draw(st.integers(40 if even else 15, 90))
    frame = pd.DataFrame(
        {
            "day": rng.integers(draw(st.integers(5, 200)), size=rows).astype(float),
            "customer": [
                f"c{i}" for i in (np.arange(rows) if even else (rng.pareto(1.0, size=rows) * 10).astype(int)) % groups
            ],
            "number": rng.normal(size=rows),
            "label": rng.choice(["a", "b", "c"], p=[0.6, 0.3, 0.1], size=rows).astype(object),
        }
    )
    for name in range(draw(st.integers(0, 4))):
        frame.loc[rng.choice(rows, size=2), "label"] = f"rare {name}"
    frame.loc[rng.random(rows) < draw(st.sampled_from([0.0, 0.1])), ["label", "number"]] = None
    frame.loc[rng.random(rows) < draw(st.sampled_from([0.0, 0.1])), ["day", "customer"]] = None
    by, limit = draw(st.sampled_from(kinds)), st.sampled_from([10, 30, 5000])
    target = draw(st.sampled_from(["label", "number"]))
    run = RunSettings(
        dataset="d",
        target=target,
        task="regression" if target == "number" else "classification",
        split_by=by,
        split_column=KINDS[by],
        split_seed=draw(st.integers(0, 3)),
        validation_share=draw(st.sampled_from([0.1, 0.2, 0.3])),
        test_share=draw(st.sampled_from([0.1, 0.2, 0.3])),
        train=TrainSettings(
            validation_rows=draw(limit), test_rows=draw(limit), predict_context_rows=draw(st.sampled_from([None, 40]))
        ),
    )
    return frame, run


def split(frame, run, **changes):
    try:
        return split_table(frame, labels_of(frame, run), dataclasses.replace(run, **changes))
    except LabelError:  # under this seed, no training row has one of the classes
        reject()


@of_any
@given(asked())
def test_every_seed_has_the_same_test_rows_which_never_train_or_validate(given_run):
    frame, run = given_run
    splits = [split(frame, run, seed=seed) for seed in SEEDS]
    assert len({one.test.tobytes() for one in splits}) == 1
    for one in splits:
        assert len(one.test) and not set(one.test) & (set(one.train) | set(one.validation) | set(one.context))
        assert not set(one.train) & set(one.validation)


@of_any
@given(asked(kinds=("random", "group"), even=True))
def test_seeds_move_training_and_validation_rows_and_split_seeds_move_test_rows(given_run):
    moved = partial(split, *given_run)
    assert len({moved(seed=seed).validation.tobytes() for seed in SEEDS}) > 1
    assert len({moved(split_seed=seed).test.tobytes() for seed in SEEDS}) > 1


@of_any
@given(asked(), st.sampled_from([0.1, 0.2, 0.3]), st.sampled_from([10, 50, 5000]))
def test_no_other_setting_moves_test_rows_and_a_smaller_set_is_a_subset(given_run, share, most):
    frame, run = given_run
    here, train = (
        split(frame, run),
        dataclasses.replace(run.train, validation_rows=most, predict_context_rows=most, context_rows=most),
    )
    assert np.array_equal(here.test, split(frame, run, validation_share=share, train=train).test)
    fewer, more = sorted(
        (here.test, split(frame, run, train=dataclasses.replace(run.train, test_rows=most)).test), key=len
    )
    assert set(fewer) <= set(more)


@of_any
@given(asked(kinds=("random",)), st.integers(0, 9))
def test_a_random_split_has_the_planned_numbers_of_rows(given_run, seed):
    frame, run = given_run
    planned, real = plan_split(frame, run)[0], split(frame, run, seed=seed)
    limits = run.train.validation_rows, run.train.test_rows
    assert (len(real.train), len(real.validation), len(real.test)) == (
        planned.train,
        *map(min, (planned.validation, planned.test), limits),
    )


def test_the_id_of_the_test_rows_changes_with_the_settings_that_draw_them():
    run = RunSettings(dataset="d", target="y")
    drawing = {"split_seed": 7, "test_share": 0.3, "dataset": "e", "target": "z", "split_at_median": True}
    drawing |= {"train": TrainSettings(test_rows=10)}
    by_column = [dataclasses.replace(run, split_by=by, split_column=name) for by in ("time", "group") for name in "ab"]
    others = [dataclasses.replace(run, **{name: value}) for name, value in drawing.items()] + by_column
    assert len({one.test_set for one in (run, *others)}) == 1 + len(others)
    for name, value in {
        "seed": 9,
        "validation_share": 0.3,
        "strategy": "linear",
        "train": TrainSettings(validation_rows=10),
    }.items():
        assert dataclasses.replace(run, **{name: value}).test_set == run.test_set


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
