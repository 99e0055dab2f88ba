"""The training loop.

In: a model, episodes, an optimizer. Out: a stream of events, and the best state in the model when it ends.
Shape letters: C context rows, Q query rows, K classes.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import nn

from tabtune_core.events import EndedBy, Evaluated, Event, StepDone
from tabtune_core.metrics import METRICS
from tabtune_core.models.base import Trainable
from tabtune_core.settings import Schedule
from tabtune_core.training.clock import OwnClock
from tabtune_core.training.episodes import Episode
from tabtune_core.training.optimizer import rate_factor, set_rate
from tabtune_core.training.precision import Precision

Wish = Literal["stop", "cancel"] | None
Stepped = tuple[float, float, Literal["done", "overflow", "diverged"]]
"""The loss of a step, the norm of its gradient before clipping, and how it went: ``overflow`` is a gradient too large for fp16's scale."""


@dataclass(slots=True)
class TrainResult:
    """How training ended. Filled in while it goes on, so that a run that breaks off has it too."""

    outcome: Literal["finished", "stopped", "cancelled", "diverged"] = "finished"
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    steps_done: int = 0
    stopped_early: bool = False
    ended_by: EndedBy = ""
    used_rows: int = 0
    """Query rows that were trained on, a row counted each time."""
    skipped_rows: int = 0
    """Query rows whose class was absent from the context of their episode."""
    skipped_episodes: int = 0
    """Steps without a query row that could be scored."""
    overflowed_steps: int = 0
    """Steps whose gradient was too large for fp16, as it was scaled then."""
    dead_layers: tuple[str, ...] = ()


def episode_loss(model: Trainable, episode: Episode, classes: int, device: torch.device) -> torch.Tensor:
    """Mean loss of the query rows (nats for classes), weighted where the episode has weights; nan if none of them can be scored."""
    x_BTF, y_BC, y_BQ, weight_K = episode_tensors(episode, classes, device)
    return model.loss(x_BTF, y_BC, y_BQ, classes, weight_K)


def episode_tensors(
    episode: Episode, classes: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What a model's loss reads: features ``(1, T, F)``, answers ``(1, C)`` and ``(1, Q)``, and weights of classes ``(K,)``.

    Numbers go to the model as standard scores of the context: in float32, large ones that differ little, as dates do, would be one.
    """
    kind, y_C, y_Q = torch.int64 if classes else torch.float32, episode.y_C, episode.y_Q
    if not classes:
        mean, deviation = y_C.mean(), y_C.std() if np.ptp(y_C) else 1.0
        y_C, y_Q = (y_C - mean) / deviation, (y_Q - mean) / deviation
    x_BTF = torch.from_numpy(episode.x_TF)[None].to(device)
    y_BC, y_BQ = (torch.from_numpy(part)[None].to(device, kind) for part in (y_C, y_Q))
    weight_K = None if episode.weight_K is None else torch.from_numpy(episode.weight_K).to(device, torch.float32)
    return x_BTF, y_BC, y_BQ, weight_K


def take_step(loss: torch.Tensor, optimizer: torch.optim.Optimizer, *, clip_norm: float, precision: Precision) -> Stepped:
    """``queue_step``, and what came of it: the host waits once."""
    return stepped(queue_step(loss, optimizer, clip_norm=clip_norm, precision=precision), precision)


def queue_step(loss: torch.Tensor, optimizer: torch.optim.Optimizer, *, clip_norm: float, precision: Precision) -> torch.Tensor:
    """One optimizer step, which leaves the parameters alone where the loss or its gradient is not finite. The host decides nothing.

    Gradients of an earlier step must be gone: before the forward pass that made the loss, so that they are not held beside all it keeps.

    Args:
        loss: of the episode.
        optimizer: a fused one of torch's, which takes the word of a tensor for whether to step.
        clip_norm: longer gradients are shortened to it; 0 leaves them.
        precision: of the loss.

    Returns:
        The loss, the norm of its gradient before clipping, and the scale of fp16, ``(3,)``.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    precision.scaler.unscale_(optimizer)
    norm, scale = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf), precision.scaler.scale(torch.ones_like(loss))
    told = torch.stack([loss.detach(), norm, scale])
    vars(optimizer).update(grad_scale=None, found_inf=1 - told.isfinite().all().float())
    optimizer.step()
    precision.scaler.update()
    return told


