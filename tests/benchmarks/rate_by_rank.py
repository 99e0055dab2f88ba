"""Which scale of LoRA's update keeps the best learning rate the same for every rank? One grid of ranks and rates.

``python tests/benchmarks/rate_by_rank.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. The tables were named below before the first run, from the lists of ``real_tables.py``, which says what
to install. Runs that are already in the file are not repeated.

The update is s B A with s = alpha / r (or alpha / sqrt(r)). Adam's steps do not depend on the size of a gradient, so
with B' = s B a run moves A by the rate l and B' by s l. B starts at 0 and A does not, so at first only s l counts. One
grid with s = 2 answers for alpha = 2r and, with its rates named anew, exactly for l / sqrt(r) and l / r; rsLoRA and a
fixed alpha are these two with another rate of A. ``--scales`` runs them as they are, to see how far this holds.

``fit`` gets 6 in 10 rows, at most 800, and holds out a fifth of them, which choose the step; at most 500 other rows are
the test rows. A gain is measured on the test rows, against zero-shot with the same rows: in log-loss, as a share of
zero-shot's, or in the share of explained variance."""

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import CLASSIFICATION, REGRESSION, UNSEEN, RealTable, _r
from sklearn.model_selection import train_test_split

from tabtune_core import TabularPipeline
from tabtune_core.events import Evaluated
from tabtune_core.metrics import SELECTION, Task
from tabtune_core.models.catalogue import CATALOGUE

NAMES = "segment Carseats magic Computers mlc_churn SLID phoneme Boston spam7 diamonds banana concrete"
"""Classes and numbers in turn, each in the order of the hash of its name; every second pair confirms."""
RANKS, TIMES = (1, 32, 4, 2, 8, 16), (1, 4, 16, 64, 0.25)
"""Ranks, and rates as multiples of the model's default, in the order of their runs."""
SIZES = {"steps": 40, "eval_every": 10, "patience": 0, "context_rows": 128, "batch_size": 64}
FIT_SHARE, FIT_ROWS, TEST_ROWS, SHOWN_ROWS = 0.6, 800, 500, 256
POWERS = {"alpha = 2r": 0.0, "rate / sqrt(r), like rsLoRA": 0.5, "rate / r, like a fixed alpha": 1.0}


def tables() -> list[tuple[Task, RealTable]]:
    """The tables with their tasks, in order."""
    numbers = {table.name: table for table in (*REGRESSION, _r("Ecdat", "Computers", "price"))}
    classes = {table.name: table for table in CLASSIFICATION + UNSEEN}
    named = ((name, "regression" if name in numbers else "classification") for name in NAMES.split())
    return [(task, (classes | numbers)[name]) for name, task in named]


@lru_cache(maxsize=1)
def rows(table: RealTable, task: Task) -> list[Any]:
    """Training features, test features, training targets and test targets."""
    x, y = table.load()
    fitted = min(FIT_ROWS, round(FIT_SHARE * len(y)))
    tested, classes = min(TEST_ROWS, len(y) - fitted), y if task == "classification" else None
    return [*train_test_split(x, y, train_size=fitted, test_size=tested, random_state=0, stratify=classes)]


def losses(pipeline: TabularPipeline, x: pd.DataFrame, y: pd.Series) -> NDArray[np.float64]:
    """Each row's log-loss, or its squared error as a share of the variance."""
    if pipeline.task == "regression":
        return np.asarray((pipeline.predict(x) - y.to_numpy(float)) ** 2 / y.to_numpy(float).var())
    p_NK, places = pipeline.predict_proba(x), np.searchsorted(pipeline.classes_, y)
    return np.asarray(-np.log(np.maximum(p_NK[np.arange(len(y)), places], 1e-15)))


@lru_cache(maxsize=1)
def before(model: str, task: Task, table: RealTable) -> NDArray[np.float64]:
    """Each test row's loss without training."""
    x, x_test, y, y_test = rows(table, task)
    shown = {"device": "cpu", "predict_context_rows": SHOWN_ROWS}
    return losses(TabularPipeline(model, "inference", shown, task).fit(x, y), x_test, y_test)


def one_run(model: str, task: Task, table: RealTable, rank: int, rate: float, scale: str) -> dict[str, Any]:
    """The gain on test, the validation score after each evaluation, and each test row's loss."""
    x, x_test, y, y_test = rows(table, task)
    lora: dict[str, Any] = {"r": rank}
    if scale != "twice":
        lora |= {"lora_alpha": 16 if scale == "fixed" else 16 / math.sqrt(8), "use_rslora": scale == "rslora"}
    params = {"device": "cpu", "learning_rate": rate, "predict_context_rows": SHOWN_ROWS, "peft_config": lora, **SIZES}
    pipeline = TabularPipeline(model, "peft", params, task).fit(x, y)
    scores = [event for event in pipeline.history if isinstance(event, Evaluated) and event.split == "validation"]
    after, zero_shot = losses(pipeline, x_test, y_test), before(model, task, table)
    gains = (zero_shot - after) / (zero_shot.mean() if task == "classification" else 1)
    return {
        "gain": float(gains.mean()),
        "error": float(gains.std() / len(gains) ** 0.5),
        "validation": {str(event.step): event.scores[SELECTION[task]] for event in scores},
        "losses": [float(f"{loss:.5g}") for loss in after],
    }


