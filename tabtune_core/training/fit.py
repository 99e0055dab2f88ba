"""One model fitted to one table: what a run and a pipeline have in common.

In: settings and a prepared table. Out: events while it goes on; the model in its best state, and what was measured. Candidate 0 is
zero-shot, so that the result is never worse on the validation rows.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from tabtune_core.data.task import Prepared
from tabtune_core.errors import Cancelled, LabelError
from tabtune_core.events import Evaluated, Event, Note, RunFinished, RunPlanned
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.half_copies import half_copies
from tabtune_core.lora.inject import LoraReport, adapter_factors, dead_adapters, inject
from tabtune_core.metrics import METRICS, score_all
from tabtune_core.models.activation_tape import NUMBER_BYTES
from tabtune_core.models.base import Array, BaseModel, Trainable, load_model
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import check_features, check_request, get_card
from tabtune_core.models.checkpoints import is_here
from tabtune_core.models.stages import stages_of
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.array_cache import SharedArrays
from tabtune_core.training.best_checkpoint import BestState
from tabtune_core.training.captured_step import CapturedStep, why_not
from tabtune_core.training.device import describe_device
from tabtune_core.training.episodes import Episode, draw_episodes, in_rounds
from tabtune_core.training.kernel_warmup import use_once
from tabtune_core.training.loop import TrainResult, Wish, train
from tabtune_core.training.memory.breakdown import by_cause, held_bytes
from tabtune_core.training.memory.estimate import Sizes, estimate_memory
from tabtune_core.training.memory.malloc import large_blocks_apart
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.model_inputs import ModelRows, Part
from tabtune_core.training.notices import beginnings, capture, costs, endings, training_notes
from tabtune_core.training.optimizer import make_optimizer
from tabtune_core.training.packed_turns import ALONE, Alone, Member
from tabtune_core.training.precision import Precision, emulation
from tabtune_core.training.prefix_cache import SharedPrefix
from tabtune_core.training.recompute import checkpointed
from tabtune_core.training.scoring import Scorer

OWN = "default"
"""What the adapter that a fit trains is called, as in PEFT."""
PRIVATE = "frozen"
"""Folder within the fit's own of what it makes once, where nothing is shared with other fits."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model in its best state."""

    model: BaseModel
    adapters: AdapterSet
    """The adapter that was trained, or none."""
    report: LoraReport | None
    table: Prepared
    rows: ModelRows
    plan: RunPlanned
    predictions: dict[Part, NDArray[np.float64]]
    """Of the held-out rows, by part: probabilities or numbers."""
    zero_shot: dict[Part, NDArray[np.float64]]
    """The same before training; the very same where no trained state was better."""
    result: RunFinished
    """Without an adapter package, which is not made here."""


