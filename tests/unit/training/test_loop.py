"""The training loop: what ends it, what it keeps, and what it reports."""

import dataclasses
import itertools
import math
import types

import numpy as np
import pytest
import torch

from tabtune_core.events import Evaluated, StepDone
from tabtune_core.settings import RunSettings, TrainSettings
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.episodes import Episode
from tabtune_core.training.loop import LoopPlan, TrainResult, train
from tabtune_core.training.step import Precision, episode_loss, plain_step, take_step


class Linear:
    """A stand-in for a base model: logits are a linear function of the query's features."""

    def __init__(self):
        self.module, self.dtypes = torch.nn.Linear(2, 2), set()

    def loss(self, x_BTF, y_BC, y_BQ, classes, weight_BQ=None):
        logits_BQK = self.module(x_BTF[:, y_BC.shape[1] :])
        self.dtypes.add(logits_BQK.dtype)
        return torch.nn.functional.cross_entropy(logits_BQK.float().flatten(0, 1), y_BQ.flatten(), ignore_index=-1)


def scaler(start=1.0, enabled=True):
    return torch.amp.GradScaler("cpu", init_scale=start, enabled=enabled)


FP32 = Precision("cpu", None, scaler(enabled=False))


def episodes(y_query=(0, 1)):
    x = np.array([[0, 0], [0, 0], [1, 0], [0, 1]], dtype=np.float32)
    return itertools.repeat(Episode(x, np.array([0, 1]), np.array(y_query)))


PLAN = LoopPlan(classes=2, steps=20, schedule="cosine", warmup_steps=2, eval_every=2, patience=3, metric="log_loss")


def run(
    scores,
    *,
    stop_request=lambda: None,
    stream=None,
    precision=FP32,
    model=None,
    now=lambda: 0.0,
    save_last=lambda pauses: None,
    result=None,
    **plan,
):
    """Trains with these validation scores; returns the result, the events and how often the state was kept."""
    model, result, kept = model or Linear(), result or TrainResult(best_scores={"log_loss": 1.0}), []
    scores = iter(scores)
    optimizer = torch.optim.AdamW(model.module.parameters(), lr=0.1, fused=True)
    optimizer.param_groups[0]["peak_rate"] = 0.1
    events = train(
        model.module,
        stream or episodes(),
        optimizer,
        plain_step(model, optimizer, classes=2, clip_norm=1.0, precision=precision, device=torch.device("cpu")),
        dataclasses.replace(PLAN, **plan),
        save_last=save_last,
        score_validation=lambda: {"log_loss": next(scores)},
        keep_best=lambda: kept.append(True),
        stop_request=stop_request,
        find_dead=lambda: ["x"],
        clock=OwnClock(now),
        result=result,
    )
    return result, list(events), kept


def evaluated(events):
    return [event.step for event in events if isinstance(event, Evaluated)]


def steps_of(events):
    return [event for event in events if isinstance(event, StepDone)]


def test_the_best_evaluation_is_kept_and_zero_shot_is_candidate_0():
    result, events, kept = run([1.1, 0.9, 0.95, 0.8, 0.85], steps=10)
    assert (result.outcome, result.best_step, result.best_scores, len(kept)) == ("finished", 8, {"log_loss": 0.8}, 2)
    assert [e.best for e in events if isinstance(e, Evaluated)] == [False, True, False, True, False]
    assert result.dead_layers == ("x",)
    result, _, kept = run([1.1, 1.2, 1.0], steps=6, patience=9)
    assert (result.best_step, kept) == (0, [])


@pytest.mark.parametrize(
    ("whole", "patience", "stopped_early", "steps"), [(24, 3, True, 8), (100, 3, True, 34), (100, 0, False, 100)]
)
def test_it_stops_when_patience_is_used_up_but_not_within_the_first_third(whole, patience, stopped_early, steps):
    result, _, _ = run([0.9] + [1] * 50, steps=whole, patience=patience)
    assert (result.stopped_early, result.steps_done) == (stopped_early, steps)


