"""Does the mean of the updates of several seeds pay? TabICL mini on real tables, ranks as they were trained.

``python tests/benchmarks/averaged_adapters.py --runs averaged.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation, whose page says how it is measured. Tables that are already in the file are not repeated.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ensembles import MORE
from fair_ranks import MODEL, SHOWN, SIZES, TABLES, rows
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import RealTable
from torch import Tensor

from tabtune_core import TabularPipeline
from tabtune_core.lora.standalone import LoraAdapter, load_lora_adapter
from tabtune_core.metrics import Task

RANK, SEEDS = 4, (0, 1, 2)
SIGNS = (("seed", 1), ("seed", -1), ("predictions", 1), ("predictions", -1))
WAYS = ("one seed", "three predictions", "mean update", "mean update, rank 4")


def mean_update(adapters: list[LoraAdapter], rank: int) -> LoraAdapter:
    """The mean of the updates B A of each layer, cut back to ``rank`` by its singular values; alpha stays 2 r."""
    first, tensors = adapters[0], dict[str, Tensor]()
    for name in first.tensors:
        if ".lora_A" in name:
            other = name.replace(".lora_A", ".lora_B")
            update = sum(one.tensors[other].double() @ one.tensors[name].double() for one in adapters) / len(adapters)
            u, s, v = torch.linalg.svd(update, full_matrices=False)
            root = s[:rank].sqrt()
            tensors[name], tensors[other] = (root[:, None] * v[:rank]).float(), (u[:, :rank] * root).float()
    return replace(first, settings=replace(first.settings, rank=rank, alpha=2.0 * rank), tensors=tensors)


def one_table(task: Task, table: RealTable, folder: Path) -> dict[str, Any]:
    """Each way's mean test loss, and what the other ways gain on one seed and on the mean of predictions, row by row."""
    x, x_test, y, y_test = rows(table, task)
    adapters = dict[str, LoraAdapter]()
    for seed in SEEDS:
        params = {**SHOWN, **SIZES, "seed": seed, "peft_config": {"r": RANK, "lora_alpha": 2 * RANK}}
        pipeline = TabularPipeline(MODEL, "peft", params, task).fit(x, y)
        pipeline.save_adapter(file := folder / f"{seed}.pt")
        adapters[f"seed {seed}"] = load_lora_adapter(file)
    seeds = list(adapters.values())
    adapters |= {WAYS[2]: mean_update(seeds, RANK * len(SEEDS)), WAYS[3]: mean_update(seeds, RANK)}
    predicted = dict[str, NDArray[np.float64]]()
    for name, adapter in adapters.items():  # all with the context rows of one pipeline
        pipeline.load_adapter(adapter, name)
        predicted[name] = predict(pipeline, x_test)
    alone = [loss_of(predicted[f"seed {seed}"], pipeline, y_test) for seed in SEEDS]
    together = np.mean([predicted[f"seed {seed}"] for seed in SEEDS], axis=0)
    made = {WAYS[0]: np.mean(alone, axis=0), WAYS[1]: loss_of(together, pipeline, y_test)}
    made |= {name: loss_of(predicted[name], pipeline, y_test) for name in WAYS[2:]}
    with pipeline.disable_adapter():
        zero = loss_of(predict(pipeline, x_test), pipeline, y_test)
    pairs = {"seed": (WAYS[0], WAYS[3]), "predictions": (WAYS[1], WAYS[3])}
    return {
        "rows": len(y),
        "zero-shot": float(zero.mean()),
        "means": {name: float(loss.mean()) for name, loss in made.items()},
        **{name: gain(made[before] - made[after]) for name, (before, after) in pairs.items()},
    }


def predict(pipeline: TabularPipeline, x: pd.DataFrame) -> NDArray[np.float64]:
    return pipeline.predict(x) if pipeline.task == "regression" else pipeline.predict_proba(x)


def loss_of(predicted: NDArray[np.float64], pipeline: TabularPipeline, y: pd.Series) -> NDArray[np.float64]:
    """Each row's log-loss, or its squared error as a share of the variance."""
    if pipeline.task == "regression":
        return np.asarray((predicted - y.to_numpy(float)) ** 2 / y.to_numpy(float).var())
    places = np.searchsorted(pipeline.classes_, y)
    return np.asarray(-np.log(np.maximum(predicted[np.arange(len(y)), places], 1e-15)))


def gain(gains: NDArray[np.float64]) -> tuple[float, float]:
    """The mean and the half of its 95 % interval over the test rows."""
    return float(gains.mean()), float(1.96 * gains.std() / len(gains) ** 0.5)


def report(tables: list[dict[str, Any]]) -> str:
    lines = []
    for one in tables:
        written = [f"{value:.4f}" for value in (one["zero-shot"], *(one["means"][name] for name in WAYS))]
        differences = [f"{value:+.4f} ± {half:.4f}" for value, half in (one["seed"], one["predictions"])]
        lines.append([f"{one['table']} ({one['rows']:,})", *written, *differences])
    head = ["table (rows)", "zero-shot", *WAYS, "gain over one seed", "gain over three predictions"]
    counts = [
        sum(abs(one[name][0]) > one[name][1] and one[name][0] * sign > 0 for one in tables) for name, sign in SIGNS
    ]
    summary = f"""Of {len(tables)} tables the mean update of rank {RANK} is beyond noise better than one seed on {counts[0]} and worse on {counts[1]}; it is
better than the mean of three predictions on {counts[2]} and worse on {counts[3]}."""
    return f"{markdown_table(head, lines)}\n\n{summary}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the tables are appended to")
    arguments = parser.parse_args()
    kept, tables = Kept(arguments.runs, "table"), list[dict[str, Any]]()
    for task, table in (*TABLES, *MORE):
        with tempfile.TemporaryDirectory() as name:
            tables.append(kept.get(partial(one_table, task, table, Path(name)), table=table.name))
    publish("averaged-adapters", report(tables), write=arguments.write)


if __name__ == "__main__":
    main()
