"""A run with a real adapter on a real base, made without training: random factors, and predictions that match them."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from tabtune_core.data.datasets import add_dataset, load_frame
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.task import prepare
from tabtune_core.engine.adapted_model import predict_rows
from tabtune_core.engine.artifacts import write_adapter, write_predictions
from tabtune_core.events import RunFinished
from tabtune_core.lora.inject import adapter_factors
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_folder import ADAPTER_FILE, PREDICTIONS_FILE
from tabtune_core.training.scoring import HeldOut


def mixed_csv(rows=90, seed=0):
    """A CSV of numbers with missing values, words, dates, a class and a number to predict."""
    rng = np.random.default_rng(seed)
    lines = ["size,colour,seen,remark,verdict,weight"]
    for i in range(rows):
        size, colour = rng.normal(), ("red", "green", "blue")[i % 3]
        verdict = "keep it" if size + (colour == "red") > 0.3 else "drop it"
        shown, weight = "" if i % 11 == 0 else f"{size:.3f}", 40 + 3 * size + rng.normal()
        lines.append(f"{shown},{colour},2024-0{i % 9 + 1}-11,remark number {i},{verdict},{weight:.2f}")
    return ("\n".join(lines) + "\n").encode()


def made_run(store, *, sweep="made", data=None, **how):
    """Adds a finished run to the store in a sweep of this name and returns its id; ``_made`` caches it."""
    settings, scores, files = _made(data=data or mixed_csv(), **how)
    _, (run_id,) = store.add_sweep([settings], sweep)
    dataset, folder = store.home / "datasets" / settings.dataset, store.run_dir(run_id)
    for target, its in ((dataset, "dataset"), (folder, "run")):
        if not target.exists():
            target.mkdir(parents=True)
            for name, content in files[its].items():
                (target / name).write_bytes(content)
    size = len(files["run"][ADAPTER_FILE])
    counts = (1.0, 0.1, 10, 5, "resident", 4, 100, size, True)
    store.finish(run_id, "finished", result=RunFinished("finished", 1, 1, False, *[scores] * 4, *counts))
    return run_id


def write_small_package(folder):
    """Writes ``adapter.zip``, an adapter of the prediction head, and its table ``kept.csv`` into a folder; returns it."""
    rng = np.random.default_rng(0)
    lines = ["length,width,colour,kind"]
    for colour in rng.choice(["red", "blue"], 90):
        length, width = rng.normal(5, 1), rng.normal(2, 0.5)
        kind = "large" if length + width + (colour == "red") > 7.5 else "small"
        lines.append(f"{length:.2f},{width:.2f},{colour},{kind}")
    table = "\n".join([*lines, ""]).encode()
    _, _, files = _made(data=table, name="kept.csv", target="kind", rank=1, targets=("prediction_head",))
    (folder / "kept.csv").write_bytes(table)
    (folder / "adapter.zip").write_bytes(files["run"][ADAPTER_FILE])
    return folder


@cache
def _made(
    *, data, model="tabicl-mini", task="classification", rank=4, seed=0, views=1, target=None, targets=(), **more
):
    with TemporaryDirectory() as home:
        folder = Path(home) / "run"
        folder.mkdir()
        reading = ReadingChoices(kinds=more.pop("kinds", ()), missing_marks=more.pop("marks", ()))
        dataset = add_dataset(Path(home), data, more.pop("name", "people, mine.csv"), reading)
        target = target or "verdict" if task == "classification" else "weight"
        parts = {"lora": LoraSettings(rank=rank, targets=targets), "train": TrainSettings(steps=1, views=views)}
        what = {"dataset": dataset.id, "target": target, "task": task, "model": model, "seed": seed}
        settings = RunSettings(**what, device="cpu", **parts, **more)
        base = load_model(get_card(model), task, torch.device("cpu"))
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            report = adapt(base, settings)
            for _, b in adapter_factors(base.module, report).values():
                torch.nn.init.normal_(b, std=0.1)
        base.module.eval()
        table = prepare(load_frame(Path(home), dataset.id), dataset.columns, settings, max_classes=None)
        part = HeldOut(table.split.test, *table.part(table.split.test), table.context.rarer)
        predicted = predict_rows(base, table.frame.iloc[part.rows_N], table.context, views=views)
        classes, numbers = table.context.labels.classes, np.arange(len(table.frame))
        write_predictions(folder / PREDICTIONS_FILE, {"test": part}, {"test": predicted}, classes, numbers)
        scores = {"log_loss": 0.5, "accuracy": 0.9} if task == "classification" else {"rmse": 2.0, "r2": 0.5}
        of_parts = {"validation": scores, "test": scores}
        write_adapter(folder / ADAPTER_FILE, settings, dataset, table, base, report, of_parts, 1)
        files = {"dataset": Path(home) / "datasets" / dataset.id, "run": folder}
        kept = {its: {path.name: path.read_bytes() for path in there.iterdir()} for its, there in files.items()}
    return settings, scores, kept
