"""Test data: fills a workspace with runs whose numbers are made up here, not measured."""

import json
import math
import os
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from tabtune_core.data.datasets import add_sample, get_dataset
from tabtune_core.events import (
    Evaluated,
    MemorySampled,
    Note,
    PhaseDone,
    PhaseStarted,
    RunFinished,
    RunPlanned,
    StepDone,
)
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

TOTAL, STEPS = 677_310, 60
SAMPLES = {
    "classification": ("breast_cancer", "diagnosis", "tabicl-mini"),
    "regression": ("diabetes", "progression", "tabicl-v2"),
}
METERS = ("resident", "torch_allocated", "torch_reserved", "nvml_device")


def made_up_scores(accuracy: float, task: str = "classification") -> dict[str, float]:
    """Consistent made-up scores; in regression the errors fall as ``accuracy`` rises."""
    if task == "regression":
        return {"rmse": 800 * (1 - accuracy), "mae": 600 * (1 - accuracy), "r2": 10 * accuracy - 9}
    scores = {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.01, "f1_weighted": accuracy - 0.002}
    scores |= {"log_loss": 1.6 * (1 - accuracy) + 0.05, "roc_auc": min(accuracy + 0.03, 1.0)}
    scores |= {"average_precision": accuracy - 0.05, "mcc": 2 * accuracy - 1.02, "brier": 1.5 * (1 - accuracy)}
    return {**scores, "ece": 0.03}


def sweep_settings(
    home: Path, *, seeds: tuple[int, ...] = (0,), ranks: tuple[int, ...] = (2, 4, 8), task: str = "classification"
) -> SweepSettings:
    name, target, model = SAMPLES[task]
    table, train = add_sample(home, name).id, TrainSettings(steps=STEPS)
    run = RunSettings(dataset=table, target=target, task=task, model=model, train=train)
    return SweepSettings(run=run, ranks=ranks, seeds=seeds, references=False)


def made_up_layer(path: str, lora: LoraSettings, out: int = 256, width: int = 128) -> dict[str, object]:
    rank, plain = min(lora.rank, out, width), {"target": "prediction_head", "kind": "linear", "capped": False}
    size = {"out_features": out, "in_features": width, "rank": rank, "parameters": rank * (out + width)}
    how = {"alpha": lora.effective_alpha, "use_rslora": lora.use_rslora, "scaling": lora.scaling}
    return {"path": path, **plain, **size, **how, "variant": lora.variant}


def made_up_facts(home: Path, settings: RunSettings) -> dict[str, object]:
    dataset = get_dataset(home, settings.dataset)
    kinds = {column.name: column.kind for column in dataset.columns}
    base = {"model": settings.model, "file": "made-up.ckpt", "repository": None, "revision": None}
    base |= {"sha256": "0" * 64, "licence": {"name": None, "commercial": None}}
    facts = {"format": 1, "base": base, "layers": [made_up_layer("icl_predictor.decoder.0", settings.lora)]}
    facts |= {"biases": [], "opens_with_peft": False, "settings": settings.to_dict(), "kinds": kinds}
    facts |= {"classes": ["benign", "malignant"] if settings.task == "classification" else [], "best_step": STEPS}
    facts |= {"table": {"name": dataset.name, "rows": dataset.rows, "id": dataset.id}, "versions": {}, "scores": {}}
    facts |= {"reading": asdict(dataset.reading), "context": {"rows": [0, 1, 2], "sha256": "0" * 64}}
    return facts | {"features": [name for name in kinds if name != settings.target]}


