"""One training and its validation scores over time: what ``time_to_score.py`` compares.

In: a table, a way to train, a rate, a seed. Out: a trail of looks at the validation rows, with seconds since training began. Ours go through
the product's own ``fit``; tabicl's through its own ``FinetunedTabICLClassifier``, on the same training rows, with the same validation rows
scored by us, from the same context, at the end of each of its epochs in place of its own look.
"""

import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from real_tables import CLASSIFICATION
from sklearn.model_selection import train_test_split
from tabicl import FinetunedTabICLClassifier
from tabicl._finetune.base import ValidationMetrics

from tabtune_core.api.tuning_params import read_params
from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels, read_rows
from tabtune_core.data.task import Prepared
from tabtune_core.events import Evaluated, Event, PhaseStarted
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.tabicl.model import TabICLModel
from tabtune_core.settings import RunSettings
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.plan import Plan
from tabtune_core.training.scoring import ModelRows
from tabtune_core.training.session import Environment

MODEL, ROWS, VALIDATION_SHARE, CONTEXT, BATCH = "tabicl-mini", 2000, 0.2, 192, 64
STEPS, EVAL_EVERY = 60, 5
TARGETS: dict[str, list[str] | None] = {"LoRA, all layers": [], "LoRA, late layers": ["icl_predictor"], "full fine-tuning": None}
TABICL = "tabicl's own fine-tuning"
CPU = torch.device("cpu")


@dataclass(slots=True)
class Trail:
    """Looks at the validation rows; the first is of the base, at 0 seconds."""

    looks: list[dict[str, float]] = field(default_factory=list)
    cpu: float = 0.0
    wall: float = 0.0

    def start(self) -> None:
        """The clocks begin here."""
        self.cpu, self.wall = time.process_time(), time.monotonic()

    def add(self, scores: dict[str, float]) -> None:
        """A look that is over now."""
        begun = bool(self.looks)
        cpu, wall = (time.process_time() - self.cpu, time.monotonic() - self.wall) if begun else (0.0, 0.0)
        self.looks.append({"cpu": cpu, "wall": wall, "log_loss": scores["log_loss"], "accuracy": scores["accuracy"]})


def sample(name: str) -> tuple[pd.DataFrame, Any]:
    """At most ``ROWS`` rows of a real table, of each class its share."""
    x, y = next(table for table in CLASSIFICATION if table.name == name).load()
    if len(y) > ROWS:
        x, _, y, _ = train_test_split(x, y, train_size=ROWS, random_state=0, stratify=y)
    return x.reset_index(drop=True), y.reset_index(drop=True)


def settings_of(way: str, rate: float, seed: int) -> RunSettings:
    """Of our ways; tabicl's has only the split and the context of them."""
    params: dict[str, Any] = {
        "device": "cpu",
        "seed": seed,
        "validation_share": VALIDATION_SHARE,
        "context_rows": CONTEXT,
        "predict_context_rows": CONTEXT,
        "validation_rows": ROWS,
        "steps": STEPS,
        "eval_every": EVAL_EVERY,
        "patience": 0,
        "batch_size": BATCH,
        "learning_rate": rate,
    }
    targets = TARGETS.get(way)
    if targets is None:
        return read_params(MODEL, "base-ft", params, "classification")
    return read_params(MODEL, "peft", {**params, "peft_config": {"r": 8, "target_modules": targets}}, "classification")


def trail(name: str, way: str, rate: float, seed: int) -> list[dict[str, float]]:
    """The looks of one training."""
    x, y = sample(name)
    frame, y_N, settings = read_rows(x), read_labels(y, len(x)), settings_of(way, rate, seed)
    labels = Labels.of(y_N, "classification")
    table = prepare_arrays(frame, y_N, labels, settings, max_classes=None)
    return _of_tabicl(table, settings, rate, seed) if way == TABICL else _of_ours(table, settings)


def _of_ours(table: Prepared, settings: RunSettings) -> list[dict[str, float]]:
    found = Trail()

    def hear(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "train":
            found.start()
        if isinstance(event, Evaluated) and event.split == "validation":
            found.add(event.scores)

    with tempfile.TemporaryDirectory() as folder, MemoryMeter(CPU, hear) as meter:
        shared, plan = Path(folder) / "shared", Plan.of(settings, features=table.context.x_CF.shape[1], device=CPU)
        fit(plan, lambda: table, Environment(meter=meter, folder=Path(folder), emit=hear, shared=shared))
    return found.looks


def _of_tabicl(table: Prepared, settings: RunSettings, rate: float, seed: int) -> list[dict[str, float]]:
    found, base = Trail(), load_model(get_card(MODEL), "classification", CPU)
    assert isinstance(base, TabICLModel)
    rows = ModelRows.of(table, base, settings.train)

    class Scored(FinetunedTabICLClassifier):
        """Its training loop, our look."""

        def _run_validation(self, inner: Any, *arrays: Any) -> ValidationMetrics:
            model = TabICLModel(base.card, base.task, base.source, self.model_, base.config, CPU)
            scores = rows.scorer.score(model, rows.held_out["validation"])
            found.add(scores)
            if len(found.looks) == 1:
                found.start()
            return ValidationMetrics(primary=-scores["log_loss"])

    (x_train, y_train), (x_validation, y_validation) = (table.part(part) for part in (table.split.train, table.split.validation))
    chunks = -(-len(y_train) // (CONTEXT + BATCH))
    rows_a_step = -(-len(y_train) // chunks)  # equal steps: its split fails where a small last one has a class once
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "mini.ckpt"
        base.save(file)
        Scored(
            epochs=round(STEPS / chunks),
            learning_rate=rate,
            max_data_size=rows_a_step,
            model_path=file,
            allow_auto_download=False,
            early_stopping=False,
            eval_metric="log_loss",
            device="cpu",
            random_state=seed,
        ).fit(np.nan_to_num(x_train), y_train, X_val=np.nan_to_num(x_validation), y_val=y_validation)
    return found.looks
