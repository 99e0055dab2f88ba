"""Which learning rates should the minis have by default? LoRA of rank 8 and full fine-tuning at five rates each, on
real tables.

``python tests/benchmarks/default_rates.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation. The tables were named below before the first run, from the lists of ``real_tables.py``, which says what
to install. Runs that are already in the file are not repeated. ``--lengths`` trains at the default rate for 8, 30 (the
default) and 120 epochs, with 400 and with 1,600 rows given, and with fewer and more of those 1,600 as context rows of a
step.

``fit`` gets 6 in 10 rows, at most 400, and holds out a fifth of them to choose the step; at most 1,000 other rows are
the test rows. All other settings are the defaults of ``TabularPipeline``. A gain is measured on the test rows, against
zero-shot with the same rows: in log-loss, as a share of zero-shot's, or in the share of explained variance.

The hash of a table's name determines its order and its half, so that a benchmark that is stopped early has both halves.
The rate is chosen by the mean gain over one half. The other half compares it with the rate, of the five, that each
table's own validation rows choose.

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
MORE_ROWS = 1600
LENGTHS = {"8 epochs": {"epochs": 8}, "30 epochs, the default": {"epochs": 30}, "120 epochs": {"epochs": 120}}
SHOWN = {
    "256 context rows": {"context_rows": 256},
    "512, the default": LENGTHS["30 epochs, the default"],
    "1,024": {"context_rows": 1024},
}
"""Context rows of a training step; 400 rows leave fewer than the default."""
VARIED = ((FIT_ROWS, LENGTHS), (MORE_ROWS, LENGTHS), (MORE_ROWS, SHOWN))
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
    return [
        by_name[name] for name in sorted(NAMES[task].split(), key=lambda name: hashlib.sha256(name.encode()).digest())
    ]


@lru_cache(maxsize=1)
def rows(table: RealTable, task: Task, seed: int, given: int) -> list[Any]:
    """Training features (at most ``given`` rows), test features, training targets and test targets."""
    x, y = table.load()
    fitted = min(given, round(FIT_SHARE * len(y)))
    classes = y if task == "classification" else None
    return train_test_split(
        x, y, train_size=fitted, test_size=min(TEST_ROWS, len(y) - fitted), random_state=seed, stratify=classes
    )  # type: ignore[no-any-return]


def losses(pipeline: TabularPipeline, x: pd.DataFrame, y: pd.Series) -> NDArray[np.float64]:
    """Each row's log-loss, or its squared error as a share of the variance."""
    if pipeline.task == "regression":
        return np.asarray((pipeline.predict(x) - y.to_numpy(float)) ** 2 / y.to_numpy(float).var())
    p_NK, places = pipeline.predict_proba(x), np.searchsorted(pipeline.classes_, y)
    return np.asarray(-np.log(np.maximum(p_NK[np.arange(len(y)), places], 1e-15)))


@lru_cache(maxsize=1)
def zero_shot(model: str, task: Task, table: RealTable, seed: int, given: int) -> NDArray[np.float64]:
    x, x_test, y, y_test = rows(table, task, seed, given)
    return losses(TabularPipeline(model, "inference", {"device": "cpu"}, task).fit(x, y), x_test, y_test)


def one_run(
    model: str, task: Task, table: RealTable, seed: int, strategy: str, params: dict[str, Any]
) -> dict[str, Any]:
    """A run's scores on validation and its gain on test; ``params["given"]`` is the number of rows that it gets."""
    given = params.get("given", FIT_ROWS)
    x, x_test, y, y_test = rows(table, task, seed, given)
    params = {name: value for name, value in params.items() if name != "given"}
    pipeline = TabularPipeline(model, strategy, {"device": "cpu", "seed": seed, **params}, task).fit(x, y)
    result, metric = pipeline.result, SELECTION[task]
    before = zero_shot(model, task, table, seed, given)
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

        weights = (CATALOGUE[model].weights[task].sha256 or "")[:8]
        return self.get(
            make, model=model, task=task, table=table.name, seed=seed, strategy=strategy, params=params, weights=weights
        )