def fit(
    settings: RunSettings, prepare_table: Callable[[ModelCard], Prepared], *, device: torch.device, meter: MemoryMeter, folder: Path,
    emit: Callable[[Event], None], wish: Callable[[], Wish] = lambda: None, shared: Path | None = None, member: Member | Alone = ALONE,
) -> Fitted:  # fmt: skip
    """Loads the model, scores it as it is, trains it and scores it again.

    Args:
        settings: the model, what may change of it, and how; where the rows come from is not read here.
        prepare_table: makes the table ready for the model.
        device: to compute on.
        meter: is told of every phase.
        folder: of the best state while it trains.
        emit: called from two threads.
        wish: asked before every step.
        shared: folder of what fits share; None: a fit keeps for itself, in ``folder``, what it asks for again.
        member: of a pack of fits that train together; this one's turn has come.

    Raises:
        Cancelled: a person asked for the end without a result.
        TabTuneError: what was asked cannot be done; the text says why and what would do.
    """
    check_request(settings)
    precision = Precision.of(settings.train.amp, device)
    cards = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cards):
        torch.manual_seed(settings.seed)  # the adapter's start and dropout
        with meter.phase("load"):
            table = prepare_table(get_card(settings.model))
            model, adapters = _open(settings, device, emit)
            report = adapters.report(OWN) if adapters.names else None
            check_features(model.card, table.context.x_CF.shape[1])
            _check_classes(model, len(table.context.labels.classes))
            rows = ModelRows.of(table, model, settings.train)
            plan = _plan(settings, table, model, rows, report, describe_device(device))
            emit(plan)
            for note in (*emulation(settings.train.amp, device), *beginnings(settings, table, report, plan)):
                emit(note)
        arrays = member.share(SharedArrays(folder / PRIVATE if shared is None else shared, _salt(model, plan)))
        prefix = SharedPrefix(
            model.module, stages_of(model.card.family, model.module), arrays,
            on=settings.strategy != "inference" and settings.train.amp == "off",
        )  # fmt: skip
        with meter.phase("zero-shot"):
            untrained = {name: _zero_shot(rows.scorer, part.x_NF, model, prefix, name) for name, part in rows.held_out.items()}
            zero_shot = {name: score_all(part.y_N, untrained[name]) for name, part in rows.held_out.items()}
            first = {
                name: _first_evaluation(settings, rows, model, prefix, scores) if name == "validation" else scores
                for name, scores in zero_shot.items()
            }
            for name, scores in first.items():
                emit(Evaluated(0, name, scores, name == "validation", 0.0))

        result, train_seconds, saved_seconds = TrainResult(best_scores=first.get("validation", {})), 0.0, 0.0
        best: BestState | None = None
        held = held_bytes(model.module, None)
        if settings.strategy != "inference":
            arrays.clock.start()
            prefix.begin_in_full()
            best = BestState(model.module, folder)
            recompute = (
                checkpointed(model.module, model.card.family.block_lists) if settings.train.gradient_checkpointing else nullcontext()
            )
            heap = large_blocks_apart() if settings.train.gradient_checkpointing and device.type == "cpu" else nullcontext()
            come_again = shared is not None or settings.train.episode_set > 0
            factors = [factor for pair in adapter_factors(model.module, report).values() for factor in pair] if report else []
            halves = half_copies(model.module, factors, precision.dtype)
            with meter.phase("train"), recompute, heap, prefix.use(come_again), halves:
                captured = settings.train.cuda_graph and _captured(settings, model, plan, device, prefix, emit)
                for note in training_notes(settings, plan, prefix.cut, member.others):
                    emit(note)
                optimizer = _optimizer(settings, best, captured)
                trained = member.join(model, prefix.cut)
                for event in _training(
                    settings, model, trained, rows, plan, report, best, optimizer, result, device, precision, wish, prefix, captured
                ):
                    emit(event)
                member.wait_for_others(result.outcome, wish)
                held = held_bytes(model.module, optimizer)
                optimizer.zero_grad(set_to_none=True)
                del optimizer  # three numbers a trained weight that nothing after the training needs
            train_seconds, saved_seconds = arrays.clock.seconds, arrays.clock.charged_seconds
            member.wait_for_others(result.outcome, wish)  # who goes on resets the meters of the process
            best.restore()
        if result.outcome == "cancelled" or wish() == "cancel":
            raise Cancelled("The run was cancelled; nothing of it is kept but its log.")

        with meter.phase("evaluate"):
            predictions: dict[Part, NDArray[np.float64]] = {}
            predict_seconds = 0.0
            for name, part in rows.held_out.items():
                started = time.monotonic()
                with prefix.use(name == "validation" and "test" in rows.held_out):  # what is timed is computed in full
                    predictions[name] = rows.scorer.predict(model, part.x_NF)
                predict_seconds = time.monotonic() - started  # of the last part: the test rows, where there are any
            evaluated_step = result.best_step
            predictions = _returned(settings, rows, predictions, untrained, best, result)
            final = {name: score_all(part.y_N, predictions[name]) for name, part in rows.held_out.items()}
            if "test" in final:
                emit(Evaluated(result.best_step, "test", final["test"], False, train_seconds))
        model.module.eval()
    growth = meter.growth_bytes["evaluate" if settings.strategy == "inference" else "train"] if final else None  # where nothing ran
    finished = member.without_costs(RunFinished(
        outcome=result.outcome, best_step=result.best_step, steps_done=result.steps_done, stopped_early=result.stopped_early,
        ended_by=result.ended_by, validation=final.get("validation", {}), test=final.get("test", {}),
        zero_shot_validation=zero_shot.get("validation", {}),
        zero_shot_test=zero_shot.get("test", {}), train_seconds=train_seconds, predict_seconds=predict_seconds,
        shared_saved_seconds=saved_seconds, peak_memory_bytes=meter.highest_bytes,
        growth_memory_bytes=growth, memory_meter=meter.speaks,
        trainable_parameters=plan.trainable_parameters, total_parameters=plan.total_parameters, adapter_bytes=None,
        extra={
            "used_rows": result.used_rows, "skipped_rows": result.skipped_rows, "skipped_episodes": result.skipped_episodes,
            "context_sha256": table.context.sha256, "memory_by_cause_bytes": by_cause(held, growth),
            "estimated_bytes": _estimate(settings, model, rows, plan, held["weights"], on_gpu=device.type == "cuda"),
            "shared_made": arrays.made, "shared_reused": arrays.reused,
        },
        context_rows=plan.context_rows, train_context_rows=plan.train_context_rows,
    ))  # fmt: skip
    for note in (*costs(finished), *endings(settings, plan.steps, result, arrays, evaluated_step)):
        emit(note)
    untrained = untrained if result.best_step else predictions
    return Fitted(model, adapters, report, table, rows, plan, predictions, untrained, finished)