def test_it_pauses_after_the_evaluation_of_a_rung_and_saves_its_state_there():
    saved = []
    result, events, _ = run([0.9, 0.8, 0.7, 0.6], steps=8, rungs=(4,), save_last=saved.append)
    assert (result.outcome, result.steps_done, saved) == ("waiting", 4, [False, True])
    assert evaluated(events) == [2, 4]
    again, events, _ = run([], steps=8, rungs=(4,), result=result)  # killed before it could report the pause
    assert (again.outcome, events) == ("waiting", [])
    result, _, _ = run([0.7, 0.6], steps=8, result=result)
    assert (result.outcome, result.steps_done, result.best_step) == ("finished", 8, 8)


def test_a_rung_is_the_nearest_evaluation_before_the_last_step_and_no_run_stops_early_before_it():
    settings = RunSettings(dataset="d", target="y", train=TrainSettings(warmup_steps=40))
    plan = LoopPlan.of(settings, steps=90, eval_every=10, classes=2, rungs=(1 / 6, 1 / 3))
    assert (plan.rungs, plan.first_stop) == ((20, 30), 40)
    assert LoopPlan.of(settings, steps=90, eval_every=90, classes=2, rungs=(1 / 6, 1 / 3)).rungs == ()


def test_a_non_finite_loss_ends_the_run_as_diverged_and_is_reported():
    x = np.full((4, 2), np.inf, dtype=np.float32)
    stream = itertools.chain(
        itertools.islice(episodes(), 4), itertools.repeat(Episode(x, np.array([0, 1]), np.array([0, 1])))
    )
    result, events, _ = run([0.9, 0.8], stream=stream)
    assert (result.outcome, result.steps_done, result.best_step) == ("diverged", 4, 4)
    assert not math.isfinite(steps_of(events)[-1].loss)


def test_non_finite_predictions_end_the_run_as_diverged_and_keep_the_best():
    result, _, kept = run([0.9, math.nan], steps=4)
    assert (result.outcome, result.best_step, len(kept)) == ("diverged", 2, 1)


@pytest.mark.parametrize(("asked", "outcome", "best"), [("stop", "stopped", 3), ("cancel", "cancelled", 2)])
def test_a_request_ends_it_before_the_next_step_and_a_stop_scores_the_last_one(asked, outcome, best):
    answers = iter([None, None, None, asked])
    result, _, _ = run([0.9, 0.8], stop_request=lambda: next(answers))
    assert (result.outcome, result.steps_done, result.best_step) == (outcome, 3, best)


def test_a_stop_after_an_evaluation_or_before_the_first_step_evaluates_nothing():
    answers = iter([None, None, "stop"])
    _, events, _ = run([0.9], stop_request=lambda: next(answers))
    assert evaluated(events) == [2]
    result, events, _ = run([], stop_request=lambda: "stop")
    assert (events, result.evaluated_step, result.best_step) == ([], 0, 0)


def test_an_unscorable_episode_is_counted_and_the_last_step_is_still_evaluated():
    stream = itertools.chain(itertools.islice(episodes((-1, 1)), 1), episodes((-1, -1)))
    result, events, _ = run([0.9] * 9, steps=3, stream=stream)
    assert (result.used_rows, result.skipped_rows, result.skipped_episodes) == (1, 5, 2)
    assert evaluated(events) == [2, 3]


def test_large_numbers_with_small_differences_stay_distinct():
    seen = []
    model = types.SimpleNamespace(loss=lambda x_BTF, y_BC, y_BQ, classes, weight_BQ: seen.extend([y_BC, y_BQ]))
    for y_C in ([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]):
        episode = Episode(np.zeros((4, 1), dtype=np.float32), 1.7e12 + np.array(y_C), 1.7e12 + np.array([2.5]))
        episode_loss(model, episode, 0, torch.device("cpu"))
    expected = [[-(1.5**0.5), 0, 1.5**0.5], [0.5 * 1.5**0.5], [0, 0, 0], [0.5]]
    assert [y[0].tolist() for y in seen] == [pytest.approx(y) for y in expected]
    assert {y.dtype for y in seen} == {torch.float32}