def stepped(told: torch.Tensor, precision: Precision) -> Stepped:
    """Of what ``queue_step`` returned. A gradient may be too large for the scale alone: a smaller one is tried down to 1, the true size."""
    value, norm, scale = told.tolist()
    if not math.isfinite(value):
        return value, norm, "diverged"
    may_overflow = precision.scaler.is_enabled() and scale >= 1
    return value, norm, "done" if math.isfinite(norm) else "overflow" if may_overflow else "diverged"


def _step(
    model: Trainable, optimizer: torch.optim.Optimizer, classes: int, device: torch.device, clip_norm: float, precision: Precision,
    episode: Episode,
) -> Stepped:  # fmt: skip
    optimizer.zero_grad(set_to_none=True)
    with precision.autocast():
        loss = episode_loss(model, episode, classes, device)
    return take_step(loss, optimizer, clip_norm=clip_norm, precision=precision)


def train(
    model: Trainable,
    episodes: Iterator[Episode],
    optimizer: torch.optim.Optimizer,
    *,
    classes: int,
    steps: int,
    time_limit: float | None,
    clock: OwnClock,
    schedule: Schedule,
    warmup_steps: int,
    clip_norm: float,
    precision: Precision,
    eval_every: int,
    patience: int,
    metric: str,
    device: torch.device,
    score_validation: Callable[[], dict[str, float]],
    keep_best: Callable[[], None],
    wish: Callable[[], Wish],
    result: TrainResult,
    find_dead: Callable[[], list[str]],
    step_on: Callable[[Episode], Stepped] | None = None,
) -> Iterator[Event]:
    """Yields ``StepDone`` and ``Evaluated`` and fills ``result``. Does not restore the best state.

    Args:
        model: whose trainable parameters ``optimizer`` holds.
        episodes: one a step.
        optimizer: as ``make_optimizer`` makes it.
        classes: K; 0 for numbers.
        steps: at most so many.
        time_limit: seconds; training ends after the step at which they are over, looks included. The schedule does not know of it.
        clock: the run's own, which tells the seconds of the events.
        schedule: of the rate after the warm-up.
        warmup_steps: during which the rate rises.
        clip_norm: longer gradients are shortened to it; 0 leaves them.
        precision: of the steps; scores are in fp32.
        eval_every: steps between two looks at the validation rows.
        patience: looks without a better score before training stops early; 0 is for ever.
        metric: the validation score that decides.
        device: of the model.
        score_validation: scores the model as it is.
        keep_best: called when the present state is the best so far.
        wish: asked before each step; 'stop' and 'cancel' end training.
        result: comes with the validation scores before the first step: candidate 0, which the others must beat.
        find_dead: names adapted layers without a gradient after the first backward pass.
        step_on: does a step on an episode in another way than this loop's own.
    """
    step_on = step_on or partial(_step, model, optimizer, classes, device, clip_norm, precision)
    direction = METRICS[metric]
    misses = 0
    model.module.train()
    for step in range(1, steps + 1):
        asked = wish()
        if asked is not None:
            result.outcome = "stopped" if asked == "stop" else "cancelled"
            return
        rate = set_rate(optimizer, rate_factor(step - 1, schedule=schedule, steps=steps, warmup_steps=warmup_steps))
        episode = next(episodes)
        scored, first = int((episode.y_Q >= 0).sum()) if classes else len(episode.y_Q), result.used_rows == 0
        result.used_rows += scored
        result.skipped_rows += len(episode.y_Q) - scored
        if scored:
            value, norm, went = step_on(episode)
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
        if step % eval_every and step != steps and not clock.is_past(time_limit):
            continue
        scores = score_validation()
        best = direction.better(scores[metric], result.best_scores[metric])
        yield Evaluated(step, "validation", scores, best, clock.seconds)
        if all(map(math.isnan, scores.values())):  # one step too far: the loss was still finite before it
            result.outcome = "diverged"
            return
        if best:
            result.best_step, result.best_scores, misses = step, scores, 0
            keep_best()
        else:
            misses += 1
        result.stopped_early = 0 < misses == patience
        result.ended_by = "time limit" if step < steps and not result.stopped_early and clock.is_past(time_limit) else ""
        if result.stopped_early or result.ended_by:
            return
