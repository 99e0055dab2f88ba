"""Diagnostics find what went wrong with a run, and leave healthy runs alone."""

import dataclasses

import pytest

from tabtune_core.analysis.run_diagnostics import troubles
from tabtune_core.events import RunFinished, RunPlanned
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.store.run_row import Run

PLAN = RunPlanned("cpu", 100, 341, 114, 114, 256, 85, 30, ("a", "b"), 100, 10, (), {})


def run(status="running", strategy="peft", **more):
    settings = RunSettings(dataset="d", target="y", strategy=strategy, train=TrainSettings(context_rows=2048))
    fields = dict.fromkeys(field.name for field in dataclasses.fields(Run))
    return Run(**fields | {"id": "a", "name": settings.label, "status": status, "settings": settings} | more)


def result(best_step=50, accuracy=0.9):
    scores = {"accuracy": accuracy, "log_loss": 0.3}
    return RunFinished(
        "finished", best_step, 100, False, scores, scores, scores, scores, 1.0, 1.0, 1, 1, "resident", 10, 100, None
    )


def kinds(run):
    return [trouble.kind for trouble in troubles(run)]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
@pytest.mark.parametrize(
    ("plan", "phase", "lowered"),
    [
        (PLAN, None, {"context_rows": 128}),
        (None, "train", {"context_rows": 1024}),
        (PLAN, "zero-shot", {"predict_context_rows": 128}),
        (PLAN, "evaluate", {"predict_context_rows": 128}),
    ],
)
def test_out_of_memory_offers_half_of_the_context_rows_of_what_it_did(status, plan, phase, lowered):
    ended = run(status, error="x")
    (trouble,) = troubles(ended, plan, "OutOfMemoryError", phase)
    assert trouble.kind == "memory"
    assert trouble.fix.settings == ended.settings.changed(**lowered)
    assert troubles(ended, plan, "TableError", phase) == []


def test_a_diverged_run_names_its_rate_and_offers_half_of_it():
    (trouble,) = troubles(run("diverged"))
    assert "2e-4" in trouble.seen
    assert trouble.fix.settings.learning_rate == pytest.approx(1e-4)


def test_a_run_without_a_gain_is_named_and_good_runs_are_not():
    assert kinds(run("finished", result=result(best_step=0))) == ["no gain"]
    for good in (run("finished", result=result()), run("finished", "inference", result=result(best_step=0)), run()):
        assert kinds(good) == []


def test_a_score_that_is_not_known_is_not_written():
    (trouble,) = troubles(run("finished", result=dataclasses.replace(result(0), zero_shot_validation={})))
    assert "nan" not in trouble.seen
