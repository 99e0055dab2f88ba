"""What held-out rows say about how sure a prediction is."""

import numpy as np
import pytest

from tabtune_core.analysis.uncertainty import SHARE, Interval, of_held_out
from tabtune_core.store.predictions import Predictions

RNG = np.random.default_rng(0)


def drawn(rows, *, sharpness=1.0, classes=("a", "b", "c")):
    """Rows whose classes are drawn from the very probabilities; the model reports them ``sharpness`` times as sure."""
    p_NK = RNG.dirichlet([0.7] * len(classes), rows)
    y_N = (p_NK.cumsum(axis=1) > RNG.random((rows, 1))).argmax(axis=1)
    reported_NK = p_NK**sharpness / (p_NK**sharpness).sum(axis=1, keepdims=True)
    return Predictions(np.arange(rows), y_N, reported_NK, classes)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_sets_hold_at_least_their_share_on_average_however_sure_the_model_is(sharpness):
    held = [of_held_out(drawn(59, sharpness=sharpness), drawn(200, sharpness=sharpness)).held for _ in range(300)]
    assert SHARE - 0.004 < np.mean(held) < SHARE + 0.03


def test_intervals_hold_their_share_on_average():
    def numbers(rows):
        return Predictions(np.arange(rows), RNG.standard_t(3, rows), np.zeros(rows))

    made = [of_held_out(numbers(59), numbers(200)) for _ in range(300)]
    assert isinstance(made[0], Interval)
    assert SHARE - 0.004 < np.mean([one.held for one in made]) < SHARE + 0.03


def test_too_few_validation_rows_and_no_predictions_before_training_give_none():
    assert of_held_out(drawn(8), drawn(50)) is None
    assert of_held_out(drawn(9), drawn(50)) is not None
    assert of_held_out(drawn(50), drawn(0)).held is None
    bare = Predictions(np.arange(50), np.zeros(50, int), np.tile([0.5, 0.5], (50, 1)), ("a", "b"))
    assert of_held_out(bare, bare, before=True) is None
