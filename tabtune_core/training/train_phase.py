"""The training phase: makes episodes, an optimizer and a step from a session, and runs the loop.

In: a session, and zero-shot's scores, which training must beat. Out: the model in its best state, and its cost.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.checkpoint import checkpoint

from tabtune_core.lora.half_copies import half_copies
from tabtune_core.lora.inject import adapter_factors, dead_adapters
from tabtune_core.models.stages import replaced
from tabtune_core.training.best_checkpoint import BestState
from tabtune_core.training.episodes import Episode, draw_episodes, in_rounds
from tabtune_core.training.last_state import LastState
from tabtune_core.training.loop import LoopPlan, TrainResult, train
from tabtune_core.training.notices import training_notes
from tabtune_core.training.session import Session
from tabtune_core.training.step import make_optimizer, plain_step
from tabtune_core.training.zero_shot import ZeroShot, tell_zero_shot


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of the phase."""

    result: TrainResult
    best: BestState | None
    """The saved best state, which the model is in; None if nothing trains."""
    seconds: float = 0.0
    """The run's own seconds."""
    saved_seconds: float = 0.0
    """The part of ``seconds`` that other runs had computed."""
    wall_seconds: float = 0.0
    """Wall-clock time of the training."""


def train_model(session: Session, zero_shot: ZeroShot) -> Trained:
    """Trains what the strategy trains; does nothing for zero-shot."""
    module, environment = session.model.module, session.environment
    result = TrainResult(best_scores=zero_shot.candidate)
    if session.settings.strategy == "inference":
        return Trained(result, None)
    clock = session.arrays.clock
    best = BestState(module, environment.folder)
    with environment.meter.phase("train"), _as_asked(session):
        for note in training_notes(session.settings, session.plan, session.prefix.cut):
            environment.emit(note)
        optimizer = _optimizer(session, best)
        last = LastState(session, best, optimizer, result)
        clock.start()
        last.restore()
        if not result.steps_done:  # a resumed run had this memory peak in its earlier process
            session.prefix.begin_in_full()
            if environment.goes_on:  # the saved state could not be used, so zero-shot's earlier events are void
                with clock.aside():
                    tell_zero_shot(session, zero_shot)
        _run_loop(session, best, optimizer, result, last)
        spent = clock.seconds, clock.charged_seconds, clock.wall_seconds
        optimizer.zero_grad(set_to_none=True)
        del optimizer  # frees its memory, which nothing after the training needs
    best.restore()
    return Trained(result, best, *spent)


@contextmanager
def _as_asked(session: Session) -> Iterator[None]:
    """Applies the settings inside the block: activations recomputed, frozen stages cached, 16-bit copies of weights."""
    settings, environment, module = session.settings, session.environment, session.model.module
    with ExitStack() as contexts:
        if settings.train.gradient_checkpointing:
            contexts.enter_context(checkpointed(module, session.model.card.family.block_lists))
        contexts.enter_context(session.prefix.use(environment.shared is not None or settings.train.episode_set > 0))
        pairs = adapter_factors(module, session.report).values() if session.report else ()
        factors = [factor for pair in pairs for factor in pair]
        contexts.enter_context(half_copies(module, factors, session.precision.dtype))
        yield


def _optimizer(session: Session, best: BestState) -> torch.optim.Optimizer:
    train = session.settings.train
    return make_optimizer(
        best.trainable.items(),
        optimizer=train.optimizer,
        learning_rate=session.settings.learning_rate,
        weight_decay=train.weight_decay,
        betas=train.betas,
        eps=train.eps,
        lr_ratio=train.lr_ratio,
    )


def _run_loop(
    session: Session, best: BestState, optimizer: torch.optim.Optimizer, result: TrainResult, last: LastState
) -> None:
    """Takes all remaining training steps and emits their events."""
    environment, model, report = session.environment, session.model, session.report
    plan, clock = session.plan, session.arrays.clock
    assert plan.eval_every is not None, plan
    classes, most = len(session.plan.classes), session.model.native_classes
    classes = classes if most is None else min(classes, most)  # of an episode
    take_step = plain_step(
        model,
        optimizer,
        classes=classes,
        clip_norm=session.settings.train.clip_norm,
        precision=session.precision,
        device=session.device,
    )
    for event in train(
        model.module,
        _episodes(session, most_classes=classes, done=result.steps_done),
        optimizer,
        take_step,
        LoopPlan.of(
            session.settings,
            steps=plan.steps,
            eval_every=plan.eval_every,
            classes=classes,
            rungs=environment.rungs if environment.last_state else (),
        ),
        score_validation=lambda: _evaluate(session),
        keep_best=clock.aside()(lambda: best.keep(result.best_step)),
        stop_request=clock.aside()(environment.stop_request),
        find_dead=lambda: dead_adapters(model.module, report) if report else [],
        save_last=last.save,
        clock=clock,
        result=result,
    ):
        with clock.aside():
            environment.emit(event)


def _episodes(session: Session, *, most_classes: int, done: int) -> Iterator[Episode]:
    """Returns the endless episodes of the run's seed, or a repeated set of them, after the first ``done`` ones."""
    rows, classes, count = session.rows, len(session.plan.classes), session.settings.train.episode_set
    weights = session.table.weights
    weight_N = None if weights is None else weights[session.table.split.train]
    if session.settings.train.class_weights == "balanced":
        weight_K = compute_class_weight("balanced", classes=np.arange(classes), y=rows.y_N)
        weight_N = weight_K[rows.y_N] * (1.0 if weight_N is None else weight_N)
    if weight_N is not None:
        weight_N = weight_N / weight_N.mean()

    def draw() -> Iterator[Episode]:
        rng = np.random.default_rng([session.settings.seed, 1])
        return draw_episodes(rows.x_NF, rows.y_N, classes, rows.size, rng, most_classes=most_classes, weight_N=weight_N)

    return itertools.islice(in_rounds(draw, count), done % count if count else done, None)


def _evaluate(session: Session) -> dict[str, float]:
    """Scores the validation rows with the present model."""
    part = session.rows.held_out["validation"]
    with session.prefix.use():
        return part.score(session.rows.evaluator.predict(session.model, part.x_NF))


@contextmanager
def checkpointed(module: nn.Module, block_lists: Sequence[str]) -> Iterator[None]:
    """Checkpoints the blocks in lists such as ``icl_predictor.tf_icl.blocks``; dropout draws the same masks again.

    Chen et al. 2016, arXiv 1604.06174.
    """
    blocks = [block for path in block_lists for block in module.get_submodule(path).children()]
    with replaced((block, "forward", partial(_recomputed, block.forward)) for block in blocks):
        yield


def _recomputed(forward: Callable[..., Any], *positional: Any, **named: Any) -> Any:
    """Checkpoints a call; tensors go by position, where torch looks for the GPUs whose random state it saves."""
    # TabPFN passes lists to be emptied
    positional = tuple(value.pop() if isinstance(value, list) else value for value in positional)
    tensors = [value for value in named.values() if isinstance(value, torch.Tensor)]
    return checkpoint(
        lambda *every: forward(*every[: len(positional)], **named), *positional, *tensors, use_reentrant=False
    )
