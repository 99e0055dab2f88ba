"""Diagnostics find problems in a run's own curves and leave healthy runs alone."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabtune_core.analysis.run_diagnostics import GUIDE, troubles
from tabtune_core.events import RunFinished, RunPlanned
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.store.run_row import Run

PLAN = RunPlanned("cpu", 100, 341, 114, 114, 256, 85, 30, ("a", "b"), 100, 10, (), {})


def run(status="running", strategy="peft", **more):
    train = TrainSettings(context_rows=2048)
    settings = RunSettings(dataset="d", target="y", strategy=strategy, train=train)
    fields = dict.fromkeys(field.name for field in dataclasses.fields(Run))
    return Run(**fields | {"id": "a", "name": settings.label, "status": status, "settings": settings} | more)


def result(best_step=50, accuracy=0.9):
    scores = {"accuracy": accuracy, "log_loss": 0.3}
    return RunFinished(
        "finished", best_step, 100, False, scores, scores, scores, scores, 1.0, 1.0, 1, 1, "resident", 10, 100, None
    )


def frames(loss, log_loss):
    """A loss per step, and an evaluation on the validation rows every tenth step."""
    step = np.arange(1, len(loss) + 1)
    looks = np.asarray(log_loss, dtype=float)
    best = np.minimum.accumulate(looks) == looks
    return {
        "steps": pd.DataFrame({"step": step, "loss": loss}),
        "scores": pd.DataFrame(
            {"step": 10 * np.arange(len(looks)), "split": "validation", "best": best, "log_loss": looks}
        ),
    }


NOISE = 0.05 * np.random.default_rng(0).standard_normal(100)
FALLING = np.linspace(0.7, 0.2, 100) + NOISE
LEVEL = 0.7 + NOISE
IMPROVING = np.linspace(0.5, 0.3, 11)
WORSENING = np.concatenate([np.linspace(0.5, 0.3, 5), np.linspace(0.32, 0.5, 6)])


def kinds(*arguments, **more):
    return [trouble.kind for trouble in troubles(*arguments, **more)]


@pytest.mark.parametrize(
    ("loss", "looks", "told"),
    [
        (FALLING, IMPROVING, []),
        (LEVEL, np.full(11, 0.5) + 0.01 * np.arange(11), ["flat"]),
        (LEVEL, IMPROVING, []),
        (FALLING, WORSENING, ["overfitting"]),
        (LEVEL, WORSENING, []),
        (LEVEL[:30], [0.5, 0.51, 0.52, 0.53], []),
    ],
)
def test_curves_distinguish_a_flat_loss_overfitting_and_a_good_run(loss, looks, told):
    assert kinds(run(), frames(loss, looks)) == told


def test_overfitting_names_the_best_and_the_last_evaluation():
    (trouble,) = troubles(run(), frames(FALLING, WORSENING))
    assert "best at step 40 (0.3000) and is 0.5000 at the last evaluation" in trouble.seen


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_out_of_memory_offers_half_of_the_used_context_rows(status):
    ended, failure = run(status, error="x"), "OutOfMemoryError"
    (trouble,) = troubles(ended, frames([], []), plan=PLAN, failure=failure)
    assert trouble.kind == "memory"
    assert trouble.fix.settings.train.context_rows == 128
    (unplanned,) = troubles(ended, frames([], []), failure=failure)
    assert unplanned.fix.settings.train.context_rows == 1024


@pytest.mark.parametrize(
    ("phase", "lowered"),
    [("zero-shot", "predict_context_rows"), ("train", "context_rows"), ("evaluate", "predict_context_rows")],
)
def test_out_of_memory_while_predicting_is_blamed_on_the_prediction_rows(phase, lowered):
    failed, plan = run("failed", error="x"), dataclasses.replace(PLAN, train_context_rows=100, context_rows=4000)
    (trouble,) = troubles(failed, frames([], []), plan=plan, failure="OutOfMemoryError", phase=phase)
    expected = {"context_rows": 50, "predict_context_rows": 2000}[lowered]
    assert trouble.fix.settings.train == dataclasses.replace(failed.settings.train, **{lowered: expected})


def test_other_failures_are_not_called_out_of_memory():
    assert (
        troubles(run("failed", error="There was not enough memory for 'y'."), frames([], []), failure="TableError")
        == []
    )


def test_a_diverged_run_names_its_rate_and_offers_half_of_it():
    (trouble,) = troubles(run("diverged"), frames(FALLING, IMPROVING))
    assert "2e-4" in trouble.seen
    assert trouble.fix.label.endswith("1e-4")
    assert trouble.fix.settings.learning_rate == pytest.approx(1e-4)


def test_lora_runs_report_no_gain_and_a_gap_to_full_fine_tuning():
    full = run("finished", "base-ft", result=result(accuracy=0.99))
    lora = run("finished", result=result(best_step=0, accuracy=0.85))
    assert kinds(lora, frames(FALLING, IMPROVING), plan=PLAN, full=full) == ["no gain", "behind"]
    near = run("finished", result=result(accuracy=0.92))  # within 1 / sqrt(114)
    assert kinds(near, frames(FALLING, IMPROVING), plan=PLAN, full=full) == []
    assert kinds(run("finished", "inference", result=result(best_step=0)), frames([], [0.5])) == []


def test_a_perfect_zero_shot_score_suggests_a_leak():
    assert kinds(run("finished", "inference", result=result(best_step=0, accuracy=1.0)), frames([], [0.01])) == [
        "too good"
    ]
    assert kinds(run("finished", "peft", result=result(accuracy=1.0)), frames(FALLING, IMPROVING)) == []


def test_every_problem_has_a_row():
    assert {"memory", "diverged", "flat", "overfitting", "no gain", "behind"} <= set(GUIDE)


ANY = st.one_of(st.floats(0, 2), st.floats(), st.sampled_from([np.nan, np.inf, -np.inf, 1e308]))
PARTS = st.dictionaries(st.sampled_from(["accuracy", "log_loss"]), ANY)


@pytest.mark.parametrize("status", ["running", "finished", "stopped", "interrupted", "failed", "cancelled"])
def test_no_checkpoint_is_said_to_be_kept_of_a_run_that_keeps_none(status):
    assert kinds(run(status), frames(FALLING, WORSENING)) == (
        [] if status in ("failed", "cancelled") else ["overfitting"]
    )


@settings(deadline=None, max_examples=300)
@given(
    st.lists(ANY, min_size=1, max_size=120),
    st.lists(ANY, min_size=1, max_size=15),
    st.sampled_from(
        [("finished", "inference"), *((s, t) for s in ("running", "finished", "diverged") for t in ("peft", "base-ft"))]
    ),
    PARTS,
    PARTS,
)
def test_advice_never_names_nan_and_never_calls_divergence_overfitting(losses, looks, how, ours, theirs):
    status, strategy = how
    ended = [
        run(
            status,
            strategy,
            result=dataclasses.replace(result(best_step=0), validation=scores, zero_shot_validation=scores),
        )
        for scores in (ours, theirs)
    ]
    told = troubles(ended[0], frames(losses, looks), plan=PLAN, full=ended[1])
    assert not any(word in trouble.seen for trouble in told for word in ("nan", "inf"))
    assert (status == "diverged") == ("diverged" in [trouble.kind for trouble in told])
    assert status != "diverged" or not {"flat", "overfitting"} & {trouble.kind for trouble in told}