def adapt(model: BaseModel, settings: RunSettings) -> LoraReport:
    """Puts the adapter that the settings describe on a model."""
    return inject(model.module, **adapter_arguments(model, settings.lora))


def adapter_arguments(model: BaseModel, lora: LoraSettings) -> dict[str, Any]:
    """What ``inject``, or an ``AdapterSet`` of the model's module, is to be told."""
    family, paths = model.card.family, (name for name, _ in model.module.named_parameters())
    return {
        "rank": lora.rank, "alpha": lora.alpha, "dropout": lora.dropout, "targets": lora.targets or family.targets, "bias": lora.bias,
        "groups": family.groups_in(model.task, paths), "passed_over": family.passed_over, "unused": family.unused[model.task],
        "use_rslora": lora.use_rslora, "use_dora": lora.use_dora, "rank_pattern": lora.rank_pattern, "alpha_pattern": lora.alpha_pattern,
    }  # fmt: skip


def _open(settings: RunSettings, device: torch.device, emit: Callable[[Event], None]) -> tuple[BaseModel, AdapterSet]:
    """The base model with what the strategy trains, and nothing else, made trainable."""
    card = get_card(settings.model)
    weights = card.weights_for(settings.task)
    if settings.checkpoint is None and not is_here(weights):
        emit(Note(f"Downloading {weights.file} (about {4e-6 * weights.total_parameters:.0f} MB); the log shows how far it is."))
    model = load_model(card, settings.task, device, settings.checkpoint)
    if settings.strategy == "inference":
        model.module.requires_grad_(False)
    adapters = AdapterSet(model.module)
    if settings.strategy == "peft":
        adapters.add(OWN, **adapter_arguments(model, settings.lora))
    use_once(model, device=device)  # or it would count as the growth of zero-shot and training
    return model, adapters


def _check_classes(model: BaseModel, classes: int) -> None:
    """A named checkpoint may have fewer classes than the model's own."""
    most = model.native_classes
    if model.card.family.class_limit is not None and most is not None and classes > most:
        raise LabelError(f"The target has {classes} classes; the weights in {model.source.file} are for at most {most}. Name others.")


def _salt(model: BaseModel, plan: RunPlanned) -> str:
    """What every shared array depends on beside its own inputs."""
    packages = ("tabtune-dashboard", "torch", model.card.family.distribution)
    card = re.sub(r"^cuda:\d+", "cuda", plan.device)  # equal cards give equal numbers
    return " ".join([model.source.sha256, model.task, card, *(f"{name} {version(name)}" for name in packages)])


def _zero_shot(scorer: Scorer, x_NF: Array, model: BaseModel, prefix: SharedPrefix, name: Part) -> NDArray[np.float64]:
    """Predictions of the model before training, when no adapter changes anything yet."""
    with prefix.use(name == "validation"):  # which is looked at again
        parts = ["zero-shot", scorer.x_CF, scorer.y_C, scorer.classes, scorer.views, x_NF]
        return prefix.arrays.get(parts, lambda: scorer.predict(model, x_NF))


def _first_evaluation(
    settings: RunSettings, rows: ModelRows, model: BaseModel, prefix: SharedPrefix, scores: dict[str, float]
) -> dict[str, float]:  # fmt: skip
    """Zero-shot as the evaluations while training will see it; ``scores`` are those with all rows shown."""
    if rows.evaluator is rows.scorer:
        return scores
    part = rows.held_out["validation"]
    return score_all(part.y_N, _zero_shot(rows.evaluator, part.x_NF, model, prefix, "validation"))


def _returned(
    settings: RunSettings, rows: ModelRows, trained: dict[Part, NDArray[np.float64]], untrained: dict[Part, NDArray[np.float64]],
    best: BestState | None, result: TrainResult,
) -> dict[Part, NDArray[np.float64]]:  # fmt: skip
    """Predictions of the state that the fit returns: the trained one where it is better on the validation rows than zero-shot.

    Both with all the rows shown that predictions are, which evaluations while training may not have been.
    """
    if best is None:
        return trained
    metric, part = settings.selection_metric, rows.held_out["validation"]
    new, old = (score_all(part.y_N, predicted["validation"])[metric] for predicted in (trained, untrained))
    better = METRICS[metric].better(new, old)
    if not better:
        best.restore_first()
        result.best_step = 0
    best.remove()
    return trained if better else untrained


