"""Does the answer to "which rank?" change when each rank has its own rate? TabICL mini on eight real tables.

``python tests/benchmarks/fair_ranks.py --runs runs.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation, whose page says how it is measured. Runs that are already in the file are not repeated.

Each rank is trained to the end at each rate of a default sweep. Which runs halving would have stopped follows from
their validation scores at the rungs, since a run that reaches its end has the very scores of one that never paused.
"""

import math
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from published import Kept, markdown_table, options, publish
from real_tables import RealTable, _r
from sklearn.model_selection import train_test_split

from tabtune_core import TabularPipeline
from tabtune_core.events import Evaluated
from tabtune_core.metrics import METRICS, SELECTION, Task
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings.sweep import RUNGS, TRIED_RATES, going_on, trained_share

MODEL, RANKS = "tabicl-mini", (2, 4, 8)
STEPS = 48
SIZES = {"steps": STEPS, "eval_every": 8, "patience": 0, "context_rows": 128, "batch_size": 64}
FIT_SHARE, FIT_ROWS, TEST_ROWS, SHOWN = 0.6, 800, 500, {"device": "cpu", "predict_context_rows": 256}
TABLES: tuple[tuple[Task, RealTable], ...] = (
    ("classification", _r("survival", "rotterdam", "death", "pid", "rtime", "recur", "dtime")),
    ("regression", _r("Ecdat", "BudgetFood", "wfood")),
    ("classification", _r("survival", "nafld1", "status", "id", "case.id", "futime")),
    ("regression", _r("AER", "CPSSW8", "earnings")),
    ("classification", _r("survival", "flchain", "death", "futime", "chapter")),
    ("regression", _r("openintro", "births14", "weight", "lowbirthweight")),
    ("classification", _r("openintro", "email", "spam", "time")),
    ("regression", _r("wooldridge", "htv", "wage", "lwage", "expersq")),
)


@lru_cache(maxsize=1)
def rows(table: RealTable, task: Task) -> list[Any]:
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
def zero_shot(task: Task, table: RealTable) -> NDArray[np.float64]:
    x, x_test, y, y_test = rows(table, task)
    return losses(TabularPipeline(MODEL, "inference", SHOWN, task).fit(x, y), x_test, y_test)


def one_run(task: Task, table: RealTable, rate: float, **lora: Any) -> dict[str, Any]:
    """The gain on test, processor seconds, the validation score after each evaluation, and each test row's loss."""
    x, x_test, y, y_test = rows(table, task)
    params, began = {**SHOWN, **SIZES, "learning_rate": rate, "peft_config": lora}, time.process_time()
    pipeline = TabularPipeline(MODEL, "peft", params, task).fit(x, y)
    seconds = time.process_time() - began
    scores = [event for event in pipeline.history if isinstance(event, Evaluated) and event.split == "validation"]
    after, before = losses(pipeline, x_test, y_test), zero_shot(task, table)
    gains = (before - after) / (before.mean() if task == "classification" else 1)
    return {
        "seconds": round(seconds, 2),
        "gain": float(gains.mean()),
        "error": float(gains.std() / len(gains) ** 0.5),
        "validation": {str(event.step): event.scores[SELECTION[task]] for event in scores},
        "losses": [float(f"{loss:.5g}") for loss in after],
    }


class Runs(Kept):
    def __init__(self, path: Path) -> None:
        super().__init__(path, "table", "rank", "times")

    def of(self, task: Task, table: RealTable, rank: int, times: float) -> dict[str, Any]:
        rate = times * CATALOGUE[MODEL].usual_rate(task, "peft")
        return self.get(lambda: one_run(task, table, rate, r=rank), table=table.name, rank=rank, times=times)

    def has_all(self, table: RealTable) -> bool:
        return len([run for run in self.known.values() if run["table"] == table.name]) == len(RANKS) * len(TRIED_RATES)


def score(run: dict[str, Any], task: Task, last: float = math.inf) -> float:
    """The best validation score up to a step, higher is better; zero-shot counts at the end, as candidate 0."""
    sign = METRICS[SELECTION[task]].sign
    steps = [int(step) for step in run["validation"]]
    return max(sign * run["validation"][str(step)] for step in steps if step <= last and (step or last == math.inf))


def halved(runs: Sequence[dict[str, Any]], task: Task) -> dict[str, Any]:
    """The run of one rank that halving trains to the end."""
    left = list(runs)
    for rung, share in enumerate(RUNGS):
        left = sorted(left, key=lambda run: -score(run, task, share * STEPS))[: going_on(len(runs), rung)]
    return left[0]


def verdict(runs: Sequence[dict[str, Any]], task: Task, errors: float) -> int:
    """The smallest rank within so many standard errors of the one with the best validation score."""
    best = np.array(max(runs, key=lambda run: score(run, task))["losses"])
    for run in runs:
        worse = np.array(run["losses"]) - best
        if worse.mean() <= errors * worse.std() / len(worse) ** 0.5:
            return int(run["rank"])
    raise AssertionError("the best rank is within noise of itself")


def gain(run: dict[str, Any]) -> str:
    return f"{run['gain']:+.4f} ± {1.96 * run['error']:.4f}"


def report(runs: Runs) -> str:
    """Each rank's gain at one rate and at its own; what both name; and what halving costs."""
    scores, verdicts, found = list[list[str]](), list[list[str]](), 0
    for task, table in (pair for pair in TABLES if runs.has_all(pair[1])):
        raced = [[runs.of(task, table, rank, times) for times in TRIED_RATES] for rank in RANKS]
        one, own = [race[0] for race in raced], [halved(race, task) for race in raced]
        for was, now, race in zip(one, own, raced, strict=True):
            best = score(now, task) == max(score(run, task) for run in race)
            found += best
            own_rate = f"x{now['times']:g}{'' if best else ' (not the best)'}"
            scores.append([table.name, str(was["rank"]), gain(was), gain(now), own_rate])
        named = [verdict(each, task, errors) for errors in (1.96, 1.0) for each in (one, own)]
        verdicts.append([table.name, *map(str, named)])
    other = [sum(row[i] != row[i + 1] for row in verdicts) for i in (1, 3)]
    times = len(TRIED_RATES) * trained_share(len(TRIED_RATES))
    summary = f"""Of {len(verdicts)} tables, one rate names another rank than own rates on {other[0]} by the 95 % interval, and on
{other[1]} by one standard error. Halving ends at the best validation score of the three rates in {found} of {len(scores)} races. It trains
{times:.2g} times the steps of one rate."""
    head = ["table", "95 %: one rate", "95 %: own rates", "1 s.e.: one rate", "1 s.e.: own rates"]
    gains = markdown_table(["table", "rank", "gain at x1", "gain at its own rate", "own rate"], scores)
    return f"{gains}\n\n{markdown_table(head, verdicts)}\n\n{summary}"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    parser.add_argument("--tables", nargs="+", default=[table.name for _, table in TABLES], help="run only these")
    parser.add_argument("--told", action="store_true", help="print the runs of the file, and run nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.runs)
    asked = [pair for pair in TABLES if pair[1].name in arguments.tables and not arguments.told]
    for (task, table), rank, times in product(asked, RANKS, TRIED_RATES):
        runs.of(task, table, rank, times)
    publish("fair-ranks", report(runs), write=arguments.write)


if __name__ == "__main__":
    main()
