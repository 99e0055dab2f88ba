"""Which scale of LoRA's update keeps the best learning rate the same for every rank? One grid of ranks and rates, on real
tables.

``python tests/benchmarks/rate_by_rank.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. The tables were named below before the first run, from the lists of ``real_tables.py``, which says what
to install. Runs that are already in the file are not repeated.

The update is s B A with s = alpha / r (or alpha / sqrt(r)). Adam's steps do not depend on the size of a gradient, so
with B' = s B a run moves A by the rate l and B' by s l: two numbers say all about a parametrisation. B starts at 0 and
A does not, so at first only s l counts. One grid with s = 2 therefore answers for alpha = 2r, and, with its rates named
anew, exactly for l / sqrt(r) and l / r; rsLoRA and a fixed alpha are these two with A at a higher rate below rank 8.
``--scales`` runs them as they are, to see how far this holds. All five are the same at rank 8.

``fit`` gets 6 in 10 rows, at most 800, and holds out a fifth of them, which choose the step; at most 500 other rows are
the test rows. A gain is measured on the test rows, against zero-shot with the same rows: in log-loss, as a share of
zero-shot's, or in the share of explained variance. The hash of a table's name determines its order and its half.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import default_rates
import numpy as np
from default_rates import LISTS, losses, rows
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import RealTable

from tabtune_core import TabularPipeline
from tabtune_core.events import Evaluated
from tabtune_core.metrics import SELECTION, Task
from tabtune_core.models.catalogue import CATALOGUE

NAMES: dict[Task, str] = {
    "classification": "banana magic mlc_churn phoneme segment spam7",
    "regression": "Boston Carseats Computers concrete diamonds SLID",
}
RANKS, TIMES = (1, 32, 4, 2, 8, 16), (1, 4, 16, 64, 2, 8, 32)
"""Ranks, and rates as multiples of the model's default, in the order of their runs."""
SIZES = {"steps": 40, "eval_every": 10, "patience": 0, "context_rows": 128, "batch_size": 64}
SHOWN_ROWS = 256
POWERS = {"alpha = 2r": 0.0, "rate / sqrt(r), like rsLoRA": 0.5, "rate / r, like a fixed alpha": 1.0}
SCALES = {"rslora": 0.5, "fixed": 1.0}
default_rates.FIT_ROWS, default_rates.TEST_ROWS = 800, 500


def tables(names: dict[Task, str] = NAMES) -> list[tuple[Task, RealTable]]:
    """Tables of classes and of numbers in turn; the tables of each task are in the order of the hash of their names."""
    ordered = [
        [
            (task, by_name[name])
            for name in sorted(names[task].split(), key=lambda it: hashlib.sha256(it.encode()).digest())
        ]
        for task, by_name in ((task, {table.name: table for table in LISTS[task]}) for task in names)
    ]
    return [table for pair in zip(*ordered, strict=True) for table in pair]


@lru_cache(maxsize=1)
def before(model: str, task: Task, table: RealTable) -> NDArray[np.float64]:
    """Each test row's loss without training."""
    x, x_test, y, y_test = rows(table, task, 0)
    shown = {"device": "cpu", "predict_context_rows": SHOWN_ROWS}
    return losses(TabularPipeline(model, "inference", shown, task).fit(x, y), x_test, y_test)