def stepped(gradient, *, clip_norm=1.0, precision=FP32):
    """Returns a parameter that started at 0 after one step of SGD at rate 1, and the outcome of the step."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0, fused=True)
    went = take_step((parameter * gradient).sum(), optimizer, clip_norm=clip_norm, precision=precision)[2]
    return parameter.item(), went


def test_a_gradient_is_clipped_to_the_norm_unless_the_norm_is_0():
    assert [stepped(5.0, clip_norm=norm)[0] for norm in (0.5, 2, 0)] == pytest.approx([-0.5, -2, -5])


@pytest.mark.parametrize(
    ("precision", "outcome"),
    [(FP32, "diverged"), *((Precision("cpu", None, scaler(s)), of) for s, of in ((1, "overflow"), (0.5, "diverged")))],
    ids=["fp32", "scaled up", "scaled down"],
)
def test_a_non_finite_gradient_moves_nothing_and_is_an_overflow_if_scaled_up(precision, outcome):
    infinite = torch.tensor(3e38) * torch.tensor([[1.0], [1.0]])  # finite times 0, but their sum is not
    assert stepped(infinite, precision=precision) == (0.0, outcome)


def test_a_scale_that_overflows_fp16_skips_steps_until_it_fits():
    model = Linear()
    start = model.module.weight.detach().clone()
    precision = Precision("cpu", torch.float16, scaler(2.0**30))
    result, events, _ = run([0.9] * 9, steps=4, precision=precision, model=model)
    assert (result.outcome, result.overflowed_steps, precision.scaler.get_scale()) == ("finished", 4, 2.0**26)
    torch.testing.assert_close(model.module.weight, start, atol=0, rtol=0)
    result, _, _ = run([0.9] * 9, steps=16, precision=precision, model=model, patience=0)
    assert 0 < result.overflowed_steps < 12
    assert not torch.equal(model.module.weight, start)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_training_lowers_the_loss_in_16_bits_and_the_weights_stay_fp32(dtype):
    model, precision = Linear(), Precision("cpu", dtype, scaler(2.0**10, dtype == torch.float16))
    losses = [e.loss for e in steps_of(run([0.9] * 50, steps=50, patience=0, model=model, precision=precision)[1])]
    assert losses[-1] < losses[0] - 0.2
    assert (model.dtypes, model.module.weight.dtype) == ({dtype}, torch.float32)


def test_no_gradient_is_held_while_the_forward_pass_fills_memory():
    class Watched(Linear):
        def loss(self, *arguments):
            held.append(self.module.weight.grad)
            return super().loss(*arguments)

    held, model = [], Watched()
    run([0.9] * 9, steps=3, model=model)
    assert held == [None, None, None]
    assert model.module.weight.grad is not None, "the gradients of the last step remain, to be counted"


def one_second_a_look_at_the_clock():
    """Each step reads the clock twice, and a third time if it is evaluated."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def test_the_time_limit_ends_training_after_the_step_with_a_last_evaluation_and_at_the_same_rates():
    result, events, _ = run([0.9] * 9, eval_every=100, time_limit=6.0, now=one_second_a_look_at_the_clock())
    assert (result.outcome, result.ended_by, result.stopped_early) == ("finished", "time limit", False)
    assert 1 < result.steps_done == result.best_step < 5
    assert evaluated(events) == [result.steps_done]
    rates, whole = ([e.learning_rate for e in steps_of(of)] for of in (events, run([0.9] * 99, patience=0)[1]))
    assert rates == whole[: len(rates)]
    assert whole[0] == pytest.approx(0.05) and max(whole) == pytest.approx(0.1) and whole[-1] < 0.01


def test_a_limit_passed_during_an_evaluation_needs_no_further_evaluation():
    clock = [0.0]

    def scores():
        while True:
            clock[0] += 5
            yield 0.9

    result, events, _ = run(scores(), time_limit=5.0, now=lambda: clock[0])
    assert (result.ended_by, result.steps_done, evaluated(events)) == ("time limit", 2, [2])


def test_a_limit_passed_by_the_last_step_is_not_the_reason_for_the_end():
    result, events, _ = run([0.9] * 9, steps=2, time_limit=1e-9, eval_every=2, now=lambda: 0.0)
    assert (result.ended_by, result.steps_done) == ("", 2)
    result, events, _ = run([0.9] * 9, steps=1, time_limit=1e-9, now=one_second_a_look_at_the_clock())
    assert (result.ended_by, [event.seconds for event in events]) == ("", [1.0, 2.0])
