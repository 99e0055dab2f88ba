"""The Pareto front and its limits, and the spectrum in the result of the job."""

import numpy as np
import pandas as pd
import pytest

from tabtune_core.analysis.pareto import best_of, costs_differ, front, within_limits

COSTS = {"memory": [3.0, 2.0, 3.0, None], "seconds": [1.0, 5.0, 2.0, 0.1], "trainable_parameters": [9, 8, 7, 1]}
BOARD = pd.DataFrame({"score": [0.9, 0.8, 0.9, 0.7], **COSTS})


def test_a_run_is_on_the_front_unless_another_dominates_it():
    assert front(BOARD, {"score": False, "memory": True}).tolist() == [True, True, True, False]
    assert front(BOARD, {"score": False, "memory": True, "seconds": True}).tolist() == [True, True, False, False]


def test_runs_within_noise_tie_and_one_no_better_than_a_constant_is_never_on_the_front():
    board = pd.DataFrame({"validation_accuracy": [0.90, 0.895, 0.80, 0.5], "train_seconds": [10.0, 11.0, 12.0, 1.0]})
    board["strategy"] = ["peft", "peft", "peft", "constant"]
    axes = {"validation_accuracy": False, "train_seconds": True}
    assert front(board, axes).tolist() == [True, False, False, False]
    assert front(board, axes, score_noise=0.01).tolist() == [True, True, False, False]
    assert front(board.assign(strategy="peft"), axes, score_noise=0.01).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("column", "first", "second", "differ"),
    [
        ("growth_memory_bytes", 100e6, 102.4e6, False),
        ("growth_memory_bytes", 100e6, 102.6e6, True),
        ("growth_memory_bytes", 1000e6, 1019e6, False),
        ("growth_memory_bytes", 1000e6, 1021e6, True),
        ("train_seconds", 10.0, 12.0, False),
        ("train_seconds", 10.0, 12.1, True),
        ("adapter_bytes", 1000, 1001, True),
        ("adapter_bytes", np.nan, 1.0, False),
    ],
)
def test_costs_differ_beyond_the_noise_of_repeats(column, first, second, differ):
    assert costs_differ(column, first, second) == costs_differ(column, second, first) == differ


def test_on_two_axes_the_front_is_the_rising_best_score_by_cost():
    rng = np.random.default_rng(1)
    board = pd.DataFrame({"score": rng.normal(size=60), "memory": rng.normal(size=60)}).sort_values("memory")
    rises = board["score"] > board["score"].cummax().shift(fill_value=-np.inf)
    assert front(board, {"score": False, "memory": True}).tolist() == rises.tolist()


def test_a_limit_excludes_values_above_it_and_unknown_values():
    inside = within_limits(BOARD, {"memory": 2.5})
    assert inside.tolist() == [False, True, False, False]
    assert within_limits(BOARD, {}).all()
    assert best_of(BOARD, "score", higher_is_better=True)["trainable_parameters"] == 7
    assert best_of(BOARD.iloc[:0], "score", higher_is_better=True) is None
