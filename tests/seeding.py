"""Test data: fills a workspace with runs whose numbers are made up here, not measured."""

import json
import math
import os
import zipfile
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
    to_json,
)
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

TOTAL, STEPS = 677_310, 60
ADAPTER = {2: 33_000, 4: 66_000, 8: 132_000}
SAMPLES = {
    "classification": ("breast_cancer", "diagnosis", "tabicl-mini"),
    "regression": ("diabetes", "progression", "tabicl-v2"),
}
METERS = ("resident", "torch_allocated", "torch_reserved", "nvml_device", "nvml_process")


def made_up_scores(accuracy: float, task: str = "classification") -> dict[str, float]:
    """Consistent made-up scores; in regression the errors fall as ``accuracy`` rises."""
    if task == "regression":
        return {"rmse": 800 * (1 - accuracy), "mae": 600 * (1 - accuracy), "r2": 10 * accuracy - 9}
    return {
        "log_loss": 1.6 * (1 - accuracy) + 0.05,
        "accuracy": accuracy,
        "balanced_accuracy": accuracy - 0.01,
        "f1_weighted": accuracy - 0.002,
        "roc_auc": min(accuracy + 0.03, 1.0),
        "average_precision": accuracy - 0.05,
        "mcc": 2 * accuracy - 1.02,
        "brier": 1.5 * (1 - accuracy),
        "ece": 0.03,
    }


def sweep_settings(
    home: Path,
    *,
    seeds: tuple[int, ...] = (0,),
    ranks: tuple[int, ...] = (2, 4, 8),
    task: str = "classification",
) -> SweepSettings:
    """A sweep over a sample table of a workspace."""
    name, target, model = SAMPLES[task]
    run = RunSettings(
        dataset=add_sample(home, name).id,
        target=target,
        task=task,
        model=model,
        train=TrainSettings(steps=STEPS),
    )
    return SweepSettings(run=run, ranks=ranks, seeds=seeds, references=False)


def made_up_layer(path: str, lora: LoraSettings, out: int = 256, width: int = 128) -> dict[str, object]:
    """An adapter package's facts about a layer."""
    rank, plain = min(lora.rank, out, width), {"target": "prediction_head", "kind": "linear", "capped": False}
    size = {"out_features": out, "in_features": width, "rank": rank, "parameters": rank * (out + width)}
    how = {
        "alpha": lora.effective_alpha,
        "use_rslora": lora.use_rslora,
        "scaling": lora.scaling,
        "variant": lora.variant,
    }
    return {"path": path, **plain, **size, **how}


def made_up_facts(home: Path, settings: RunSettings) -> dict[str, object]:
    """The facts of an adapter package without a real adapter."""
    dataset = get_dataset(home, settings.dataset)
    kinds = {column.name: column.kind for column in dataset.columns}
    return {
        "format": 1,
        "layers": [made_up_layer("icl_predictor.decoder.0", settings.lora)],
        "biases": [],
        "opens_with_peft": False,
        "settings": settings.to_dict(),
        "kinds": kinds,
        "base": {
            **{"model": settings.model, "file": "made-up.ckpt", "repository": None, "revision": None},
            **{"sha256": "0" * 64, "licence": {"name": None, "commercial": None}},
        },
        "classes": ["benign", "malignant"] if settings.task == "classification" else [],
        "best_step": STEPS,
        "versions": {},
        "table": {"name": dataset.name, "rows": dataset.rows, "id": dataset.id},
        "reading": dataset.reading.to_json(),
        "features": [name for name in kinds if name != settings.target],
        "context": {"rows": [0, 1, 2], "sha256": "0" * 64},
        "scores": {},
    }


