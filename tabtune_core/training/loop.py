"""The training loop.

In: a module, episodes, and a function that takes a step on one. Out: a stream of events, and how training ended.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import nn

from tabtune_core.events import EndedBy, Evaluated, Event, StepDone, StopRequest
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings, Schedule
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.episodes import Episode
from tabtune_core.training.step import Stepped, rate_factor, set_rate


@dataclass(slots=True)
class TrainResult:
    """How training ended; updated meanwhile, so that a resumed run starts with it."""

    outcome: Literal["finished", "stopped", "cancelled", "diverged", "waiting"] = "finished"
    """Waiting means that training pauses at a rung and can be continued from its last state."""
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
    """Steps whose scaled gradient was too large for fp16."""
    dead_layers: tuple[str, ...] = ()
    misses: int = 0
    """Evaluations since the best one."""
    evaluated_step: int = 0
    """The step of the last evaluation; 0 before the first."""
    resumed_steps: tuple[int, ...] = ()
    """Steps after which training resumed in another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """How long to train, at what learning rate, and when to evaluate."""

    steps: int
    """Most steps."""
    classes: int
    """Most classes of an episode; 0 for numbers."""
    metric: str
    """The selection metric."""
    eval_every: int
    """Steps between two evaluations on the validation rows."""
    patience: int
    """Evaluations without a better score before training stops early; 0: never."""
    schedule: Schedule
    """Learning rate schedule after the warm-up."""
    warmup_steps: int
    """Steps during which the learning rate rises."""
    rungs: tuple[int, ...] = ()
    """Steps after which training pauses, each that of an evaluation."""
    time_limit: float | None = None
    """Seconds after which training ends with the current step, evaluations included; the schedule stays."""

    @classmethod
    def of(
        cls, settings: RunSettings, *, steps: int, eval_every: int, classes: int, rungs: tuple[float, ...] = ()
    ) -> "LoopPlan":
        """Makes the plan for the given steps; ``rungs`` are shares of them, each moved to the nearest evaluation."""
        train = settings.train
        return cls(
            steps=steps,
            classes=classes,
            metric=settings.selection_metric,
            eval_every=eval_every,
            patience=train.patience_of(eval_every),
            schedule=train.schedule,
            warmup_steps=min(train.warmup_steps_of(steps), steps),
            rungs=tuple(
                step for share in rungs if (step := eval_every * max(1, round(share * steps / eval_every))) < steps
            ),
            time_limit=train.time_limit,
        )

    @property
    def first_stop(self) -> int:
        """The first step after which training may stop early: a third of the steps, and never within the warm-up."""
        return max(math.ceil(self.steps / 3), self.warmup_steps)


def train(
    module: nn.Module,
    episodes: Iterator[Episode],
    optimizer: torch.optim.Optimizer,
    take_step: Callable[[Episode], Stepped],
    plan: LoopPlan,
    *,
    score_validation: Callable[[], dict[str, float]],
    keep_best: Callable[[], None],
    stop_request: Callable[[], StopRequest | None],
    find_dead: Callable[[], list[str]],
    save_last: Callable[[bool], None] = lambda pauses: None,
    clock: OwnClock,
    result: TrainResult,
) -> Iterator[Event]:
    """Yields ``StepDone`` and ``Evaluated``, and updates ``result``; restores no state.

    Each step takes an episode; ``stop_request`` is asked before it. ``score_validation`` scores the present model at
    each evaluation, after which ``keep_best`` is called if its state is the best so far, and ``save_last``, with True
    where training pauses. ``find_dead`` returns the adapted layers without a gradient after the first backward pass.
    ``result`` has the scores of candidate 0, which later states must beat, or is that of a training to continue.
    """
    module.train()
    evaluate = partial(_evaluate, plan, score_validation, keep_best, clock, result)
    for step in () if _is_over(result, plan) else range(result.steps_done + 1, plan.steps + 1):
        if request := stop_request():
            result.outcome = "stopped" if request == "stop" else "cancelled"
            if request == "stop" and result.steps_done > result.evaluated_step:
                yield from evaluate(result.steps_done)
            return
        share = rate_factor(step - 1, schedule=plan.schedule, steps=plan.steps, warmup_steps=plan.warmup_steps)
        rate = set_rate(optimizer, share)
        episode = next(episodes)
        scored, first = episode.scored(plan.classes), result.used_rows == 0
        result.used_rows += scored
        result.skipped_rows += len(episode.y_Q) - episode.known(plan.classes)
        if scored:
            value, norm, went = take_step(episode)
            if first:
                result.dead_layers = tuple(find_dead())
            yield StepDone(step, value, norm, rate, clock.seconds)
            if went == "diverged":
                result.outcome = "diverged"
                return
            result.overflowed_steps += went == "overflow"
        else:
            result.skipped_episodes += 1
        result.steps_done = step
        if step % plan.eval_every and step != plan.steps and not clock.is_past(plan.time_limit):
            continue
        yield from evaluate(step)
        if result.outcome == "diverged":
            return
        _look_at_the_limits(result, plan, step, clock)
        over = _is_over(result, plan)
        save_last(result.outcome == "waiting")
        if over:
            return


def _look_at_the_limits(result: TrainResult, plan: LoopPlan, step: int, clock: OwnClock) -> None:
    """Notes whether training ends after ``step``, early or by its time limit."""
    result.stopped_early = 0 < plan.patience <= result.misses and step >= plan.first_stop
    in_time = step == plan.steps or result.stopped_early or not clock.is_past(plan.time_limit)
    result.ended_by = "" if in_time else "time limit"


def _is_over(result: TrainResult, plan: LoopPlan) -> bool:
    """Whether training ends or pauses after the steps done, also those of a process whose result is continued."""
    ended = result.stopped_early or bool(result.ended_by)
    result.outcome = "waiting" if not ended and result.steps_done in plan.rungs else "finished"
    return ended or result.outcome == "waiting"


def _evaluate(
    plan: LoopPlan,
    score_validation: Callable[[], dict[str, float]],
    keep_best: Callable[[], None],
    clock: OwnClock,
    result: TrainResult,
    step: int,
) -> Iterator[Event]:
    """Scores the state after ``step`` and yields the scores; keeps the state if it is the best."""
    scores = score_validation()
    best = METRICS[plan.metric].better(scores[plan.metric], result.best_scores[plan.metric])
    yield Evaluated(step, "validation", scores, best, clock.seconds)
    result.evaluated_step = step
    if all(map(math.isnan, scores.values())):  # the last step diverged, although the loss before it was finite
        result.outcome = "diverged"
    elif best:
        result.best_step, result.best_scores, result.misses = step, scores, 0
        keep_best()
    else:
        result.misses += 1
