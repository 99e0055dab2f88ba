"""Which learning rates should the minis have by default? LoRA of rank 8 and full fine-tuning at five rates each, on
real tables.

``python tests/benchmarks/default_rates.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. The tables were named below before the first run, from the lists of ``real_tables.py``, which says what
to install. Runs that are already in the file are not repeated.

``fit`` gets 6 in 10 rows, at most 400, and holds out a fifth of them to choose the step; at most 1,000 other rows are
the test rows. All other settings are the defaults of ``TabularPipeline``. A gain is measured on the test rows, against
zero-shot with the same rows: in log-loss, as a share of zero-shot's, or in the share of explained variance.

The hash of a table's name determines its order. The last column is the rate that each table's own validation rows choose.

Shape letters: T tables, R rates.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import CLASSIFICATION, LARGER_NUMBERS, REGRESSION, UNSEEN, RealTable
from sklearn.model_selection import train_test_split

from tabtune_core import TabularPipeline
from tabtune_core.metrics import METRICS, SELECTION, Task
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import STRATEGY_NAMES, Strategy
from tabtune_core.settings.labels import short_rate

RATES: dict[Strategy, tuple[float, ...]] = {
    "peft": (2e-4, 5e-4, 1e-3, 2e-3, 5e-3),
    "base-ft": (2e-5, 5e-5, 1e-4, 2e-4, 5e-4),
}
FIT_SHARE, FIT_ROWS, TEST_ROWS = 0.6, 400, 1000
NAMES: dict[Task, str] = {
    "classification": "banana contraceptive german penbased pima segment titanic Chile HMDA spam7 credit_data "
    "mlc_churn hpc_data phoneme vehicle Arrests",
    "regression": "Boston Auto Carseats Wage concrete Sacramento diamonds CPS1985 SLID MathAchieve Computers gpa2",
}
LISTS: dict[Task, tuple[RealTable, ...]] = {
    "classification": CLASSIFICATION + UNSEEN,
    "regression": REGRESSION + LARGER_NUMBERS,
}


def tables(task: Task) -> list[RealTable]:
    """The tables in the order of the hash of their names; the two halves alternate."""
    by_name = {table.name: table for table in LISTS[task]}
    names = sorted(NAMES[task].split(), key=lambda name: hashlib.sha256(name.encode()).digest())
    return [by_name[name] for name in names]


@lru_cache(maxsize=1)
def rows(table: RealTable, task: Task, seed: int) -> list[Any]:
    """Training features (at most FIT_ROWS rows), test features, training targets and test targets."""
    x, y = table.load()
    fitted = min(FIT_ROWS, round(FIT_SHARE * len(y)))
    classes = y if task == "classification" else None
    sizes = {"train_size": fitted, "test_size": min(TEST_ROWS, len(y) - fitted)}
    return train_test_split(x, y, **sizes, random_state=seed, stratify=classes)


def losses(pipeline: TabularPipeline, x: pd.DataFrame, y: pd.Series) -> NDArray[np.float64]:
    """Each row's log-loss, or its squared error as a share of the variance."""
    if pipeline.task == "regression":
        return np.asarray((pipeline.predict(x) - y.to_numpy(float)) ** 2 / y.to_numpy(float).var())
    p_NK, places = pipeline.predict_proba(x), np.searchsorted(pipeline.classes_, y)
    return np.asarray(-np.log(np.maximum(p_NK[np.arange(len(y)), places], 1e-15)))


@lru_cache(maxsize=1)
def zero_shot(model: str, task: Task, table: RealTable, seed: int) -> NDArray[np.float64]:
    x, x_test, y, y_test = rows(table, task, seed)
    return losses(TabularPipeline(model, "inference", {"device": "cpu"}, task).fit(x, y), x_test, y_test)


def one_run(
    model: str, task: Task, table: RealTable, seed: int, strategy: str, params: dict[str, Any]
) -> dict[str, Any]:
    """A run's scores on validation and its gain on test."""
    x, x_test, y, y_test = rows(table, task, seed)
    pipeline = TabularPipeline(model, strategy, {"device": "cpu", "seed": seed, **params}, task).fit(x, y)
    result, metric = pipeline.result, SELECTION[task]
    before = zero_shot(model, task, table, seed)
    gains = (before - losses(pipeline, x_test, y_test)) / (before.mean() if task == "classification" else 1)
    return {
        "gain": float(gains.mean()),
        "error": float(gains.std() / len(gains) ** 0.5),
        "zero_shot": float(before.mean()),
        "validation": [result.zero_shot_validation[metric], result.validation[metric]],
        "best_step": result.best_step,
        "steps": result.steps_done,
        "seconds": round(result.train_seconds, 1),
        "rows": len(y),
    }


class Runs(Kept):
    """The runs of a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "model", "task", "table", "seed", "strategy", "params", "weights")

    def of(self, model: str, task: Task, table: RealTable, seed: int, strategy: str, **params: Any) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            return one_run(model, task, table, seed, strategy, params)

        what = {"model": model, "task": task, "table": table.name, "seed": seed, "strategy": strategy, "params": params}
        return self.get(make, **what, weights=(CATALOGUE[model].weights[task].sha256 or "")[:8])


def report(runs: Runs, model: str, task: Task, strategy: Strategy) -> Iterator[list[str]]:
    """Yields a row of mean gains at each rate over all tables that have every rate, if there are any."""
    known = {
        (run["table"], run["params"].get("learning_rate")): run
        for run in runs.known.values()
        if (run["model"], run["task"], run["strategy"], run["seed"]) == (model, task, strategy, 0)
    }
    pairs = [[(table.name, rate) for rate in RATES[strategy]] for table in tables(task)]
    whole = [[known[pair] for pair in of_table] for of_table in pairs if set(of_table) <= known.keys()]
    if whole:
        sign, usual = METRICS[SELECTION[task]].sign, CATALOGUE[model].usual_rate(task, strategy)
        gain_TR = np.array([[run["gain"] for run in of_table] for of_table in whole])
        chosen_T = [int(np.argmax([sign * run["validation"][1] for run in of_table])) for of_table in whole]
        means = [*gain_TR.mean(axis=0), gain_TR[np.arange(len(whole)), chosen_T].mean()]
        what = f"{CATALOGUE[model].title}, {task} (default {short_rate(usual)})"
        yield [what, str(len(whole)), *(f"{gain:+.3f}" for gain in means)]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--models", nargs="+", default=["tabicl-mini"])
    parser.add_argument("--tables", type=int, default=16, help="most tables of each task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    runs = Runs(arguments.runs)
    places = range(arguments.tables)  # 0 prints the runs of the file
    for seed, model, strategy, place in product(arguments.seeds, arguments.models, RATES, places):
        for task in NAMES:
            for table, rate in product(tables(task)[place : place + 1], RATES[strategy]):
                runs.of(model, task, table, seed, strategy, learning_rate=rate)
    parts = []
    for strategy, rates in RATES.items():
        pairs = product(arguments.models, NAMES)
        lines = [line for model, task in pairs for line in report(runs, model, task, strategy)]
        head = ["model, task", "tables", *map(short_rate, rates), "validation's rate"]
        parts.append(f"{STRATEGY_NAMES[strategy]}:\n\n{markdown_table(head, lines)}")
    publish("default-rates", "\n\n".join(parts), write=arguments.write)


if __name__ == "__main__":
    main()
