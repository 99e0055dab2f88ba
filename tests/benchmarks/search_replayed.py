"""What do one rate, halving, a search, random tries and a whole grid find, and at which price? TabICL mini, eight tables.

``python tests/benchmarks/search_replayed.py --runs grid.jsonl`` prints Markdown; with ``--write`` it goes into the
documentation, whose page says how it is measured. Runs that are already in the file are not repeated.

Every point of the grid is trained to its end once; each way is then played over these runs, so that all have the same.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from fair_ranks import MODEL, TABLES, gain, halved, one_run, score
from numpy.typing import NDArray
from optuna.distributions import IntDistribution
from published import Kept, markdown_table, options, publish
from real_tables import RealTable

from tabtune_core.metrics import METRICS, SELECTION, Task
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.search.proposer import RANDOM_TRIES
from tabtune_core.settings.sweep import TRIED_RATES, trained_share

RANKS, DROPOUTS, BUDGETS, REPEATS = (1, 2, 4, 8, 16), (0.0, 0.1), (6, 15), 20
AXES = {"rank": RANKS, "times": TRIED_RATES, "dropout": DROPOUTS}
DEFAULT = (2, 4, 8)
"""Ranks of a sweep where nothing was touched; its dropout is the first."""
Run = dict[str, Any]


def searched(grid: dict[tuple[int, ...], Run], task: Task, tries: int, seed: int, drawn: int) -> list[Run]:
    """The runs that a search asks for, of which the first ``drawn`` are drawn at random; none twice."""
    direction = "maximize" if METRICS[SELECTION[task]].higher_is_better else "minimize"
    sampler = optuna.samplers.TPESampler(n_startup_trials=drawn, seed=seed)
    study = optuna.create_study(direction=direction, sampler=sampler)
    places = {name: IntDistribution(0, len(values) - 1) for name, values in AXES.items()}
    asked = dict[tuple[int, ...], Run]()
    while len(asked) < tries:
        trial = study.ask(places)
        place = tuple(trial.params.values())
        if place in asked:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        asked[place] = grid[place]
        study.tell(trial, abs(score(grid[place], task)))
    return list(asked.values())


def ways(grid: dict[tuple[int, ...], Run], task: Task) -> Iterator[tuple[str, list[tuple[Run, float]]]]:
    """For each way what it returns, chosen on validation rows, and its processor seconds; several where it is drawn."""

    def best(runs: Sequence[Run]) -> Run:
        return max(runs, key=lambda run: score(run, task))

    def price(runs: Sequence[Run]) -> float:
        return sum(run["seconds"] for run in runs)

    races = [[grid[RANKS.index(rank), i, 0] for i in range(len(TRIED_RATES))] for rank in DEFAULT]
    one = [race[0] for race in races]
    yield "three ranks, one rate", [(best(one), price(one))]
    halves = trained_share(len(TRIED_RATES)) * price([run for race in races for run in race])
    yield "three ranks, halving", [(best([halved(race, task) for race in races]), halves)]
    for tries, (name, drawn) in product(BUDGETS, (("search", RANDOM_TRIES), ("random", 10**6))):
        many = [searched(grid, task, tries, seed, drawn) for seed in range(REPEATS)]
        yield f"{name}, {tries} runs", [(best(runs), price(runs)) for runs in many]
    whole = list(grid.values())
    yield f"grid, {len(whole)} runs", [(best(whole), price(whole))]


def report(tables: dict[str, tuple[Task, dict[tuple[int, ...], Run]]]) -> str:
    lines, means = list[list[str]](), dict[str, list[tuple[float, float]]]()
    better, worse = dict[str, int](), dict[str, int]()
    for name, (task, grid) in tables.items():
        line, first = [name], None
        for way, found in ways(grid, task):
            gained, losses_N = np.mean([run["gain"] for run, _ in found]), mean_losses(found)
            error = float(np.mean([run["error"] for run, _ in found]))
            line.append(gain({"gain": gained, "error": error}))
            means.setdefault(way, []).append((float(gained), float(np.mean([price for _, price in found]))))
            first = losses_N if way == "three ranks, halving" else first
            if first is not None:
                saved_N = first - losses_N
                beyond = abs(saved_N.mean()) > 1.96 * saved_N.std() / len(saved_N) ** 0.5
                better[way] = better.get(way, 0) + bool(beyond and saved_N.mean() > 0)
                worse[way] = worse.get(way, 0) + bool(beyond and saved_N.mean() < 0)
        lines.append(line)
    summary = []
    for way, pairs in means.items():
        gained, seconds = np.mean(pairs, axis=0)
        counts = ["", ""] if way not in better else [str(better[way]), str(worse[way])]
        summary.append([way, f"{gained:+.4f}", f"{seconds:.0f}", *counts])
    head = ["way", "mean gain", "mean processor seconds", "better than halving", "worse"]
    return f"{markdown_table(head, summary)}\n\n{markdown_table(['table', *means], lines)}"


def mean_losses(found: Sequence[tuple[Run, float]]) -> NDArray[np.float64]:
    return np.asarray(np.mean([run["losses"] for run, _ in found], axis=0))


def whole_grid(kept: Kept, task: Task, table: RealTable) -> dict[tuple[int, ...], Run]:
    grid, usual = dict[tuple[int, ...], Run](), CATALOGUE[MODEL].usual_rate(task, "peft")
    for place in product(*map(range, map(len, AXES.values()))):
        own = {name: AXES[name][i] for name, i in zip(AXES, place, strict=True)}

        def run(own: dict[str, Any] = own) -> Run:
            return one_run(task, table, usual * own["times"], r=own["rank"], lora_dropout=own["dropout"])

        grid[place] = kept.get(run, table=table.name, **own)
    return grid


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="JSONL file that the runs are appended to")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = Kept(arguments.runs, "table", *AXES)
    tables = {table.name: (task, whole_grid(kept, task, table)) for task, table in TABLES}
    publish("search-replayed", report(tables), write=arguments.write)


if __name__ == "__main__":
    main()