class FakeRun:
    """A run that emits the events of a real one."""

    def __init__(self, store: RunStore, settings: RunSettings, run_id: str) -> None:
        self.store, self.settings, self.id = store, settings, run_id
        self.random = np.random.default_rng(settings.lora.rank + settings.seed)
        self.trainable = {"inference": 0, "base-ft": TOTAL}.get(
            settings.strategy, ADAPTER.get(settings.lora.rank, 16_500 * settings.lora.rank)
        )
        self.megabytes = 30 + self.trainable / 1e4
        self.classes = ("benign", "malignant") if settings.task == "classification" else ()

    def scores(self, accuracy: float) -> dict[str, float]:
        return made_up_scores(accuracy, self.settings.task)

    def tell(self, *events: object) -> None:
        for event in events:
            self.store.append(self.id, event)

    def begin(self) -> None:
        layers = (
            {
                "path": "col_embedder",
                "shape": [96, 32],
                "rank": 2,
                "parameters": 256,
                "kind": "parametrization",
                "target": "x",
            },
        )
        self.tell(
            PhaseStarted("load"),
            self.memory("load", 0),
            PhaseDone("load", 0.4, dict.fromkeys(METERS) | {"resident": 400_000_000}, None),
            RunPlanned(
                "cpu",
                STEPS,
                341,
                114,
                114,
                256,
                85,
                30,
                self.classes,
                TOTAL,
                self.trainable,
                layers,
                {"name": self.settings.model},
            ),
            Note("The query rows of a step were held to 85, a quarter of the training rows."),
            PhaseStarted("zero-shot"),
            self.memory("zero-shot", 10),
            Evaluated(0, "validation", self.scores(0.93), True, 0.0),
            PhaseDone("zero-shot", 0.5, dict.fromkeys(METERS) | {"resident": 420_000_000}, 10_000_000),
        )
        if self.settings.strategy != "inference":
            self.tell(PhaseStarted("train"))

    def memory(self, phase: str, growth_megabytes: float) -> MemorySampled:
        return MemorySampled(phase, int(4e8 + 1e6 * growth_megabytes * self.random.uniform(0.9, 1.0)))

    def step(self, step: int) -> None:
        loss = 0.25 * np.exp(-step / 25) + 0.08 + 0.02 * self.random.normal()
        self.tell(
            StepDone(
                step,
                float(loss),
                float(0.4 + 0.1 * self.random.random()),
                2e-4 * np.sin(np.pi * step / STEPS),
                0.2 * step,
            ),
            self.memory("train", self.megabytes),
        )
        if step % 10 == 0:
            self.tell(Evaluated(step, "validation", self.scores(self.accuracy(step)), True, 0.2 * step))

    def accuracy(self, step: int) -> float:
        return float(0.93 + 0.03 * (1 - np.exp(-step / 20)) * min(1.0, self.trainable / 1e5 + 0.4))

    def end(self, outcome: str = "finished", *, best_step: int | None = None, verified: bool | None = True) -> None:
        trained = self.settings.strategy != "inference"
        if trained:
            peaks = dict.fromkeys(METERS) | {"resident": int(4e8 + 1e6 * self.megabytes)}
            self.tell(PhaseDone("train", 12.0, peaks, int(1e6 * self.megabytes)))
        self.tell(
            PhaseStarted("evaluate"),
            self.memory("evaluate", 12),
            PhaseDone("evaluate", 0.3, dict.fromkeys(METERS), 12_000_000),
        )
        accuracy = self.accuracy(STEPS) if trained else 0.93
        adapter = None
        if self.settings.strategy == "peft":
            adapter = self.write_adapter()
        result = RunFinished(
            outcome,
            (STEPS if trained else 0) if best_step is None else best_step,
            STEPS if trained else 0,
            False,
            self.scores(accuracy),
            self.scores(accuracy - 0.01),
            self.scores(0.93),
            self.scores(0.925),
            12.0 if trained else 0.0,
            0.3,
            int(4e8 + 1e6 * self.megabytes),
            int(1e6 * self.megabytes) if trained else None,
            "resident",
            self.trainable,
            TOTAL,
            adapter,
            verified if adapter else None,
            predict_growth_memory_bytes=30_000_000,
        )
        self.store.finish(self.id, outcome, result=result)

    def write_adapter(self) -> int:
        folder = self.store.run_dir(self.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text("INFO made-up log line\n" * 3)
        with zipfile.ZipFile(folder / "adapter.zip", "w") as archive:
            archive.writestr("adapter_model.safetensors", bytes(4 * self.trainable))
            archive.writestr("tabtune.json", json.dumps(made_up_facts(self.store.home, self.settings)))
            archive.writestr(
                "README.md", "# A made-up adapter\n\n```python\nfrom tabtune_core import load_adapter\n```\n"
            )
        return (folder / "adapter.zip").stat().st_size


def predict(store: RunStore, run_id: str, right: range, before: range, rows: int = 114) -> None:
    """Writes predictions of ``rows`` validation and test rows: those in ``right`` are right, and before training those
    in ``before``.
    """
    frames = []
    for place, part in enumerate(("validation", "test")):
        found = {}
        for prefix, those in (("", right), ("zero_shot_", before)):
            p_N = np.where(np.isin(np.arange(rows), those), 0.95, 0.3)
            found |= {f"{prefix}prob_0": 1 - p_N, f"{prefix}prob_1": p_N}
        frames.append(
            pd.DataFrame({"split": part, "row": place * rows + np.arange(rows), "label": "malignant", **found})
        )
    folder = store.run_dir(run_id)
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(frames).to_parquet(folder / "predictions.parquet")


def queue(store: RunStore, sweep: SweepSettings, name: str = "breast_cancer: TabICL mini") -> tuple[str, list[FakeRun]]:
    """A queued sweep, its LoRA runs last."""
    runs = sorted(sweep.expand(), key=lambda run: (run.seed, run.strategy == "peft"))
    sweep_id, ids = store.add_sweep(runs, name)
    return sweep_id, [FakeRun(store, settings, run_id) for settings, run_id in zip(runs, ids, strict=True)]


def start(run: FakeRun) -> None:
    """Starts the first queued run in this process."""
    claimed = run.store.claim(os.getpid(), None)
    assert claimed is not None
    assert claimed.id == run.id
    run.begin()


def finish(run: FakeRun) -> None:
    """Runs a queued run to its end."""
    start(run)
    if run.settings.strategy != "inference":
        for step in range(1, STEPS + 1):
            run.step(step)
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
    store.finish(
        runs[2].id, "failed", error="The run needs more memory than there is. Lower the context rows or the batch size."
    )
    start(runs[3])
    for step in range(1, steps + 1):
        runs[3].step(step)
    return sweep_id, runs


def claim_all(home):
    """The ids of all runs that this process claims; defined here so that a spawned process can import it."""
    store = RunStore(home)
    return [run.id for run in iter(lambda: store.claim(os.getpid(), None), None)]


def many_runs(
    store: RunStore,
    *,
    sweeps: int = 4,
    per_sweep: int = 50,
    looks: int = 20,
    steps: int = 0,
    task: str = "classification",
) -> list[str]:
    """Adds sweeps of finished runs in one transaction, hundreds of runs in a second, and returns their ids, newest
    first.

    Each has both baselines and LoRA at several ranks under five seeds, ``looks`` validation scores and ``steps`` steps
    per run, no folder.
    """
    made = [_Bulk(store, number, per_sweep, task) for number in range(sweeps)]
    rows = [row for bulk in made for row in bulk.rows()]
    events = [event for bulk in made for run in bulk.runs for event in bulk.events(*run, looks, steps)]
    with store._together():
        connection = store._connection
        connection.executemany(
            "INSERT INTO sweeps (id, name, created) VALUES (?, ?, ?)",
            [(b.id, f"Made-up sweep {b.number}", b.created) for b in made],
        )
        connection.executemany(
            "INSERT INTO runs (id, sweep, name, status, settings, position, created, started, ended, result)"
            " VALUES (?, ?, ?, 'finished', ?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.executemany("INSERT INTO events (run, time, kind, payload) VALUES (?, ?, ?, ?)", events)
    return [bulk.id for bulk in reversed(made)]


class _Bulk:
    """One sweep of ``many_runs``."""

    def __init__(self, store: RunStore, number: int, size: int, task: str) -> None:
        self.id, self.number, self.task, self.created = f"{number:012x}", number, task, 1.7e9 + 10_000 * number
        seeds = tuple(range(5 if size >= 20 else 1))
        ranks = tuple(2 + 2 * i for i in range(math.ceil(size / len(seeds)) - 2))
        settings = sweep_settings(store.home, seeds=seeds, ranks=ranks, task=task).expand()[:size]
        self.runs = [(f"{number:06x}{place:06x}", one) for place, one in enumerate(settings)]

    def zero_shot(self, seed: int) -> float:
        return float(0.92 + np.random.default_rng([self.number, seed]).normal(scale=0.004))

    def accuracy(self, settings: RunSettings) -> float:
        """Rises with the rank, ever more slowly, and differs between seeds and sweeps."""
        height = {"base-ft": 0.02}.get(settings.strategy, 0.03 * (1 - np.exp(-settings.lora.rank / 4)))
        if settings.strategy == "inference":
            return self.zero_shot(settings.seed)
        return float(
            self.zero_shot(settings.seed)
            + height
            + np.random.default_rng([self.number, settings.seed, settings.lora.rank]).normal(scale=0.001)
        )

    def rows(self):
        """Rows of the table of runs."""
        for place, (run_id, settings) in enumerate(self.runs):
            accuracy, trained = self.accuracy(settings), settings.strategy != "inference"
            trainable = {"inference": 0, "base-ft": TOTAL}.get(settings.strategy, 16_500 * settings.lora.rank)
            result = RunFinished(
                "finished",
                40 * trained,
                STEPS * trained,
                False,
                *(
                    made_up_scores(value, self.task)
                    for value in (
                        accuracy,
                        accuracy - 0.01,
                        self.zero_shot(settings.seed),
                        self.zero_shot(settings.seed) - 0.005,
                    )
                ),
                (9.0 + settings.seed + settings.lora.rank / 10) * trained,
                0.3,
                400_000_000 + 40 * trainable,
                30_000_000 + 40 * trainable if trained else None,
                "resident",
                trainable,
                TOTAL,
                4 * trainable + 900 if settings.strategy == "peft" else None,
                True if settings.strategy == "peft" else None,
                predict_growth_memory_bytes=30_000_000,
            )
            name = f"{settings.label} seed {settings.seed}"
            times = (self.created, self.created + 20 * place, self.created + 20 * place + 15)
            yield (
                run_id,
                self.id,
                name,
                json.dumps(settings.to_dict()),
                1000 * self.number + place,
                *times,
                to_json(result)[1],
            )

    def events(self, run_id: str, settings: RunSettings, looks: int, steps: int):
        """Events of a run: the plan, its steps, and its evaluations on the validation rows."""
        accuracy = self.accuracy(settings)
        plan = RunPlanned(
            "cpu",
            STEPS,
            341,
            114,
            114,
            256,
            85,
            30,
            () if self.task == "regression" else ("benign", "malignant"),
            TOTAL,
            0,
            (),
            {},
        )
        told = [PhaseStarted("train"), plan]
        told += [
            StepDone(step, 0.25 * math.exp(-3 * step / steps) + 0.08, 0.5, 2e-4, 0.2 * step)
            for step in range(1, steps + 1)
        ]
        for look in range(looks if settings.strategy != "inference" else 1):
            told.append(
                Evaluated(
                    10 * look,
                    "validation",
                    made_up_scores(accuracy - 0.03 * math.exp(-look / 5), self.task),
                    True,
                    2.0 * look,
                )
            )
        return [(run_id, self.created + second, *to_json(event)) for second, event in enumerate(told)]
