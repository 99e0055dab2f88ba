"""The training loop.

In: a module, episodes, a step on one of them. Out: a stream of events, and how training ended.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from tabtune_core.events import EndedBy, Evaluated, Event, StepDone, StopRequest
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings, Schedule
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.episodes import Episode
from tabtune_core.training.optimizer import rate_factor, set_rate
from tabtune_core.training.step import Stepped

REPORTED_STEPS = 5_000
"""Steps after which the distance between two that are reported doubles, at each doubling of their number."""


@dataclass(slots=True)
class TrainResult:
    """How training ended. Filled in while it goes on, so that a run that breaks off has it too, and one that goes on begins with it."""

    outcome: Literal["finished", "stopped", "cancelled", "diverged"] = "finished"
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    steps_done: int = 0
    stopped_early: bool = False
    ended_by: EndedBy = ""
    used_rows: int = 0
    """Query rows that were trained on; a row counts each time."""
    skipped_rows: int = 0
    """Query rows whose class was absent from the context of their episode."""
    skipped_episodes: int = 0
    """Steps without a query row that could be scored."""
    overflowed_steps: int = 0
    """Steps whose gradient was too large for fp16, as it was scaled then."""
    dead_layers: tuple[str, ...] = ()
    misses: int = 0
    """Evaluations without a better score since the best one."""
    resumed_steps: tuple[int, ...] = ()
    """After which training went on in another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """How long training goes on, at what rate, and when it is evaluated."""

    steps: int
    """At most so many."""
    classes: int
    """That an episode may show; 0 for numbers."""
    metric: str
    """The validation score that decides."""
    eval_every: int
    """Steps between two evaluations on the validation rows."""
    patience: int
    """Evaluations without a better score before training stops early; 0 is for ever."""
    schedule: Schedule
    """Of the rate after the warm-up."""
    warmup_steps: int
    """During which the rate rises."""
    time_limit: float | None = None
    """Seconds; training ends after the step at which they are over, evaluations included. The schedule does not know of it."""

    @classmethod
    def of(cls, settings: RunSettings, *, steps: int, eval_every: int, classes: int) -> "LoopPlan":
        """What the settings say, for a run of so many steps, evaluated so often; a longer warm-up is shortened."""
        train = settings.train
        return cls(
            steps=steps,
            classes=classes,
            metric=settings.selection_metric,
            eval_every=eval_every,
            patience=train.patience_of(eval_every),
            schedule=train.schedule,
            warmup_steps=min(train.warmup_steps_of(steps), steps),
            time_limit=train.time_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What the loop asks of those who know the model and the person."""

    score_validation: Callable[[], dict[str, float]]
    """Scores the model as it is."""
    keep_best: Callable[[], None]
    """Called when the present state is the best so far."""
    stop_request: Callable[[], StopRequest | None]
    """Asked before each step; 'stop' and 'cancel' end training."""
    find_dead: Callable[[], list[str]]
    """Names adapted layers without a gradient after the first backward pass."""
    save_last: Callable[[], None] = lambda: None
    """Called after each evaluation, when ``result`` is true of it."""


def _steps_to_do(plan: LoopPlan, result: TrainResult) -> range:
    """Steps after the last one done; empty where training ended before its last step."""
    done = plan.steps if result.stopped_early or result.ended_by else result.steps_done
    return range(done + 1, plan.steps + 1)


def is_reported(step: int, plan: LoopPlan, went: str = "") -> bool:
    """Whether a step is worth an event: each of the first REPORTED_STEPS, then fewer and fewer; always the last, one that diverged
    (``went``), and those that are evaluated.

    Of a million steps, evaluated every thousandth, about 26,000 are.
    """
    apart = 1 << ((step - 1) // REPORTED_STEPS).bit_length()
    return step % apart == 0 or step % plan.eval_every == 0 or step == plan.steps or went == "diverged"


def _if_reported(done: StepDone, plan: LoopPlan, went: str) -> list[StepDone]:
    return [done] if is_reported(done.step, plan, went) else []


def train(
    module: nn.Module,
    episodes: Iterator[Episode],
    optimizer: torch.optim.Optimizer,
    take_step: Callable[[Episode], Stepped],
    plan: LoopPlan,
    ask: Callbacks,
    *,
    clock: OwnClock,
    result: TrainResult,
) -> Iterator[Event]:
    """Yields ``Evaluated`` and, of the steps that are reported, ``StepDone``, and fills ``result``. Does not restore the best state.

    Args:
        module: that trains; it is put into training mode.
        episodes: one a step.
        optimizer: whose rate is set before each step.
        take_step: moves the module's parameters by one episode, as ``plain_step`` does.
        plan: how long, at what rate, and when to evaluate.
        ask: whom to ask and inform meanwhile.
        clock: the run's own, which gives the seconds of the events.
        result: comes with the validation scores before the first step: candidate 0, which the others must beat. Or it is that of an
            evaluation of the same training, from which this goes on.
    """
    direction = METRICS[plan.metric]
    module.train()
    for step in _steps_to_do(plan, result):
        request = ask.stop_request()
        if request is not None:
            result.outcome = "stopped" if request == "stop" else "cancelled"
            return
        rate = set_rate(optimizer, rate_factor(step - 1, schedule=plan.schedule, steps=plan.steps, warmup_steps=plan.warmup_steps))
        episode = next(episodes)
        scored, first = episode.scored(plan.classes), result.used_rows == 0
        result.used_rows += scored
        result.skipped_rows += len(episode.y_Q) - episode.known(plan.classes)
        if scored:
            value, norm, went = take_step(episode)
            if first:
                result.dead_layers = tuple(ask.find_dead())
            yield from _if_reported(StepDone(step, value, norm, rate, clock.seconds), plan, went)
            if went == "diverged":
                result.outcome = "diverged"
                return
            result.overflowed_steps += went == "overflow"
        else:
            result.skipped_episodes += 1
        result.steps_done = step
        if step % plan.eval_every and step != plan.steps and not clock.is_past(plan.time_limit):
            continue
        scores = ask.score_validation()
        best = direction.better(scores[plan.metric], result.best_scores[plan.metric])
        yield Evaluated(step, "validation", scores, best, clock.seconds)
        if all(map(math.isnan, scores.values())):  # one step too far: the loss was still finite before it
            result.outcome = "diverged"
            return
        if best:
            result.best_step, result.best_scores, result.misses = step, scores, 0
            ask.keep_best()
        else:
            result.misses += 1
        result.stopped_early = 0 < result.misses == plan.patience
        result.ended_by = "time limit" if step < plan.steps and not result.stopped_early and clock.is_past(plan.time_limit) else ""
        ask.save_last()
        if result.stopped_early or result.ended_by:
            return