def one_run(model: str, task: Task, table: RealTable, rank: int, rate: float, scale: str) -> dict[str, Any]:
    """The gain on test, the validation score after each evaluation, and CPU seconds."""
    started = time.process_time()
    x, x_test, y, y_test = rows(table, task, 0)
    lora: dict[str, Any] = {"r": rank}
    if scale != "twice":
        lora |= {"lora_alpha": 16 if scale == "fixed" else 16 / math.sqrt(8), "use_rslora": scale == "rslora"}
    params = {"device": "cpu", "learning_rate": rate, "predict_context_rows": SHOWN_ROWS, "peft_config": lora, **SIZES}
    pipeline = TabularPipeline(model, "peft", params, task).fit(x, y)
    cpu_seconds = time.process_time() - started
    scores = [event for event in pipeline.history if isinstance(event, Evaluated) and event.split == "validation"]
    after, zero_shot = losses(pipeline, x_test, y_test), before(model, task, table)
    gains = (zero_shot - after) / (zero_shot.mean() if task == "classification" else 1)
    return {
        "gain": float(gains.mean()),
        "error": float(gains.std() / len(gains) ** 0.5),
        "validation": {str(event.step): event.scores[SELECTION[task]] for event in scores},
        "best_step": pipeline.result.best_step,
        "cpu_seconds": round(cpu_seconds, 2),
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
        """The gain at each rate of each rank that has at least three."""
        known = [run for run in self.known.values() if run["scale"] == "twice"]
        found: dict[int, dict[float, float]] = {}
        for run in known:
            if (run["model"], run["task"], run["table"]) == (model, task, table.name):
                found.setdefault(run["rank"], {})[run["times"]] = run["gain"]
        return {rank: dict(sorted(own.items())) for rank, own in sorted(found.items()) if len(own) >= 3}


def at(gains: dict[float, float], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gains at these rates, between those that were run; beyond them, at the nearest."""
    return np.interp(np.log2(times), np.log2(list(gains)), list(gains.values()))


def lost(gains: dict[int, dict[float, float]], power: float, usual: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the ranks lose on average if all have one rate, times (r / 8) to the minus ``power``, for each such rate."""
    fine = 2 ** np.linspace(0, 6, 25)
    each = [at(own, fine).max() - at(own, usual * (rank / 8) ** -power) for rank, own in gains.items()]
    return np.asarray(np.mean(each, axis=0))


def report(runs: Runs, models: list[str]) -> Iterator[list[str]]:
    """Yields what one rate for all ranks loses, by parametrisation: at the best rate of each table, then of a half."""
    usual = 2 ** np.linspace(-2, 7, 37)
    for model in models:
        known = [(i // 2 % 2, runs.gains(model, *table)) for i, table in enumerate(tables())]
        known = [(half, gains) for half, gains in known if gains]
        for name, power in POWERS.items():
            lost_TM = np.array([lost(gains, power, usual) for _, gains in known])
            halves = np.array([half for half, _ in known])
            chosen = lost_TM[halves == 0].mean(axis=0).argmin()
            own = [f"{lost_TM[halves == half].min(axis=1).mean():.4f}" for half in (0, 1)]
            common = [f"{lost_TM[halves == half, chosen].mean():.4f}" for half in (0, 1)]
            title = f"{CATALOGUE[model].title} ({(halves == 0).sum()} + {(halves == 1).sum()} tables)"
            yield [f"{title}: {name}", *own, *common, f"x{usual[chosen]:.1f}"]


def best_rates(runs: Runs, models: list[str]) -> Iterator[list[str]]:
    """Yields the mean gain over tables at each multiple of the default rate, by model and rank."""
    for model, rank in product(models, sorted(RANKS)):
        known = [gains[rank] for table in tables() if rank in (gains := runs.gains(model, *table))]
        shared = [times for times in sorted(TIMES) if known and all(times in own for own in known)]
        if shared:
            means = {times: f"{np.mean([own[times] for own in known]):+.4f}" for times in shared}
            wins = np.mean([math.log2(max(own, key=lambda times: own[times])) for own in known])
            name = f"{CATALOGUE[model].title}, r = {rank} ({len(known)})"
            yield [name, *(means.get(times, "") for times in sorted(TIMES)), f"x{2**wins:.1f}"]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--models", nargs="+", default=["tabicl-mini"])
    parser.add_argument("--tables", type=int, default=12, help="number of tables")
    parser.add_argument("--ranks", nargs="+", type=int, default=list(RANKS))
    parser.add_argument("--times", nargs="+", type=int, default=list(TIMES))
    parser.add_argument("--scales", nargs="*", default=[], choices=list(SCALES), help="also run these as they are")
    parser.add_argument("--told", action="store_true", help="print the runs of the file, and run nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.runs)
    parts = [[1, 32], [4], [2, 8, 16]], [[1, 4, 16, 64], [2, 8, 32]]
    for model, few, some in () if arguments.told else product(arguments.models, *reversed(parts)):
        for (task, table), rank, times in product(tables()[: arguments.tables], some, few):
            if rank in arguments.ranks and times in arguments.times:
                for scale in arguments.scales or ["twice"]:
                    runs.of(model, task, table, rank, times, scale)
    first = markdown_table(
        ["model, parametrisation", "own rate: chooses", "confirms", "one rate: chooses", "confirms", "that rate"],
        list(report(runs, arguments.models)),
    )
    head = ["model, rank (tables)", *(f"x{times}" for times in sorted(TIMES)), "mean best"]
    publish(
        "rate-by-rank",
        f"{first}\n\n{markdown_table(head, list(best_rates(runs, arguments.models)))}",
        write=arguments.write,
    )


if __name__ == "__main__":
    main()
