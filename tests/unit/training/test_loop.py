"""The loop: what ends it, what it keeps, and what it tells."""

import itertools
import math

import numpy as np
import pytest
import torch

from tabtune_core.data.episodes import Episode
from tabtune_core.events import Evaluated, Note, StepDone
from tabtune_core.training.loop import TrainResult, train
from tabtune_core.training.optimizer import make_optimizer


class Linear:
    """A stand-in for a base model: logits are a linear function of the query's features."""

    def __init__(self):
        self.module = torch.nn.Linear(2, 2)

    def loss(self, x_BTF, y_BC, y_BQ, classes):
        logits_BQK = self.module(x_BTF[:, y_BC.shape[1] :])
        return torch.nn.functional.cross_entropy(logits_BQK.flatten(0, 1), y_BQ.flatten(), ignore_index=-1)


def episodes(y_query=(0, 1)):
    x = np.array([[0, 0], [0, 0], [1, 0], [0, 1]], dtype=np.float32)
    return itertools.repeat(Episode(x, np.array([0, 1]), np.array(y_query)))


def run(scores, *, steps=20, wish=lambda: None, patience=3, stream=None, rate=0.1, eval_every=2):
    model, result, kept = Linear(), TrainResult(best_scores={"log_loss": 1.0}), []
    scores = iter(scores)
    events = list(
        train(
            model, stream or episodes(), make_optimizer(model.module.parameters(), learning_rate=rate, weight_decay=0, betas=(0.9, 0.999), eps=1e-8),
            classes=2, steps=steps, warmup_steps=2, clip_norm=1.0, eval_every=eval_every, patience=patience, metric="log_loss",
            device=torch.device("cpu"), score_validation=lambda: {"log_loss": next(scores)}, keep_best=lambda: kept.append(True), wish=wish,
            result=result, find_dead=lambda: ["x"],
        )
    )  # fmt: skip
    return result, events, kept


def test_the_best_look_is_kept_and_zero_shot_is_candidate_0():
    result, events, kept = run([1.1, 0.9, 0.95, 0.8, 0.85], steps=10)
    assert (result.outcome, result.best_step, result.best_scores, len(kept)) == ("finished", 8, {"log_loss": 0.8}, 2)
    assert [e.best for e in events if isinstance(e, Evaluated)] == [False, True, False, True, False]


def test_a_run_that_never_beats_zero_shot_says_step_0():
    result, _, kept = run([1.1, 1.2, 1.0], steps=6, patience=9)
    assert (result.best_step, kept) == (0, [])


def test_it_stops_when_patience_is_used_up():
    result, _, _ = run([0.9, 1, 1, 1], steps=100)
    assert (result.stopped_early, result.steps_done) == (True, 8)


def test_the_last_step_is_always_looked_at():
    _, events, _ = run([0.9, 0.8], steps=3)
    assert [e.step for e in events if isinstance(e, Evaluated)] == [2, 3]


def test_the_rate_rises_then_falls():
    _, events, _ = run([0.9] * 10, steps=10, patience=99)
    rates = [e.learning_rate for e in events if isinstance(e, StepDone)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] < 0.01


def test_training_lowers_the_loss():
    _, events, _ = run([0.9] * 50, steps=50, patience=99)
    losses = [e.loss for e in events if isinstance(e, StepDone)]
    assert losses[-1] < losses[0] - 0.2


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged_and_is_told():
    x = np.full((4, 2), np.inf, dtype=np.float32)
    stream = itertools.chain(itertools.islice(episodes(), 4), itertools.repeat(Episode(x, np.array([0, 1]), np.array([0, 1]))))
    result, events, _ = run([0.9, 0.8], stream=stream)
    assert (result.outcome, result.steps_done, result.best_step) == ("diverged", 4, 4)
    assert not math.isfinite([e for e in events if isinstance(e, StepDone)][-1].loss)


def test_predictions_that_are_not_finite_end_the_run_as_diverged_and_keep_the_best():
    result, _, kept = run([0.9, math.nan], steps=4)
    assert (result.outcome, result.best_step, len(kept)) == ("diverged", 2, 1)


@pytest.mark.parametrize(("asked", "outcome"), [("stop", "stopped"), ("cancel", "cancelled")])
def test_a_wish_ends_it_before_the_next_step(asked, outcome):
    answers = iter([None, None, None, asked])
    result, _, _ = run([0.9, 0.8], wish=lambda: next(answers))
    assert (result.outcome, result.steps_done, result.best_step) == (outcome, 3, 2)


def test_an_episode_that_cannot_be_scored_is_told_and_counted():
    result, events, _ = run([0.9] * 9, steps=2, stream=episodes((-1, -1)))
    assert result.skipped_rows == 4
    assert sum(isinstance(e, Note) for e in events) == 2


def test_layers_without_a_gradient_are_named():
    assert run([0.9] * 9, steps=2)[0].dead_layers == ("x",)
