"""How long does it take to reach the best validation score? LoRA, full fine-tuning and tabicl's own fine-tuning of
TabICL mini, on four tables.

``python tests/benchmarks/time_to_score.py --runs trails.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. Runs that are already in the file are not repeated. Tables, rates and seeds were named here before the
first run.

Each table gives at most 2,000 rows, a fifth of them for validation. All strategies train for 60 steps on one thread
with AdamW, 256 rows per step (tabicl 229, which divides its epoch evenly) and a cosine schedule with a tenth of
warm-up. The validation rows are scored every five steps, for tabicl at the end of each epoch (about as often). A tabicl
step has two views of the rows, its default; ours has one. Time starts at the first step and includes the evaluations,
which cost the same for all. Under seed 0 each strategy is trained at three rates; the rate with the lowest validation
log-loss is used for the other seeds.

Our strategies use the product's own ``fit``. tabicl uses its ``FinetunedTabICLClassifier`` on the same training rows;
we score the same validation rows from the same context in place of its own evaluation.
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
from named_machine import machine
from published import Kept, markdown_table, options, publish
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
TARGETS: dict[str, list[str] | None] = {
    "LoRA, all layers": [],
    "LoRA, late layers": ["icl_predictor"],
    "full fine-tuning": None,
}
TABICL = "tabicl's own fine-tuning"
CPU = torch.device("cpu")
TABLES = ("banana", "segment", "penbased", "ring")
SEEDS = (0, 1, 2)
FULL, LORA = "full fine-tuning", ("LoRA, all layers", "LoRA, late layers")
RATES = {**dict.fromkeys(LORA, (5e-4, 2e-3, 8e-3)), FULL: (5e-5, 2e-4, 8e-4), TABICL: (5e-5, 2e-4, 8e-4)}

Looks = list[dict[str, float]]


@dataclass(slots=True)
class Trail:
    """Evaluations on the validation rows; the first is the base model's, at 0 seconds."""

    looks: Looks = field(default_factory=list)
    cpu: float = 0.0
    wall: float = 0.0

    def start(self) -> None:
        """Starts the clocks."""
        self.cpu, self.wall = time.process_time(), time.monotonic()

    def add(self, scores: dict[str, float]) -> None:
        """Adds an evaluation that has just ended."""
        begun = bool(self.looks)
        cpu, wall = (time.process_time() - self.cpu, time.monotonic() - self.wall) if begun else (0.0, 0.0)
        self.looks.append({"cpu": cpu, "wall": wall, "log_loss": scores["log_loss"], "accuracy": scores["accuracy"]})


def sample(name: str) -> tuple[pd.DataFrame, Any]:
    """At most ``ROWS`` rows of a real table, stratified by class."""
    x, y = next(table for table in CLASSIFICATION if table.name == name).load()
    if len(y) > ROWS:
        x, _, y, _ = train_test_split(x, y, train_size=ROWS, random_state=0, stratify=y)
    return x.reset_index(drop=True), y.reset_index(drop=True)


def settings_of(way: str, rate: float, seed: int) -> RunSettings:
    """Settings of our strategies; tabicl uses only their split and context."""
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


def trail(name: str, way: str, rate: float, seed: int) -> Looks:
    """The evaluations of one training."""
    x, y = sample(name)
    frame, y_N, settings = read_rows(x), read_labels(y, len(x)), settings_of(way, rate, seed)
    labels = Labels.of(y_N, "classification")
    table = prepare_arrays(frame, y_N, labels, settings, max_classes=None)
    return _of_tabicl(table, settings, rate, seed) if way == TABICL else _of_ours(table, settings)


def _of_ours(table: Prepared, settings: RunSettings) -> Looks:
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


