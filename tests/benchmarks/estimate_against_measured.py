"""How close is the memory growth that a page estimates before a launch to what the run then takes?

``python tests/benchmarks/estimate_against_measured.py --home runs --seed 7 --runs 130`` prints Markdown and takes an
hour of one core; ``--write`` puts it into the documentation. Ended runs of the workspace are not repeated.

Settings and tables of noise are drawn from the seed. A few steps of every second run are measured first; the run after
it is of the same kind, with another rank and half to twice the rows and columns, and is estimated from the first.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from published import markdown_table, options, publish

from tabtune_core.analysis.runtime_estimate import TrainedOn, growth_ratio, measured_paces, read_paces
from tabtune_core.data.datasets import add_dataset, get_dataset
from tabtune_core.data.splits import SplitSizes, group_rows
from tabtune_core.errors import SettingError, TargetError
from tabtune_core.machine import machine_memory
from tabtune_core.models.cards import adapter_size
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore
from tabtune_core.training.memory.estimate import Sizes, estimate_memory, with_shown_rows
from tabtune_core.training.memory.fitting import SMALL_BYTES, Growth

ROOT = Path(__file__).parents[2]
MODELS = ("tabicl-mini", "tabdpt-mini", "mitra-mini")
LEVERS = {
    "lora.rank": (2, 4, 8, 16, 32),
    "lora.dropout": (0.0, 0.05),
    "lora.bias": ("none", "none", "all", "lora_only"),
    "lora.targets": ((), (), ("late_layers",), ("row_attention",), ("prediction_head",), ("column_embeddings",)),
    "train.batch_size": (32, 64, 128, 256),
    "train.context_rows": (128, 256, 512, 1024),
    "train.predict_context_rows": (None, None, 256),
    "train.gradient_checkpointing": (False, False, True),
    "train.episode_set": (0, 0, 4),
    "train.optimizer": ("adamw", "adamw", "sgd"),
    "train.views": (1, 1, 2),
}
VARIANTS = ({}, {}, {"use_dora": True}, {"init_lora_weights": "pissa"})
STEPS = 12
"""Steps of a run. Gaps make the heap grow for about eight."""
CLASSES = (0, 2, 3, 5, 10)
"""0 means a number to predict."""
NEAR, LOW = 0.2, 0.9


def between(rng: np.random.Generator, low: float, high: float) -> int:
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))


def table(home: Path, rng: np.random.Generator, rows: int, features: int, classes: int) -> str:
    frame = pd.DataFrame(rng.normal(size=(rows, features)).round(4)).add_prefix("x")
    frame["y"] = [f"c{row % classes}" for row in range(rows)] if classes else rng.normal(size=rows).round(4)
    return add_dataset(home, frame.to_csv(index=False).encode(), f"{rows} x {features}.csv").id


def pair(home: Path, rng: np.random.Generator) -> list[RunSettings]:
    """One run, and one of the same kind with another table and rank; settings that the product refuses raise."""
    rows, features, classes = between(rng, 250, 1500), between(rng, 4, 20), int(rng.choice(CLASSES))
    drawn = {name: values[rng.integers(len(values))] for name, values in LEVERS.items()}
    lora = {name.partition(".")[2]: value for name, value in drawn.items() if name.startswith("lora.")}
    lora |= VARIANTS[rng.integers(len(VARIANTS))]
    train = {name.partition(".")[2]: value for name, value in drawn.items() if name.startswith("train.")}
    model, strategy = str(rng.choice(MODELS)), str(rng.choice(["inference", "base-ft", "peft"], p=[0.1, 0.3, 0.6]))
    train["gradient_checkpointing"] &= bool(CATALOGUE[model].family.block_lists)
    values = {"target": "y", "task": "classification" if classes else "regression", "model": model, "device": "cpu"}
    values |= {"strategy": strategy, "train": {**train, "steps": STEPS, "eval_every": STEPS // 2, "patience": 0}}
    other_rank = int(rng.choice(LEVERS["lora.rank"]))
    sizes = ((rows, features), tuple(round(size * rng.uniform(0.6, 1.7)) for size in (rows, features)))
    runs = []
    for (rows_here, features_here), rank in zip(sizes, (lora["rank"], other_rank), strict=True):
        adapter = {"lora": {**lora, "rank": rank}} if strategy == "peft" else {}
        dataset = table(home, rng, max(100, rows_here), max(2, features_here), classes)
        run = RunSettings.from_dict({**values, **adapter, "dataset": dataset})
        if strategy == "peft":
            adapter_size(CATALOGUE[model], run.task, run.lora)
        runs.append(run)
    return runs


def fill(store: RunStore, seed: int, number: int) -> None:
    """Queues the runs, and a measurement for the first of each pair."""
    rng, queued = np.random.default_rng(seed), 0
    while queued < number:
        try:
            runs = pair(store.home, rng)
        except (SettingError, TargetError):  # refused combinations: DoRA of biases, ranks above a layer's
            continue
        if runs[0].strategy != "inference":
            store.add_job("pace", {"settings": [runs[0].to_dict()]})
        store.add_sweep(runs)
        queued += len(runs)


def carry_out(home: Path) -> None:
    command = [sys.executable, "-m", "tabtune_core", "worker", "--home", str(home), "--exit-when-idle"]
    command += ["--parallel", "1", "--threads", "1"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def compared(store: RunStore) -> pd.DataFrame:
    """One row per run: model, what the estimate used, its band with and without that, its point, and measured bytes."""
    probes = {json.dumps(job.arguments["settings"][0], sort_keys=True): job.result for job in store.jobs("pace")}
    first, rows = dict[str, str](), []
    for run in store.runs():
        settings, earlier = run.settings, first.setdefault(run.sweep, run.id)
        if run.result is None:
            continue
        dataset = get_dataset(store.home, settings.dataset)
        features, is_class = len(dataset.columns) - 1, settings.task == "classification"
        classes = dataset.columns[-1].unique if is_class else 0
        split = SplitSizes.plan(group_rows(dataset.rows), settings.validation_share, settings.test_share)
        shown = with_shown_rows(settings, features=features, memory_bytes=machine_memory()[1], on_gpu=False)
        sizes = Sizes.plan(shown, split, features=features, classes=classes)
        estimate = estimate_memory(settings, CATALOGUE[settings.model], sizes, on_gpu=False)
        probe = probes.get(json.dumps(settings.to_dict(), sort_keys=True))
        paces = measured_paces([probe] if probe else []) if earlier == run.id else read_paces(store, [earlier])
        ratio = growth_ratio(paces, TrainedOn.plan(split, features=features, classes=classes, on_gpu=False), settings)
        known = "a few steps of the run" if earlier == run.id else "a similar finished run"
        known, shown_growth, alone = (
            known if ratio else "nothing",
            Growth.of(estimate, ratio),
            Growth.of(estimate, None),
        )
        is_zero_shot = settings.strategy == "inference"
        measured = run.result.predict_growth_memory_bytes if is_zero_shot else run.result.growth_memory_bytes
        bands = (shown_growth.least, shown_growth.most, alone.least, alone.most)
        rows.append((settings.model, known, *bands, estimate.growth, measured))
    columns = ["model", "known", "least", "most", "least_alone", "most_alone", "estimated", "measured"]
    return pd.DataFrame(rows, columns=columns)


def report(runs: pd.DataFrame) -> str:
    number = runs[runs["least"] == runs["most"]]
    groups = [
        *number.groupby("known"),
        *number.groupby("model"),
        ("all", number),
        ("the architecture alone", runs.assign(most=runs["estimated"])),
    ]
    rows = []
    for name, group in groups:
        ratio = group["most"] / group["measured"]
        within = int((abs(ratio - 1) <= NEAR).sum())
        numbers = (f"{value:.2f}" for value in (ratio.median(), ratio.min(), ratio.max()))
        share = f"{within} ({within / len(group):.0%})"
        rows.append([str(name), str(len(group)), share, *numbers, str(int((ratio < LOW).sum()))])
    head = ["Estimated from", "Runs", f"Within {NEAR:.0%}", "Median of estimate / measured"]
    head += ["Lowest", "Highest", f"Below {LOW}"]
    texts = []
    for title, group, low, high in (
        ("Runs that were given a band", runs[runs["least"] < runs["most"]], "least", "most"),
        ("All runs, if nothing had been measured before them", runs, "least_alone", "most_alone"),
    ):
        inside = int(group["measured"].between(group[low], group[high]).sum())
        over, small = int((group["measured"] > group[high]).sum()), int((group["measured"] < SMALL_BYTES).sum())
        size = f"{small} took less than {SMALL_BYTES / 1e6:.0f} MB"
        texts.append(f"{title}: {len(group)}, of which {size}; {inside} lie within the band, {over} above.")
    return "\n\n".join([markdown_table(head, rows), *texts])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--home", type=Path, required=True, help="workspace of the runs; created if missing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=120)
    asked = parser.parse_args()
    store = RunStore(asked.home)
    if not store.runs():
        fill(store, asked.seed, asked.runs)
    carry_out(store.home)
    publish("estimate", report(compared(store)), write=asked.write)


if __name__ == "__main__":
    main()
