"""The training loop.

In: a model, episodes, an optimizer. Out: a stream of events, and the best state in the model when it ends.
Shape letters: C context rows, Q query rows, K classes.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn

from tabtune_core.data.episodes import Episode
from tabtune_core.events import Evaluated, Event, Note, StepDone
from tabtune_core.metrics import METRICS
from tabtune_core.models.adapter import BaseModel
from tabtune_core.training.optimizer import rate_factor, set_rate

Wish = Literal["stop", "cancel"] | None


@dataclass(slots=True)
class TrainResult:
    """How training ended. Filled in while it goes on, so that a run that breaks off has it too."""

    outcome: Literal["finished", "stopped", "cancelled", "diverged"] = "finished"
    best_step: int = 0
    best_scores: dict[str, float] = field(default_factory=dict)
    steps_done: int = 0
    stopped_early: bool = False
    skipped_rows: int = 0
    """Query rows whose class was absent from the context of their episode."""
    dead_layers: tuple[str, ...] = ()


def episode_loss(model: BaseModel, episode: Episode, classes: int, device: torch.device) -> torch.Tensor:
    """Mean loss of the query rows (nats for classes); nan if none of them can be scored."""
    kind = torch.int64 if classes else torch.float32
    x_BTF = torch.from_numpy(episode.x_TF)[None].to(device)
    y_BC, y_BQ = (torch.from_numpy(part)[None].to(device, kind) for part in (episode.y_C, episode.y_Q))
    return model.loss(x_BTF, y_BC, y_BQ, classes)


def train(
    model: BaseModel,
    episodes: Iterator[Episode],
    optimizer: torch.optim.Optimizer,
    *,
    classes: int,
    steps: int,
    warmup_steps: int,
    clip_norm: float,
    eval_every: int,
    patience: int,
    metric: str,
    device: torch.device,
    score_validation: Callable[[], dict[str, float]],
    keep_best: Callable[[], None],
    wish: Callable[[], Wish],
    result: TrainResult,
    find_dead: Callable[[], list[str]],
) -> Iterator[Event]:
    """Yields ``StepDone``, ``Evaluated`` and ``Note`` and fills ``result``. Does not restore the best state.

    Args:
        model: whose trainable parameters ``optimizer`` holds.
        episodes: one a step.
        optimizer: its rate is the peak rate.
        classes: K; 0 for numbers.
        steps: at most so many.
        warmup_steps: during which the rate rises.
        clip_norm: longer gradients are shortened to it.
        eval_every: steps between two looks at the validation rows.
        patience: looks without a better score before training stops early.
        metric: the validation score that decides.
        device: of the model.
        score_validation: scores the model as it is.
        keep_best: called when the present state is the best so far.
        wish: asked before each step; 'stop' and 'cancel' end training.
        result: comes with the validation scores before the first step: candidate 0, which the others must beat.
        find_dead: names adapted layers without a gradient after the first backward pass.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    peak_rate = optimizer.param_groups[0]["lr"]
    direction = METRICS[metric]
    started, misses = time.monotonic(), 0
    model.module.train()
    for step in range(1, steps + 1):
        asked = wish()
        if asked is not None:
            result.outcome = "stopped" if asked == "stop" else "cancelled"
            return
        rate = peak_rate * rate_factor(step - 1, steps=steps, warmup_steps=warmup_steps)
        set_rate(optimizer, rate)
        episode = next(episodes)
        result.skipped_rows += int((episode.y_Q < 0).sum()) if classes else 0
        if classes and (episode.y_Q < 0).all():
            yield Note(f"Step {step} was left out: no query row of its episode has a class that the context shows.", "warning")
            continue
        loss = episode_loss(model, episode, classes, device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(parameters, clip_norm))
        if step == 1:
            result.dead_layers = tuple(find_dead())
        value = loss.item()
        yield StepDone(step, value, norm, rate, time.monotonic() - started)
        if not (math.isfinite(value) and math.isfinite(norm)):
            result.outcome = "diverged"
            return
        optimizer.step()
        result.steps_done = step
        if step % eval_every and step != steps:
            continue
        scores = score_validation()
        best = direction.better(scores[metric], result.best_scores[metric])
        yield Evaluated(step, "validation", scores, best, time.monotonic() - started)
        if all(math.isnan(score) for score in scores.values()):  # one step too far: the loss was still finite before it
            result.outcome = "diverged"
            return
        if best:
            result.best_step, result.best_scores, misses = step, scores, 0
            keep_best()
        else:
            misses += 1
            if misses >= patience:
                result.stopped_early = True
                return