def report(runs: Runs, model: str, task: Task, strategy: Strategy) -> Iterator[str]:
    """Gains at each rate by table, then the means of the halves. Tables that lack a rate are left out."""
    gains: dict[str, list[dict[str, Any]]] = {}
    for table in tables(task):
        done = [
            run
            for run in runs.known.values()
            if (run["model"], run["task"], run["table"], run["strategy"]) == (model, task, table.name, strategy)
        ]
        by_rate = [
            run
            for rate in RATES[strategy]
            for run in done
            if run["params"] == {"learning_rate": rate} and run["seed"] == 0
        ]
        if len(by_rate) == len(RATES[strategy]):
            gains[table.name] = by_rate
    if not gains:
        return
    usual, sign = CATALOGUE[model].usual_rate(task, strategy), METRICS[SELECTION[task]].sign
    gain_TR = np.array([[run["gain"] for run in by_rate] for by_rate in gains.values()])
    chosen_T = [int(np.argmax([sign * run["validation"][1] for run in by_rate])) for by_rate in gains.values()]
    halves_T = np.array(
        [place % 2 for place in (tables(task).index(table) for table in tables(task) if table.name in gains)]
    )
    place = RATES[strategy].index(usual)
    rows = [
        [
            f"{name} ({by_rate[0]['rows']})",
            ("chooses", "confirms")[half],
            *(f"{run['gain']:+.3f}" for run in by_rate),
            short_rate(RATES[strategy][chosen]),
            f"{by_rate[place]['gain']:+.3f} ± {1.96 * by_rate[place]['error']:.3f}",
        ]
        for (name, by_rate), chosen, half in zip(gains.items(), chosen_T, halves_T, strict=True)
    ]
    best_T = gain_TR[np.arange(len(gains)), chosen_T]
    for name, kept_T in {
        "mean, chooses": halves_T == 0,
        "mean, confirms": halves_T == 1,
        "mean, all": halves_T < 2,
    }.items():
        if kept_T.any():
            means = gain_TR[kept_T].mean(axis=0)
            rows.append(
                [
                    name,
                    "",
                    *(f"{gain:+.3f}" for gain in means),
                    f"{best_T[kept_T].mean():+.3f}",
                    f"{means[place] / best_T[kept_T].mean():.0%}",
                ]
            )
    yield f"{CATALOGUE[model].title}, {task}, {STRATEGY_NAMES[strategy]}: the default is {short_rate(usual)}."
    yield markdown_table(
        [
            "table (rows given)",
            "half",
            *map(short_rate, RATES[strategy]),
            "validation's rate",
            f"at {short_rate(usual)}",
        ],
        rows,
    )


def lengths(task: Task) -> Iterator[tuple[RealTable, dict[str, int]]]:
    """Tables that have enough rows, each with the parameters of every run: other lengths, other context rows, and the
    default.
    """
    for (given, varied), table in product(VARIED, tables(task)):
        if given == FIT_ROWS or round(FIT_SHARE * len(table.load()[1])) >= given:
            yield from ((table, params | {"given": given}) for params in varied.values())


def lengths_report(runs: Runs, model: str, task: Task) -> Iterator[str]:
    """Gains at each length by table and rows given, and the mean seconds; tables that lack a length are left out."""
    done = {
        (run["table"], *sorted(run["params"].items())): run
        for run in runs.known.values()
        if (run["model"], run["task"]) == (model, task)
    }
    for given, varied in VARIED:
        half = {table.name: place % 2 for place, table in enumerate(tables(task))}
        by_table = {
            name: [done.get((name, *sorted({**params, "given": given}.items()))) for params in varied.values()]
            for name in half
        }
        whole = {name: [run for run in runs if run] for name, runs in by_table.items() if all(runs)}
        rows = [
            [
                name,
                *(
                    f"{run['gain']:+.3f} ± {1.96 * run['error']:.3f} (step {run['best_step']} of {run['steps']})"
                    for run in runs
                ),
            ]
            for name, runs in whole.items()
        ]
        for what, kept in {"mean, chooses": (0,), "mean, confirms": (1,), "mean, all": (0, 1)}.items():
            gains = [[run["gain"] for run in runs] for name, runs in whole.items() if half[name] in kept]
            rows += [[what, *(f"{gain:+.3f}" for gain in np.mean(gains, axis=0))]] if gains else []
        if whole:
            seconds = np.mean([[run["seconds"] for run in runs] for runs in whole.values()], axis=0)
            yield f"{CATALOGUE[model].title}, {task}, LoRA, at most {given:,} rows given."
            yield markdown_table(["table", *varied], [*rows, ["seconds, mean", *(f"{taken:.0f}" for taken in seconds)]])


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--models", nargs="+", default=["tabicl-mini"])
    parser.add_argument("--tables", type=int, default=16, help="most tables of each task")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--told", action="store_true", help="print the runs of the file, and run nothing")
    parser.add_argument("--lengths", action="store_true", help="other lengths of training instead of other rates")
    arguments = parser.parse_args()
    runs = Runs(arguments.runs)
    if arguments.lengths:
        asked = [*product(arguments.models, NAMES)]
        for model, task in () if arguments.told else asked:
            for table, params in lengths(task):
                runs.of(model, task, table, 0, "peft", **params)
        parts = [part for model, task in asked for part in lengths_report(runs, model, task)]
        publish("default-lengths", "\n\n".join(parts), write=arguments.write)
        return
    for seed, model, strategy, place in product(
        arguments.seeds, arguments.models, RATES, range(0 if arguments.told else arguments.tables)
    ):
        for task in NAMES:
            for table, rate in product(tables(task)[place : place + 1], RATES[strategy]):
                runs.of(model, task, table, seed, strategy, learning_rate=rate)
    for model in arguments.models:
        name, parts = (
            f"default-rates-{model}",
            [part for asked in product(NAMES, RATES) for part in report(runs, model, *asked)],
        )
        publish(name, "\n\n".join(parts), write=arguments.write)


if __name__ == "__main__":
    main()