def _of_tabicl(table: Prepared, settings: RunSettings, rate: float, seed: int) -> Looks:
    found, base = Trail(), load_model(get_card(MODEL), "classification", CPU)
    assert isinstance(base, TabICLModel)
    rows = ModelRows.of(table, base, settings.train)

    class Scored(FinetunedTabICLClassifier):
        """tabicl's training loop with our evaluation."""

        def _run_validation(self, inner: Any, *arrays: Any) -> ValidationMetrics:
            model = TabICLModel(base.card, base.task, base.source, self.model_, base.config, CPU)
            scores = rows.held_out["validation"].score(rows.scorer.predict(model, rows.held_out["validation"].x_NF))
            found.add(scores)
            if len(found.looks) == 1:
                found.start()
            return ValidationMetrics(primary=-scores["log_loss"])

    (x_train, y_train), (x_validation, y_validation) = (
        table.part(part) for part in (table.split.train, table.split.validation)
    )
    chunks = -(-len(y_train) // (CONTEXT + BATCH))
    rows_a_step = -(-len(y_train) // chunks)  # equal steps: its split fails if a small last step has a class only once
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


def best(looks: Looks) -> dict[str, float]:
    """The evaluation with the lowest log-loss, the first of equal ones; the base model counts."""
    return min(looks, key=lambda look: look["log_loss"])


def reached(looks: Looks, log_loss: float, clock: str) -> float:
    """Seconds until ``log_loss`` was reached."""
    return next(look[clock] for look in looks if look["log_loss"] <= log_loss)


def looks_of(trails: Kept, table: str, way: str, rate: float, seed: int) -> Looks:
    """The evaluations of a run, which is trained if the file lacks it."""
    looks: Looks = trails.get(
        lambda: {"looks": trail(table, way, rate, seed)}, table=table, way=way, rate=rate, seed=seed
    )["looks"]
    return looks


def chosen(trails: Kept, table: str, way: str) -> float:
    """The rate with the lowest validation log-loss under the first seed."""
    return min(RATES[way], key=lambda rate: best(looks_of(trails, table, way, rate, SEEDS[0]))["log_loss"])


def scores(trails: Kept) -> str:
    """Tables of how low each strategy gets, and when."""
    rows, ratios = [], []
    for table in TABLES:
        rates = {way: chosen(trails, table, way) for way in RATES}
        runs = {way: [looks_of(trails, table, way, rates[way], seed) for seed in SEEDS] for way in RATES}
        zero = np.mean([looks[0]["log_loss"] for looks in runs[FULL]])
        for way, of_way in runs.items():
            tops = [best(looks) for looks in of_way]
            numbers = [f"{zero:.4f}", *(f"{np.mean([top[s] for top in tops]):.4f}" for s in ("log_loss", "accuracy"))]
            rows.append(
                [
                    table,
                    way,
                    f"{rates[way]:g}",
                    *numbers,
                    *(f"{np.median([top[c] for top in tops]):.1f}" for c in ("wall", "cpu")),
                ]
            )
        for way in LORA:
            cells = []
            for other in (FULL, TABICL):
                for clock in ("wall", "cpu"):
                    each = []
                    for mine, theirs in zip(runs[way], runs[other], strict=True):
                        target = max(best(mine)["log_loss"], best(theirs)["log_loss"])
                        times = [reached(looks, target, clock) for looks in (mine, theirs)]
                        each += [times[0] / times[1]] if times[1] else []
                    cells.append(f"{np.median(each):.2f}" if each else "")
                gains = [best(b)["log_loss"] - best(a)["log_loss"] for a, b in zip(runs[way], runs[other], strict=True)]
                cells.append(f"{np.mean(gains):+.4f}")
            ratios.append([table, way, *cells])
    head = [
        "Table",
        "Strategy",
        "Rate",
        "Zero-shot log-loss",
        "Best log-loss",
        "Accuracy at best",
        "Seconds to best",
        "CPU seconds",
    ]
    parts = [
        "Time / full fine-tuning's",
        "CPU time",
        "log-loss lower by",
        "Time / tabicl's",
        "CPU time",
        "log-loss lower by",
    ]
    return (
        f"Validation rows, mean (scores) and median (seconds) of {len(SEEDS)} "
        f"seeds:\n\n{markdown_table(head, rows)}\n\n"
        "LoRA's time to a log-loss that both reach (the higher of their best ones), divided by the other's (median "
        "of the seeds), and how "
        f"much lower LoRA's best log-loss is:\n\n{markdown_table(['Table', 'Strategy', *parts], ratios)}"
    )


def main() -> None:
    """Trains what is missing, prints, and writes with ``--write``."""
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSON lines; what is in it is not trained again")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    trails = Kept(asked.runs, "table", "way", "rate", "seed")
    publish("time-to-score", f"{scores(trails)}\n\n{machine()}.", write=asked.write)


if __name__ == "__main__":
    main()
