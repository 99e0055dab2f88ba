"""More context rows, LoRA, or both? A model on nine real tables.

``python tests/benchmarks/rows_shown.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. The tables are ``ADAPTATION`` of ``real_tables.py``, which says what to install. Runs that are already in
the file are not repeated.

Test rows are those of ``lora_against_zero_shot.py``. The seed changes everything else: the split of the other rows, the
contexts (for one seed and table, each is part of every larger one), the adapter's start and the episodes. Only each
run's step is chosen; rank 8, rate 2e-3, early stopping by evaluations with at most 2,048 context rows. Zero-shot and
LoRA trained with 256 context rows are then scored on the test rows at every number of context rows. As in the product,
zero-shot replaces a trained state that is not better on the validation rows with all context rows.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lora_against_zero_shot import Rows, true_class_losses
from published import Kept, markdown_table, options, publish
from real_tables import ADAPTATION, CLASSIFICATION, RealTable

from tabtune_core import TabularPipeline
from tabtune_core.data.arrays import Labels, prepare_arrays, read_labels
from tabtune_core.data.task import Prepared
from tabtune_core.engine.adapted_model import predict_rows
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.fit import fit
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.plan import Plan
from tabtune_core.training.session import Environment

SEEDS, TRAINED, SHOWN = (0, 1, 2, 3, 4), (0, 256), (256, 1024, 4096, None)
"""``TRAINED`` are the context rows of a training step, 0 is zero-shot; ``SHOWN`` those at prediction, None is all
training rows.
"""
EVALUATED = 2048
KNOBS: dict[str, Any] = {
    "steps": 100,
    "batch_size": 128,
    "validation_rows": 500,
    "eval_every": 20,
    "patience": 3,
    "learning_rate": 2e-3,
}


def settings_of(model: str, seed: int, trained: int, shown: int | None) -> RunSettings:
    """Settings of one training whose predictions use ``shown`` context rows."""
    params = {"seed": seed, "device": "cpu", "predict_context_rows": shown}
    if not trained:
        zero_shot = TabularPipeline(model, "inference", params).settings()
        return replace(
            zero_shot, train=replace(zero_shot.train, validation_rows=KNOBS["validation_rows"])
        )  # the same validation rows
    return TabularPipeline(
        model, "peft", {**params, **KNOBS, "context_rows": trained, "peft_config": {"r": 8}}
    ).settings()


def measured(model: str, table: RealTable, seed: int, trained: int) -> dict[str, Any]:
    """Trains once and scores the state on validation and test rows at every number of context rows."""
    torch.set_num_threads(1)
    rows = Rows.of(table)
    labels, y_N = Labels.of(rows.y, "classification"), read_labels(rows.y, len(rows.y))

    def prepared(shown: int | None) -> Prepared:
        return prepare_arrays(rows.x, y_N, labels, settings_of(model, seed, trained, shown), max_classes=None)

    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder, MemoryMeter(cpu, lambda event: None) as meter:
        plan = Plan.of(settings_of(model, seed, trained, EVALUATED), features=rows.x.shape[1], device=cpu)
        fitted = fit(
            plan, lambda: prepared(EVALUATED), Environment(meter=meter, folder=Path(folder), emit=lambda event: None)
        )
    result, scores = fitted.result, {}
    for shown in SHOWN:
        of_size = prepared(shown)
        held = of_size.split.validation
        p_NK = predict_rows(fitted.session.model, rows.x_test, of_size.context, views=1)
        p_VK = predict_rows(fitted.session.model, rows.x.iloc[held], of_size.context, views=1)
        scores[str(shown or "all")] = {
            "shown": len(of_size.context.y_C),
            "test": float(np.mean(true_class_losses(p_NK, labels.classes, rows.y_test))),
            "test_accuracy": float(np.mean(labels.classes[p_NK.argmax(1)] == rows.y_test)),
            "validation": float(np.mean(true_class_losses(p_VK, labels.classes, rows.y.iloc[held]))),
        }
    return {
        "best_step": result.best_step,
        "steps": result.steps_done,
        "rows": len(rows.y) + len(rows.y_test),
        "scores": scores,
    }


def asked_for(model: str, table: RealTable, seed: int, trained: int) -> dict[str, Any]:
    """The fields that identify a run."""
    weights = (get_card(model).weights["classification"].sha256 or "")[:8]
    return {"table": table.name, "seed": seed, "trained": trained, "knobs": KNOBS, "weights": weights}


def run_of(runs: Kept, model: str, table: RealTable, seed: int, trained: int) -> dict[str, Any]:
    """A run, trained if the file lacks it."""
    return runs.get(lambda: measured(model, table, seed, trained), **asked_for(model, table, seed, trained))


def returned(trained: dict[str, Any], zero: dict[str, Any]) -> dict[str, Any]:
    """The scores of the state that the product returns: the trained one if it is better on validation with all context
    rows.
    """
    better = trained["scores"]["all"]["validation"] < zero["scores"]["all"]["validation"]
    scores: dict[str, Any] = (trained if better else zero)["scores"]
    return scores


def scores_line(table: RealTable, zero: list[dict[str, Any]], few: list[dict[str, Any]]) -> list[str]:
    """Mean log-loss on the test rows at every number of context rows: zero-shot / trained with 256."""
    cells = []
    for shown in map(str, (size or "all" for size in SHOWN)):
        untrained = np.mean([run["scores"][shown]["test"] for run in zero])
        trained = np.mean([returned(run, base)[shown]["test"] for run, base in zip(few, zero, strict=True)])
        cells.append(f"{untrained:.3f} / {trained:.3f}")
    return [f"{table.name} ({zero[0]['rows']:,})", str(len(zero)), *cells]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--tables", nargs="+", help="only these")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument(
        "--only-known", action="store_true", help="train nothing: print the seeds whose runs are all in the file"
    )
    parser.add_argument("--model", default="tabicl-mini", help="model of the catalogue; each has a table of its own")
    asked = parser.parse_args()
    model, lines = asked.model, []
    tables = [table for table in CLASSIFICATION if table.name in asked.tables] if asked.tables else list(ADAPTATION)
    runs = Kept(asked.runs, *asked_for(model, tables[0], 0, 0))
    if not asked.only_known:
        for seed in asked.seeds:  # seed by seed, so that an interrupted benchmark covers every table
            for table in tables:
                for trained in TRAINED:
                    run_of(runs, model, table, seed, trained)
    for table in tables:
        known = [s for s in asked.seeds if all(runs.has(**asked_for(model, table, s, trained)) for trained in TRAINED)]
        if known:
            pairs = ([run_of(runs, model, table, seed, trained) for seed in known] for trained in TRAINED)
            lines.append(scores_line(table, *pairs))
    head = ["table (rows)", "seeds", *(f"{size:,} context rows" if size else "all training rows" for size in SHOWN)]
    publish(f"rows-shown-{model}", markdown_table(head, lines), write=asked.write)


if __name__ == "__main__":
    main()
