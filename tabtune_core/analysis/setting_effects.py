"""What a setting did in a person's own runs so far: the sentence at the end of its tooltip.

In: the runs of one table, column and model. Out: a sentence for every hyperparameter with several values in runs that are alike otherwise.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import short_rate, short_targets
from tabtune_core.store.run_row import RANKED, Run

HYPERPARAMETERS: dict[str, tuple[str, str, Callable[[RunSettings], str]]] = {
    "rank": ("rank", "lora.rank", lambda run: str(run.lora.rank)),
    "alpha": ("alpha", "lora.alpha", lambda run: "twice the rank" if run.lora.alpha is None else f"{run.lora.alpha:g}"),
    "dropout": ("dropout", "lora.dropout", lambda run: f"{run.lora.dropout:g}"),
    "targets": ("parts", "lora.targets", lambda run: short_targets(run.lora.targets)),
    "learning_rate": ("rate", "train.learning_rate", lambda run: short_rate(run.base_rate)),
}
"""By setting: what it is called, where it is among the settings, and its value in words."""
MOST_VALUES = 6
"""Of one hyperparameter in a sentence; the best ones."""


def experience(runs: Sequence[Run], metric: str, table: str) -> dict[str, str]:
    """By hyperparameter, for example ``In your 6 runs on iris.csv that differ in nothing else: dropout 0.1 -> log-loss 0.079, 0 -> 0.081.``

    A value's score is the mean of the validation scores over groups of runs that share all other settings, the seed too, and that have
    all the values named. Best first.
    """
    ranked = [run for run in runs if run.status in RANKED and run.settings.strategy == "peft" and _score(run, metric) is not None]
    effects = {}
    for hyperparameter, (name, path, value_of) in HYPERPARAMETERS.items():
        means, count = _means(ranked, path, value_of, metric)
        if len(means) > 1:
            effects[hyperparameter] = _sentence(name, means, count, metric, table)
    return effects


def _means(runs: Sequence[Run], path: str, value_of: Callable[[RunSettings], str], metric: str) -> tuple[dict[str, float], int]:
    """Mean score of every value, and of how many runs."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for run in runs:
        score = _score(run, metric)
        assert score is not None
        groups[_all_but(run.settings, path)][value_of(run.settings)] = score
    sets = Counter(frozenset(group) for group in groups.values() if len(group) > 1)
    if not sets:
        return {}, 0
    chosen = max(sets, key=lambda values: (len(values), sets[values]))
    whole = [group for group in groups.values() if chosen <= group.keys()]
    return {value: sum(group[value] for group in whole) / len(whole) for value in sorted(chosen)}, len(chosen) * len(whole)


def _all_but(settings: RunSettings, path: str) -> str:
    """Every setting but one; what decides only where and how it is measured is left out."""
    values = settings.to_dict()
    section, _, name = path.partition(".")
    values[section] = {key: value for key, value in values[section].items() if key != name}
    return json.dumps({key: value for key, value in values.items() if key != "device"}, sort_keys=True)


def _score(run: Run, metric: str) -> float | None:
    score = run.result.validation.get(metric) if run.result else None
    return score if score is not None and math.isfinite(score) else None


def _sentence(name: str, means: dict[str, float], count: int, metric: str, table: str) -> str:
    meaning = METRICS[metric]
    best_first = sorted(means, key=lambda value: means[value], reverse=meaning.higher_is_better)[:MOST_VALUES]
    digits = meaning.decimals(max(abs(score) for score in means.values()))
    score_texts = [f"{means[value]:,.{digits}f}" for value in best_first]
    runs = f"In {count} of your runs on {table} that differ in nothing else"
    if len(set(score_texts)) == 1:
        return f"{runs}: {name} {', '.join(best_first)} made no difference ({meaning.written} {score_texts[0]})."
    scores = [
        f"{value} → {'' if i else meaning.written + ' '}{score}"
        for i, (value, score) in enumerate(zip(best_first, score_texts, strict=True))
    ]
    return f"{runs}: {name} {', '.join(scores)} (best first)."
