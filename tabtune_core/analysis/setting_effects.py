"""What a setting did in the user's own runs so far: the sentence at the end of its tooltip.

In: the runs of one table, column and model. Out: a sentence for every hyperparameter with several values in otherwise
equal runs.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from tabtune_core.analysis.gains import amount
from tabtune_core.analysis.intervals import half_interval
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import short_rate, short_targets
from tabtune_core.store.run_row import RANKED, Run
from tabtune_core.wording import decimal

HYPERPARAMETERS: dict[str, tuple[str, Any, Callable[[RunSettings], str]]] = {
    "rank": ("rank", 1, lambda run: str(run.lora.rank)),
    "alpha": ("alpha", None, lambda run: "twice the rank" if run.lora.alpha is None else f"{run.lora.alpha:g}"),
    "dropout": ("dropout", 0.0, lambda run: f"{run.lora.dropout:g}"),
    "targets": ("parts", (), lambda run: short_targets(run.lora.targets)),
    "learning_rate": ("rate", None, lambda run: short_rate(run.base_rate)),
}
"""By setting: its name in a sentence, a value that every run may have, and its value in words."""
MOST_VALUES = 6
"""Most values of one hyperparameter in a sentence, which names the best ones."""


def experience(runs: Sequence[Run], metric: str, table: str) -> dict[str, str]:
    """Writes a sentence per hyperparameter, for example ``In 6 of your runs on iris.csv that differ in nothing else:
    dropout 0.1 → log-loss 0.079, 0 → 0.081 (best first; they differ by 0.002 ± 0.001 nats).``

    A value's score is the mean of the validation scores over groups of runs that share all other settings, including
    the seed, and that
    have all the values named: first over the groups of a seed, then over the seeds. Stopped and archived runs are left
    out. ± is half the width of Student's 95 % interval of the mean over the seeds; it allows for the choice of the two
    values among all pairs.
    """
    whole = [run for run in runs if run.status in RANKED and run.status != "stopped" and not run.archived]
    ranked = [run for run in whole if run.settings.strategy == "peft" and math.isfinite(_score(run, metric))]
    effects = {}
    for hyperparameter, (name, same, value_of) in HYPERPARAMETERS.items():
        groups = _groups(ranked, {hyperparameter: same, "device": "auto"}, value_of, metric)
        if len(groups):
            effects[hyperparameter] = _sentence(name, groups, metric, table)
    return effects


def _groups(
    runs: Sequence[Run], same: dict[str, Any], value_of: Callable[[RunSettings], str], metric: str
) -> pd.DataFrame:
    """One row per group of runs that are equal with the settings ``same``, indexed by its seed; one column per value,
    with its score.
    """
    groups: dict[tuple[int, str], dict[str, float]] = defaultdict(dict)
    for run in runs:
        groups[run.settings.seed, repr(run.settings.changed(**same))][value_of(run.settings)] = _score(run, metric)
    sets = Counter(frozenset(group) for group in groups.values() if len(group) > 1)
    if not sets:
        return pd.DataFrame()
    chosen = max(sets, key=lambda values: (len(values), sets[values]))
    whole = [(seed, group) for (seed, _), group in groups.items() if chosen <= group.keys()]
    return pd.DataFrame([group for _, group in whole], index=[seed for seed, _ in whole], columns=sorted(chosen))


def _score(run: Run, metric: str) -> float:
    return run.result.validation.get(metric, math.nan) if run.result else math.nan


def _sentence(name: str, groups: pd.DataFrame, metric: str, table: str) -> str:
    meaning, of_seed = METRICS[metric], groups.groupby(level=0).mean()
    means = of_seed.mean()
    best_first = list(means.sort_values(ascending=not meaning.higher_is_better, kind="stable").index[:MOST_VALUES])
    places = meaning.decimals(means, means[best_first].diff())
    scores = [
        f"{value} → {'' if i else meaning.written + ' '}{decimal(means[value], places)}"
        for i, value in enumerate(best_first)
    ]
    apart = meaning.sign * (of_seed[best_first[0]] - of_seed[best_first[-1]])
    noise = amount(
        float(apart.mean()), half_interval(list(apart), math.comb(len(means), 2)), meaning, float(means.abs().max())
    )
    which = "they" if len(best_first) == 2 else "the first and the last"
    runs = f"In {groups.size} of your runs on {table} that differ in nothing else"
    return f"{runs}: {name} {', '.join(scores)} (best first; {which} differ by {noise})."
