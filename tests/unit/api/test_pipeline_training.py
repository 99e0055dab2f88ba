"""What settings and weights of rows change in the training of a pipeline."""

from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from pipelines import FAST, of
from small_table import small_table

from tabtune_core import TabularPipeline
from tabtune_core.api.tuning_params import read_params
from tabtune_core.devices import name_of
from tabtune_core.errors import LabelError, SettingError, TableWarning
from tabtune_core.events import Evaluated, Note, StepDone
from tabtune_core.training import train_phase


@pytest.fixture(scope="module")
def losses_of(checkpoint):
    """Computes the losses of three steps on one table under one seed."""
    given = {**FAST, "checkpoint": checkpoint["classification"], "steps": 3, "warmup_steps": 0}
    given["peft_config"] = {"r": 2, "lora_dropout": 0.1}

    def losses_of(**params):
        pipeline = TabularPipeline("tabicl-v2", "peft", {**given, **params}).fit(*small_table())
        return [step.loss for step in of(StepDone, pipeline)]

    return losses_of


def test_a_time_limit_ends_training_and_the_result_reports_it():
    X, y = small_table()
    pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "time_limit": 1e-6}).fit(X, y)
    result = pipeline.result
    assert (result.outcome, result.ended_by, result.steps_done) == ("finished", "time limit", 1)
    assert [event.step for event in of(Evaluated, pipeline) if event.split == "validation"] == [0, 1]
    told = (
        "The time limit of 1e-06 s, which one step takes longer than, ended training after step 1 of 6; that step "
        "was evaluated"
    )
    assert any(note.text.startswith(told) for note in of(Note, pipeline))


@pytest.fixture(scope="module")
def plain_losses(losses_of):
    return losses_of()


@pytest.mark.parametrize("changed", [{"optimizer": "sgd"}, {"schedule": "constant"}, {"clip_norm": 1e-9}], ids=str)
def test_every_setting_changes_the_training(losses_of, plain_losses, changed):
    losses = losses_of(**changed)
    assert losses[0] == plain_losses[0], "the first loss is before the first step"
    assert losses[-1] != pytest.approx(plain_losses[-1], abs=1e-6)


def test_recomputed_activations_change_only_memory(losses_of, plain_losses, monkeypatch):
    recomputed = Mock(side_effect=train_phase.checkpoint)
    monkeypatch.setattr(train_phase, "checkpoint", recomputed)
    assert losses_of(gradient_checkpointing=True) == pytest.approx(plain_losses, abs=1e-6)
    assert recomputed.called
    recomputed.reset_mock()
    losses_of(steps=1)
    assert not recomputed.called


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_16_bit_training_on_a_gpu_is_close_to_32_bit(losses_of, amp, gpu):
    losses, expected = losses_of(device=name_of(gpu), amp=amp), losses_of(device=name_of(gpu))
    assert losses == pytest.approx(expected, abs=0.1)
    assert losses != expected


def test_class_weights_change_the_loss_and_are_refused_without_training():
    X, y = small_table()
    few = np.where(np.arange(len(y)) % 9 == 0, y, "keep")
    plain, balanced = (
        TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 1, "class_weights": weights}).fit(X, few)
        for weights in ("none", "balanced")
    )
    first, other = (of(StepDone, one)[0].loss for one in (plain, balanced))
    assert first != pytest.approx(other, abs=1e-3), "the first loss is before the first step"
    late = X.assign(day=np.arange(len(X)))  # in a split by time, the last rows are the only ones of their class
    new = np.where(late["day"] >= len(X) - 2, "new", few)
    by_time = {**FAST, "split_by": "time", "split_column": "day"}
    with pytest.raises(LabelError, match="The split by time: day leaves the class 'new' without a training row"):
        TabularPipeline("tabicl-mini", "peft", by_time).fit(late, new)
    with pytest.raises(SettingError, match="'class_weights' changes nothing with tuning_strategy 'inference'"):
        read_params("tabicl-mini", "inference", {"class_weights": "balanced"}, "classification")
    with pytest.raises(SettingError, match=r"train\.class_weights changes nothing for regression"):
        read_params("tabicl-mini", "peft", {"class_weights": "balanced"}, "regression")