class FakeRun:
    """A run that emits the events of a real one; ``luck`` moves all its scores."""

    def __init__(self, store: RunStore, settings: RunSettings, run_id: str, luck: float = 0.0) -> None:
        self.store, self.settings, self.id, self.before = store, settings, run_id, 0.93 + luck
        self.random = np.random.default_rng(settings.lora.rank + settings.seed)
        self.trainable = {"inference": 0, "base-ft": TOTAL}.get(settings.strategy, 16_500 * settings.lora.rank)
        self.megabytes = 30 + self.trainable / 1e4
        self.classes = ("benign", "malignant") if settings.task == "classification" else ()
        self.trains = settings.strategy != "inference"

    def scores(self, accuracy: float) -> dict[str, float]:
        return made_up_scores(accuracy, self.settings.task)

    def tell(self, *events: object) -> None:
        with self.store._together():  # one transaction
            for event in events:
                self.store.append(self.id, event)

    def begin(self) -> None:
        layer = {"path": "col_embedder", "shape": [96, 32], "rank": 2, "parameters": 256, "kind": "parametrization"}
        counts = (STEPS, 341, 114, 114, 256, 85, 30, self.classes, TOTAL, self.trainable)
        self.tell(
            PhaseStarted("load"),
            self.memory("load", 0),
            PhaseDone("load", 0.4, dict.fromkeys(METERS) | {"resident": 400_000_000}, None),
            RunPlanned("cpu", *counts, ({**layer, "target": "x"},), {"name": self.settings.model}),
            Note("The query rows of a step were held to 85, a quarter of the training rows."),
            PhaseStarted("zero-shot"),
            self.memory("zero-shot", 10),
            Evaluated(0, "validation", self.scores(self.before), True, 0.0),
            PhaseDone("zero-shot", 0.5, dict.fromkeys(METERS) | {"resident": 420_000_000}, 10_000_000),
            *([PhaseStarted("train")] if self.trains else []),
        )

    def memory(self, phase: str, growth_megabytes: float) -> MemorySampled:
        return MemorySampled(phase, int(4e8 + 1e6 * growth_megabytes * self.random.uniform(0.9, 1.0)))

    def step(self, *steps: int) -> None:
        """Does these steps, and evaluates after every tenth."""
        events = []
        for step in steps:
            loss = float(0.25 * np.exp(-step / 25) + 0.08 + 0.02 * self.random.normal())
            norm, rate = float(0.4 + 0.1 * self.random.random()), 2e-4 * np.sin(np.pi * step / STEPS)
            events += [StepDone(step, loss, norm, rate, 0.2 * step), self.memory("train", self.megabytes)]
            if step % 10 == 0:
                events.append(Evaluated(step, "validation", self.scores(self.accuracy(step)), True, 0.2 * step))
        self.tell(*events)

    def accuracy(self, step: int) -> float:
        gain = 0.03 * (1 - np.exp(-step / 20)) * min(1.0, self.trainable / 1e5 + 0.4)
        return float(self.before + gain * self.trains)

    def end(self, outcome: str = "finished", *, best_step: int | None = None, verified: bool | None = True) -> None:
        peaks, growth = dict.fromkeys(METERS), int(1e6 * self.megabytes)
        trained = [PhaseDone("train", 12.0, peaks | {"resident": 400_000_000 + growth}, growth)] if self.trains else []
        evaluated = PhaseDone("evaluate", 0.3, peaks, 12_000_000)
        self.tell(*trained, PhaseStarted("evaluate"), self.memory("evaluate", 12), evaluated)
        self.finish(outcome, self.write_adapter() if self.settings.strategy == "peft" else None, best_step, verified)

    def finish(self, outcome: str, adapter: int | None, best_step: int | None, verified: bool | None = True) -> None:
        steps, accuracy, growth = STEPS * self.trains, self.accuracy(STEPS), int(1e6 * self.megabytes)
        scores = (self.scores(one) for one in (accuracy, accuracy - 0.01, self.before, self.before - 0.005))
        how = (12.0 * self.trains, 0.3, 400_000_000 + growth, growth if self.trains else None, "resident")
        size = (self.trainable, TOTAL, adapter, verified if adapter else None)
        best = steps if best_step is None else best_step
        result = RunFinished(outcome, best, steps, False, *scores, *how, *size, predict_growth_memory_bytes=30_000_000)
        self.store.finish(self.id, outcome, result=result)

    def write_adapter(self) -> int:
        folder = self.store.run_dir(self.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text("INFO made-up log line\n" * 3)
        with zipfile.ZipFile(folder / "adapter.zip", "w") as archive:
            archive.writestr("adapter_model.safetensors", bytes(4 * self.trainable))
            archive.writestr("tabtune.json", json.dumps(made_up_facts(self.store.home, self.settings)))
        return (folder / "adapter.zip").stat().st_size


def predict(store: RunStore, run_id: str, right: range, before: range, rows: int = 114) -> None:
    """Writes predictions of validation and test rows: those in ``right`` are right, before training in ``before``."""
    frames = []
    for place, part in enumerate(("validation", "test")):
        columns = {"split": part, "row": place * rows + np.arange(rows), "label": "malignant"}
        for prefix, those in (("", right), ("zero_shot_", before)):
            p_N = np.where(np.isin(np.arange(rows), those), 0.95, 0.3)
            columns |= {f"{prefix}prob_0": 1 - p_N, f"{prefix}prob_1": p_N}
        frames.append(pd.DataFrame(columns))
    folder = store.run_dir(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(folder / "predictions.parquet")


def queue(store: RunStore, sweep: SweepSettings, name: str = "breast_cancer: TabICL mini") -> tuple[str, list[FakeRun]]:
    """A queued sweep, its LoRA runs last."""
    runs = sorted(sweep.expand(), key=lambda run: (run.seed, run.strategy == "peft"))
    sweep_id, ids = store.add_sweep(runs, name)
    return sweep_id, [FakeRun(store, settings, run_id) for settings, run_id in zip(runs, ids, strict=True)]


def start(run: FakeRun) -> None:
    claimed = run.store.claim(os.getpid(), None)
    assert claimed is not None
    assert claimed.id == run.id
    run.begin()


def finish(run: FakeRun) -> None:
    start(run)
    if run.trains:
        run.step(*range(1, STEPS + 1))
    run.end()


def finished_sweep(store: RunStore, **more: object) -> str:
    """A sweep in which every run has a result."""
    sweep_id, runs = queue(store, sweep_settings(store.home, **more))
    for run in runs:
        finish(run)
    return sweep_id


def going_sweep(store: RunStore, steps: int = 25) -> tuple[str, list[FakeRun]]:
    """A sweep with finished and failed runs, a running one, and a queued one."""
    sweep_id, runs = queue(store, sweep_settings(store.home))
    finish(runs[0])
    finish(runs[1])
    start(runs[2])
    error = "The run needs more memory than there is. Lower the context rows or the batch size."
    store.finish(runs[2].id, "failed", error=error)
    start(runs[3])
    runs[3].step(*range(1, steps + 1))
    return sweep_id, runs


def claim_all(home):
    """The ids of all runs that this process claims; defined here so that a spawned process can import it."""
    store = RunStore(home)
    return [run.id for run in iter(lambda: store.claim(os.getpid(), None), None)]


def many_runs(
    store: RunStore, *, sweeps: int = 4, per_sweep: int = 50, looks: int = 20, steps: int = 0, task="classification"
) -> list[str]:
    """Adds sweeps of finished runs without folders, with ``looks`` scores and ``steps``; ids newest first."""
    made, rng = [], np.random.default_rng(0)
    seeds = tuple(range(5 if per_sweep >= 20 else 1))
    ranks = tuple(2 + 2 * i for i in range(math.ceil(per_sweep / len(seeds)) - 2))
    for number in range(sweeps):
        settings = sweep_settings(store.home, seeds=seeds, ranks=ranks, task=task).expand()[:per_sweep]
        sweep_id, ids = store.add_sweep(settings, f"Made-up sweep {number}")
        made.append(sweep_id)
        for one, run_id in zip(settings, ids, strict=True):
            run = FakeRun(store, one, run_id, luck=rng.normal(scale=0.004))
            start(run)
            losses = (0.25 * math.exp(-3 * step / steps) + 0.08 for step in range(1, steps + 1))
            events = [StepDone(step, loss, 0.5, 2e-4, 0.2 * step) for step, loss in enumerate(losses, 1)]
            for look in range(1, looks if run.trains else 1):
                scores = run.scores(run.accuracy(10 * look))
                events.append(Evaluated(10 * look, "validation", scores, True, 2.0 * look))
            run.tell(*events)
            run.finish("finished", 4 * run.trainable + 900 if one.strategy == "peft" else None, None)
    return made[::-1]
