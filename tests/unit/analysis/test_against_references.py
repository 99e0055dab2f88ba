"""References and guessing compared with the best LoRA, on cases that can be worked out by hand."""

from functools import partial

import numpy as np
import pytest
from made_sweeps import Lab
from random_sweeps import regression_sweep

from tabtune_core.analysis.against_references import against_guessing, rival
from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.metrics import METRICS
from tabtune_core.store.predictions import read_predictions


def beside(lab, strategy, *, trained=True):
    own = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    return rival(lab.board(), "accuracy", partial(read_predictions, lab.store), strategy, own, trained=trained)


def test_a_reference_is_compared_row_by_row_on_the_shared_seeds(tmp_path):
    lora, boosting = (4, (0.9, 0.7), range(18)), ("boosting", (0.5, 0.7), range(10))
    lab = Lab(tmp_path).add(lora, ("linear", (0.8,), range(16)), boosting)
    first, second = beside(lab, "linear"), beside(lab, "boosting")
    assert (first.name, first.score, first.ours, first.seeds) == ("the linear model", 0.8, 0.9, 1)
    assert (second.score, second.ours, second.seeds) == (pytest.approx(0.6), pytest.approx(0.8), 2)
    assert second.ahead.value == pytest.approx(-0.4)
    assert (beyond_noise(first.ahead), beyond_noise(second.ahead)) == (0, -1)
    before = beside(lab, "boosting", trained=False)
    assert (before.ours, before.ahead.value) == (pytest.approx(0.5), pytest.approx(0.0))


def test_without_predictions_no_winner_is_named(tmp_path):
    assert beside(Lab(tmp_path).add((4, (0.9,)), ("boosting", (0.5,))), "boosting").ahead is None
    assert beside(Lab(tmp_path / "none").add((4, (0.9,))), "boosting") is None


def against_guess(tmp_path, right, guess, metric="accuracy"):
    lab = Lab(tmp_path, guess).add((4, (0.5,), right))
    return against_guessing(
        METRICS[metric], partial(read_predictions, lab.store), [lab.store.runs()[0].id], trained=True
    )


@pytest.mark.parametrize(("right", "sign"), [(range(20), 1), (range(10), 0), (range(2), -1)])
def test_guessing_uses_only_the_class_frequencies(tmp_path, right, sign):
    found, part = against_guess(tmp_path, right, (0.5, 0.5))
    assert (part, beyond_noise(found)) == ("test", sign)


def test_guessing_knows_the_training_rows_and_not_the_test_rows(tmp_path):
    """Half of the test rows are "yes"; by the training rows, nine in ten are."""
    found, _ = against_guess(tmp_path, range(10), (0.1, 0.9), "log_loss")
    ours, guessed = -np.log([0.9, 0.2]).mean(), -np.log([0.1, 0.9]).mean()
    assert found.value == pytest.approx(guessed - ours) and found.value > 0


def test_guessing_numbers_answers_with_the_mean_of_the_training_rows(store):
    run = next(run for run in store.runs(regression_sweep(store, 1)) if run.settings.strategy == "peft")
    rows, rmse = read_predictions(store, run.id, "test"), METRICS["rmse"].function
    found, _ = against_guessing(METRICS["rmse"], partial(read_predictions, store), [run.id], trained=True)
    guessed = rmse(rows.y_N, np.full(len(rows.y_N), rows.guess[0]))
    assert found.value == pytest.approx(guessed - rmse(rows.y_N, rows.predicted))
    assert rows.guess[0] != pytest.approx(rows.y_N.mean())


def test_a_run_that_does_not_know_its_training_rows_is_not_compared_with_guessing(tmp_path):
    assert against_guess(tmp_path, range(2), ()) == (None, "test")
