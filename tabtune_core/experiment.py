"""One run from the table to the adapter: the only place that joins the parts.

In: the settings of a run and the workspace. Out: events while it goes on; the adapter package and the predictions in the run's folder.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.episodes import draw_episodes
from tabtune_core.data.prepared import Prepared, prepare
from tabtune_core.errors import Cancelled
from tabtune_core.events import Evaluated, Event, Note, RunFinished, RunPlanned
from tabtune_core.lora.inject import LoraReport, dead_adapters, inject
from tabtune_core.metrics import score_all
from tabtune_core.models.adapter import BaseModel, load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.checkpoints import is_here
from tabtune_core.outputs import ADAPTER_FILE, write_adapter, write_predictions
from tabtune_core.runs.predictions import PREDICTIONS_FILE
from tabtune_core.settings import RunSettings
from tabtune_core.training.device import describe_device, resolve_device
from tabtune_core.training.loop import TrainResult, Wish, train
from tabtune_core.training.memory import MemoryMeter, open_nvml
from tabtune_core.training.optimizer import make_optimizer
from tabtune_core.training.rows import ModelRows
from tabtune_core.training.state import BestState
from tabtune_core.verify import verify_in_fresh_process


def run_experiment(
    settings: RunSettings, *, home: Path, run_dir: Path, emit: Callable[[Event], None], wish: Callable[[], Wish]
) -> RunFinished:
    """Runs what ``settings`` say and returns the result; ``emit`` is called from two threads.

    Raises:
        Cancelled: a person asked for the end without a result.
        TabTuneError: what was asked cannot be done; the text says why and what would do.
    """
    device = resolve_device(settings.device)
    cards = [device] if device.type == "cuda" else []
    with MemoryMeter(device, emit, nvml=open_nvml(device)) as meter, torch.random.fork_rng(cards):
        torch.manual_seed(settings.seed)  # the adapter's start and dropout
        with meter.phase("load"):
            card = get_card(settings.model)
            dataset = get_dataset(home, settings.dataset)
            table = prepare(load_frame(home, settings.dataset), dataset.columns, settings, max_classes=card.max_classes)
            if settings.checkpoint is None and not is_here(card):
                emit(Note(f"Downloading {card.file} (about {4e-6 * card.total_parameters:.0f} MB); the log shows how far it is."))
            model = load_model(card, device, settings.checkpoint)
            report = _make_trainable(model, settings)
            rows = ModelRows.of(table, model, settings.train)
            plan = _plan(settings, table, model, rows, report, describe_device(device))
            emit(plan)
            for note in _beginnings(settings, table, report, plan):
                emit(note)
        with meter.phase("zero-shot"):
            zero_shot = {"validation": rows.scorer.score(model, rows.validation), "test": rows.scorer.score(model, rows.test)}
            emit(Evaluated(0, "validation", zero_shot["validation"], True, 0.0))
            emit(Evaluated(0, "test", zero_shot["test"], False, 0.0))

        result, train_seconds = TrainResult(best_scores=zero_shot["validation"]), 0.0
        if settings.strategy != "inference":
            started = time.monotonic()
            best = BestState(model.module, run_dir)
            with meter.phase("train"):
                for event in _training(settings, model, rows, plan, report, best, result, device, wish):
                    emit(event)
            train_seconds = time.monotonic() - started
            best.restore()
            for note in _endings(settings, result):
                emit(note)
        if result.outcome == "cancelled" or wish() == "cancel":
            raise Cancelled("The run was cancelled; nothing of it is kept but its log.")

        with meter.phase("evaluate"):
            started = time.monotonic()
            probabilities = {"test": rows.scorer.predict(model, rows.test.x_NF)}
            predict_seconds = time.monotonic() - started
            probabilities["validation"] = rows.scorer.predict(model, rows.validation.x_NF)
            validation = score_all(rows.validation.y_N, probabilities["validation"])
            test = score_all(rows.test.y_N, probabilities["test"])
            emit(Evaluated(result.best_step, "test", test, False, train_seconds))
        adapter_bytes = verified = None
        with meter.phase("save"):
            write_predictions(run_dir / PREDICTIONS_FILE, {"validation": rows.validation, "test": rows.test}, probabilities, plan.classes)
            if report is not None:
                scores = {"validation": validation, "test": test}
                write_adapter(run_dir / ADAPTER_FILE, settings, dataset, table, model, report, scores, result.best_step)
                adapter_bytes = (run_dir / ADAPTER_FILE).stat().st_size
                verified, sentence = verify_in_fresh_process(run_dir, home=home, device=str(device), checkpoint=settings.checkpoint)
                emit(Note(sentence, "info" if verified else "warning"))
    return RunFinished(
        outcome=result.outcome,
        best_step=result.best_step, steps_done=result.steps_done, stopped_early=result.stopped_early, validation=validation, test=test,
        zero_shot_validation=zero_shot["validation"], zero_shot_test=zero_shot["test"], train_seconds=train_seconds,
        predict_seconds=predict_seconds, peak_memory_bytes=meter.highest_bytes,
        growth_memory_bytes=meter.growth_bytes["evaluate" if settings.strategy == "inference" else "train"], memory_meter=meter.speaks,
        trainable_parameters=plan.trainable_parameters, total_parameters=plan.total_parameters, adapter_bytes=adapter_bytes,
        adapter_verified=verified, extra={"skipped_rows": result.skipped_rows, "context_sha256": table.context.sha256},
    )  # fmt: skip


def _make_trainable(model: BaseModel, settings: RunSettings) -> LoraReport | None:
    if settings.strategy == "peft":
        lora = settings.lora
        return inject(
            model.module, rank=lora.rank, alpha=lora.effective_alpha, dropout=lora.dropout, targets=lora.targets or model.card.targets,
            groups=model.card.groups, passed_over=model.passed_over,
        )  # fmt: skip
    if settings.strategy == "inference":
        model.module.requires_grad_(False)
    return None


def _plan(settings: RunSettings, table: Prepared, model: BaseModel, rows: ModelRows, report: LoraReport | None, device: str) -> RunPlanned:
    train_settings = settings.train
    steps = train_settings.steps or train_settings.epochs * rows.size.steps_an_epoch(len(rows.y_N))
    parameters = list(model.module.parameters())
    return RunPlanned(
        device=device, steps=0 if settings.strategy == "inference" else steps, train_rows=len(rows.y_N),
        validation_rows=len(rows.validation.y_N), test_rows=len(rows.test.y_N), context_rows=len(table.context.y_C),
        query_rows=rows.size.query, features=rows.x_NF.shape[1], classes=table.context.labels.classes,
        total_parameters=sum(p.numel() for p in parameters), trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        layers=report.rows() if report else (), base=model.source.to_dict(),
    )  # fmt: skip


def _training(
    settings: RunSettings, model: BaseModel, rows: ModelRows, plan: RunPlanned, report: LoraReport | None, best: BestState,
    result: TrainResult, device: torch.device, wish: Callable[[], Wish],
) -> Iterator[Event]:  # fmt: skip
    knobs, classes = settings.train, len(plan.classes)
    return train(
        model,
        draw_episodes(rows.x_NF, rows.y_N, classes, rows.size, np.random.default_rng([settings.seed, 1])),
        make_optimizer(
            best.parameters, learning_rate=settings.learning_rate, weight_decay=knobs.weight_decay, betas=knobs.betas, eps=knobs.eps
        ),
        classes=classes, steps=plan.steps, warmup_steps=round(knobs.warmup_ratio * plan.steps), clip_norm=knobs.clip_norm,
        eval_every=knobs.eval_every, patience=knobs.patience, metric=knobs.selection_metric, device=device,
        score_validation=lambda: rows.scorer.score(model, rows.validation), keep_best=best.keep, wish=wish, result=result,
        find_dead=lambda: dead_adapters(model.module, report) if report else [],
    )  # fmt: skip


def _beginnings(settings: RunSettings, table: Prepared, report: LoraReport | None, plan: RunPlanned) -> Iterator[Note]:
    """What differs from what a person may expect, said before the work begins."""
    if table.context.encoder.left_out:
        yield Note(f"Columns of free text are left out: {', '.join(table.context.encoder.left_out)}.")
    if plan.context_rows < plan.train_rows:
        yield Note(f"Predictions are shown {plan.context_rows} of the {plan.train_rows} training rows as context; all of them train.")
    if settings.strategy != "inference" and plan.query_rows < settings.train.batch_size:
        yield Note(
            f"A step predicts {plan.query_rows} rows, not {settings.train.batch_size}: a quarter of the {plan.train_rows} training rows."
        )
    if report is not None:
        capped = sum(layer.rank < settings.lora.rank for layer in report.layers)
        if capped:
            yield Note(f"In {capped} of {len(report.layers)} layers the rank is capped at the layer's own width.")
        if report.left_out:
            yield Note(
                f"{len(report.left_out)} layers under the targets are not adapted: an adapter there would be larger than the weight."
            )


def _endings(settings: RunSettings, result: TrainResult) -> Iterator[Note]:
    if result.dead_layers:
        yield Note(f"{len(result.dead_layers)} adapted layers received no gradient: {', '.join(result.dead_layers[:3])}.", "warning")
    if result.skipped_rows:
        yield Note(f"{result.skipped_rows} query rows were not scored: the context of their episode did not show their class.")
    if result.outcome == "diverged":
        rate = settings.learning_rate
        yield Note(
            f"The loss was no longer a number at step {result.steps_done + 1}; the best state before it is kept. "
            f"Try a learning rate of {rate / 2:g} instead of {rate:g}, or a longer warm-up.",
            "warning",
        )
    if result.best_step == 0:
        yield Note("No gain over zero-shot: no look at the validation rows was better, so the pretrained weights are returned.", "warning")