class Runs(Kept):
    """The runs of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "model", "task", "table", "rank", "times", "scale")

    def of(self, model: str, task: Task, table: RealTable, rank: int, times: float, scale: str = "twice") -> Any:
        rate = times * CATALOGUE[model].usual_rate(task, "peft")
        asked = {"model": model, "task": task, "table": table.name, "rank": rank, "times": times, "scale": scale}
        return self.get(lambda: one_run(model, task, table, rank, rate, scale), **asked)

    def gains(self, model: str, task: Task, table: RealTable) -> dict[int, dict[float, float]]:
        """The gain at each rate of each rank that has three; none unless the outer ranks have them."""
        found: dict[int, dict[float, float]] = {}
        for run in self.known.values():
            if (run["model"], run["task"], run["table"], run["scale"]) == (model, task, table.name, "twice"):
                found.setdefault(run["rank"], {})[run["times"]] = run["gain"]
        whole = {rank: dict(sorted(own.items())) for rank, own in sorted(found.items()) if len(own) >= 3}
        return whole if {min(RANKS), max(RANKS)} <= whole.keys() else {}


def at(gains: dict[float, float], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains at these rates, between those that were run; beyond them, at the nearest."""
    return np.interp(np.log2(times), np.log2(list(gains)), list(gains.values()))


def lost(gains: dict[int, dict[float, float]], power: float) -> float:
    """What the ranks lose on average if all have the best common rate, times (r / 8) to the minus ``power``."""
    fine, usual = 2 ** np.linspace(-2, 6, 33), 2 ** np.linspace(-2, 7, 37)
    each = [at(own, fine).max() - at(own, usual * (rank / 8) ** -power) for rank, own in gains.items()]
    return float(np.mean(each, axis=0).min())


def report(runs: Runs, models: list[str]) -> Iterator[list[str]]:
    """Yields what one rate for all ranks loses against a rate for each, by parametrisation and half of the tables."""
    for model, (name, power) in product(models, POWERS.items()):
        known = [(i // 2 % 2, runs.gains(model, *table)) for i, table in enumerate(tables())]
        each = [[lost(gains, power) for at_half, gains in known if gains and at_half == half] for half in (0, 1)]
        if all(each):
            counts = " + ".join(str(len(of)) for of in each)
            yield [f"{CATALOGUE[model].title} ({counts} tables): {name}", *(f"{np.mean(of):.4f}" for of in each)]


def best_rates(runs: Runs, models: list[str]) -> Iterator[list[str]]:
    """Yields the mean gain over tables at each multiple of the default rate, by model and rank."""
    for model, rank in product(models, sorted(RANKS)):
        known = [gains[rank] for table in tables() if rank in (gains := runs.gains(model, *table))]
        if known:
            gains = [[own[times] for own in known if times in own] for times in sorted(TIMES)]
            shown = [f"{np.mean(of):+.4f}" if of else "" for of in gains]
            yield [f"{CATALOGUE[model].title}, r = {rank} ({len(known)})", *shown]


def falls(runs: Runs, models: list[str]) -> Iterator[list[str]]:
    """Yields how the best rate falls from the lowest to the highest rank, over the tables on which both gain."""
    low, high = min(RANKS), max(RANKS)
    for model, half in product(models, (0, 1)):
        found = [runs.gains(model, *table) for i, table in enumerate(tables()) if i // 2 % 2 == half]
        both = [[own[low], own[high]] for own in found if own]
        both = [pair for pair in both if min(max(own.values()) for own in pair) > 0]
        best = np.array([[math.log2(max(own, key=lambda times: own[times])) for own in pair] for pair in both])
        if len(best):
            first, last = best.mean(axis=0)
            power = f"{(first - last) / math.log2(high / low):.2f}"
            yield [
                f"{CATALOGUE[model].title}, {('chooses', 'confirms')[half]}",
                str(len(best)),
                f"x{2**first:.1f}",
                f"x{2**last:.1f}",
                power,
            ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--models", nargs="+", default=["tabicl-mini"])
    parser.add_argument("--ranks", nargs="+", type=int, default=list(RANKS))
    parser.add_argument("--times", nargs="+", type=json.loads, default=list(TIMES))
    parser.add_argument("--scales", nargs="*", default=[], choices=["rslora", "fixed"], help="run these as they are")
    parser.add_argument("--told", action="store_true", help="print the runs of the file, and run nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.runs)
    asked = product(arguments.models, arguments.times, arguments.ranks, tables(), arguments.scales or ["twice"])
    for model, times, rank, (task, table), scale in () if arguments.told else asked:
        runs.of(model, task, table, rank, times, scale)
    head = ["model (tables): parametrisation", "lost: chooses", "confirms"]
    first = markdown_table(head, list(report(runs, arguments.models)))
    head = ["model, rank (tables)", *(f"x{times:g}" for times in sorted(TIMES))]
    second = markdown_table(head, list(best_rates(runs, arguments.models)))
    head = [
        "model, half",
        "tables",
        f"best at r = {min(RANKS)}",
        f"at r = {max(RANKS)}",
        "falls as r to the power of -",
    ]
    third = markdown_table(head, list(falls(runs, arguments.models)))
    publish("rate-by-rank", f"{third}\n\n{first}\n\n{second}", write=arguments.write)


if __name__ == "__main__":
    main()