def fitted_with(weights, task="classification", model="tabicl-mini", **params):
    """Returns the losses of the steps and the predictions afterwards."""
    X, y = small_table()
    y = y if task == "classification" else np.linspace(0, 1, len(y)) ** 2
    pipeline = TabularPipeline(model, "peft", {**FAST, "steps": 2, **params}, task=task).fit(
        X, y, sample_weight=weights
    )
    return [step.loss for step in of(StepDone, pipeline)], pipeline.predict(X.head(5))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_equal_weights_train_as_without_weights_and_only_ratios_count(checkpoint, task):
    rows = len(small_table()[0])
    weights = np.random.default_rng(0).uniform(0, 2, rows) ** 4
    without, same, weighted, tenfold = (
        fitted_with(given, task, "tabicl-v2", checkpoint=checkpoint[task])
        for given in (None, np.full(rows, 2.5), weights, list(10 * weights))
    )
    assert without[0] == same[0]
    np.testing.assert_array_equal(without[1], same[1])
    assert weighted[0][0] != pytest.approx(without[0][0], abs=1e-3), "the first loss is before the first step"
    assert tenfold[0] == pytest.approx(weighted[0], rel=1e-4)


def test_row_weights_by_class_equal_class_weights_and_the_two_multiply():
    counts = pd.Series(small_table()[1]).value_counts()[small_table()[1]].to_numpy()
    assert len(set(counts)) > 1
    plain, balanced, by_row, undone = (
        fitted_with(weights, class_weights=by_class, steps=1)[0][0]
        for weights, by_class in ((None, "none"), (None, "balanced"), (1 / counts, "none"), (counts, "balanced"))
    )
    # class weights count only the training rows, whose class shares the split keeps close to those of all rows
    assert by_row == pytest.approx(balanced, rel=0.02)
    assert undone == pytest.approx(plain, rel=0.02)
    assert balanced != pytest.approx(plain, rel=0.03)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (np.ones(3), r"sample_weight has the shape \(3,\); X has"),
        (["a"] * 60, "sample_weight must be numbers, one per row"),
        (np.full(90, "2024-01-02", "M8[D]"), "sample_weight must be numbers.*datetime64"),
        (np.ma.masked_equal([1.0] * 89 + [7.0], 7.0), "sample_weight holds nan"),
        ("negative", "sample_weight holds -1; a weight is a number of 0 or more"),
        ("missing", "sample_weight holds nan"),
        ("nothing", "sample_weight is zero for every row"),
    ],
)
def test_invalid_weights_are_refused(weights, told):
    X, y = small_table()
    made = {"negative": -1.0, "missing": np.nan, "nothing": 0.0}
    weights = np.full(len(y), made[weights]) if isinstance(weights, str) else weights
    with pytest.raises(LabelError, match=told):
        TabularPipeline("tabicl-mini", "peft", FAST).fit(X, y, sample_weight=weights)


def test_rows_without_a_label_are_left_out_and_reported():
    X, y = small_table()
    some = [None if place % 10 == 0 else label for place, label in enumerate(y)]
    known = sum(label is not None for label in some)
    with pytest.warns(TableWarning, match=f"because y is missing there: {len(y) - known} rows of {len(y)}"):
        pipeline = TabularPipeline("tabicl-mini", "inference", {"device": "cpu"}).fit(X, some)
    assert len(pipeline.context_rows_) == known


def test_a_column_may_decide_which_rows_are_for_validation():
    X, y = small_table()
    frame = X.assign(day=np.arange(len(X)) // 2, who=[f"p{i // 3}" for i in range(len(X))])
    for by, column, told in (
        ("time", "day", "trains on 72 rows up to 35, validates on 18 rows from 36 to 44."),
        ("group", "who", "24 groups"),
    ):
        pipeline = TabularPipeline(
            "tabicl-mini", "base-ft", {"device": "cpu", "steps": 1, "split_by": by, "split_column": column}
        ).fit(frame, y)
        assert told in of(Note, pipeline)[0].text
        assert (column in pipeline._context.encoder.to_json()["numbers"]) == (by == "time")
        assert np.isfinite(pipeline.predict_proba(frame)).all()
    values = frame[["size", "noise", "day"]].to_numpy()
    by_array = TabularPipeline(
        "tabicl-mini", "base-ft", {"device": "cpu", "steps": 1, "split_by": "time", "split_column": "x2"}
    ).fit(values, y)
    assert "Split by time on 'x2'" in of(Note, by_array)[0].text
    with pytest.raises(SettingError, match="split_column is 'x9'. The table has no column 'x9'"):
        TabularPipeline(
            "tabicl-mini", "base-ft", {"device": "cpu", "steps": 1, "split_by": "time", "split_column": "x9"}
        ).fit(values, y)