def _plan(settings: RunSettings, table: Prepared, model: BaseModel, rows: ModelRows, report: LoraReport | None, device: str) -> RunPlanned:
    train_settings = settings.train
    steps = train_settings.steps or train_settings.epochs * rows.size.steps_an_epoch(len(rows.y_N))
    parameters = list(model.module.parameters())
    return RunPlanned(
        device=device, steps=0 if settings.strategy == "inference" else steps, train_rows=len(rows.y_N),
        validation_rows=len(table.split.validation), test_rows=len(table.split.test), context_rows=len(table.context.y_C),
        query_rows=rows.size.query, features=rows.x_NF.shape[1], classes=table.context.labels.classes,
        total_parameters=sum(p.numel() for p in parameters), trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        layers=report.rows() if report else (), base=model.source.to_dict(),
        train_context_rows=None if settings.strategy == "inference" else rows.size.context,
        evaluation_context_rows=None if settings.strategy == "inference" else len(rows.evaluator.y_C),
    )  # fmt: skip


def _estimate(
    settings: RunSettings, model: BaseModel, rows: ModelRows, plan: RunPlanned, weights_bytes: int, *, on_gpu: bool
) -> dict[str, int] | None:
    """What was to be expected for these very sizes; None for weights of another architecture than the model's own, or no rows."""
    if not rows.held_out or weights_bytes != NUMBER_BYTES * model.card.weights_for(settings.task).total_parameters:
        return None
    parts = rows.held_out if settings.strategy == "inference" else {"validation": rows.held_out["validation"]}
    sizes = Sizes.of(
        settings, train_rows=plan.train_rows, predicted_rows=max(len(part.y_N) for part in parts.values()),
        features=plan.features, classes=len(plan.classes), shown_rows=plan.context_rows,
    )  # fmt: skip
    return asdict(estimate_memory(settings, model.card, sizes, on_gpu=on_gpu))


def _captured(
    settings: RunSettings, model: BaseModel, plan: RunPlanned, device: torch.device, prefix: SharedPrefix, emit: Callable[[Event], None]
) -> bool:
    """Whether the steps are one CUDA graph, as was asked; a note says so, or why not."""
    sizes_differ = model.native_classes is not None and len(plan.classes) > model.native_classes
    why = why_not(settings.train, model.card.family, device, read_from_files=bool(prefix.cut), sizes_differ=sizes_differ)
    emit(capture(why))
    return why is None


def _optimizer(settings: RunSettings, best: BestState, captured: bool) -> torch.optim.Optimizer:
    knobs = settings.train
    return make_optimizer(
        best.named_parameters, optimizer=knobs.optimizer, learning_rate=settings.learning_rate, weight_decay=knobs.weight_decay,
        betas=knobs.betas, eps=knobs.eps, lr_ratio=knobs.lr_ratio, captured=captured,
    )  # fmt: skip


def _training(
    settings: RunSettings, model: BaseModel, trained: Trainable, rows: ModelRows, plan: RunPlanned, report: LoraReport | None,
    best: BestState, optimizer: torch.optim.Optimizer, result: TrainResult, device: torch.device, precision: Precision,
    wish: Callable[[], Wish], prefix: SharedPrefix, captured: bool,
) -> Iterator[Event]:  # fmt: skip
    knobs, classes = settings.train, len(plan.classes)
    shown = classes if model.native_classes is None else min(classes, model.native_classes)

    weight_K = compute_class_weight("balanced", classes=np.arange(classes), y=rows.y_N) if knobs.class_weights == "balanced" else None

    def drawn() -> Iterator[Episode]:
        rng = np.random.default_rng([settings.seed, 1])
        return draw_episodes(rows.x_NF, rows.y_N, classes, rows.size, rng, most_classes=shown, weight_K=weight_K)

    def look() -> dict[str, float]:
        with prefix.use():
            return rows.evaluator.score(model, rows.held_out["validation"])

    step_on = None
    if captured:
        step_on = CapturedStep(model, optimizer, classes=shown, clip_norm=knobs.clip_norm, precision=precision, device=device)
    return train(
        trained,
        in_rounds(drawn, knobs.episode_set),
        optimizer,
        classes=shown, steps=plan.steps, time_limit=knobs.time_limit, clock=prefix.arrays.clock,
        schedule=knobs.schedule, warmup_steps=min(knobs.warmup_steps_of(plan.steps), plan.steps),
        clip_norm=knobs.clip_norm, precision=precision, eval_every=knobs.eval_every, patience=knobs.patience,
        metric=settings.selection_metric, device=device,
        score_validation=look, keep_best=best.keep, wish=wish, result=result,
        find_dead=lambda: dead_adapters(model.module, report) if report else [], step_on=step_on,
    )  # fmt: skip
