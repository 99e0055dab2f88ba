"""All models of a sweep as one: a greedy ensemble, and whether LoRA adds anything to the others.

In: the leaderboard of one sweep and predictions. Out: weights, scores, costs and a sentence. Shape letters: S seeds,
N rows, M members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd

from tabtune_core.analysis.against_references import NAMES, best_runs
from tabtune_core.analysis.comparison import Load
from tabtune_core.analysis.gains import Measured, amount, between, beyond_noise, too_few
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.row_groups import PROXY, RowGroups
from tabtune_core.analysis.scores_without import Floats
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, ROW_MEANS, Metric
from tabtune_core.settings import Strategy
from tabtune_core.store.predictions import Predictions

DRAWS = 25
OTHERS: tuple[Strategy, ...] = ("inference", "linear", "boosting", "base-ft")
"""Members beside LoRA; of equal ones the first is chosen."""
LORA, ZERO_SHOT = "LoRA", "zero-shot"
Rows = Mapping[str, Sequence[Predictions]]
"""By member: predictions of one held-out part, one entry per seed."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """A weighted mean of predictions; validation rows chose the weights, test rows had no part in it."""

    weights: Mapping[str, Fraction]
    """By member with a weight: names within a sentence."""
    others: tuple[str, ...]
    """The members of the ensemble that was chosen without LoRA."""
    validation: float
    test: float
    """Means over the seeds; NaN without test rows."""
    gain: Measured
    """Over zero-shot on the test rows."""
    added: Measured
    """On the test rows: how much better it is than the ensemble without LoRA; None where that says nothing new."""
    memory_bytes: float
    """The most of any member, in training."""
    train_seconds: float
    predict_seconds: float
    """Sums over the members; NaN where one is unknown."""
    adapter_bytes: float

    @property
    def name(self) -> str:
        """Its members with their weights, the heaviest first."""
        parts = sorted(self.weights.items(), key=lambda part: -part[1])
        return " + ".join(f"{100 * float(weight):.0f} % {member}" for member, weight in parts)

    def sentence(self, metric: Metric) -> str:
        """Says whether LoRA adds anything to the others."""
        rest = " and ".join(filter(None, (", ".join(self.others[:-1]), self.others[-1])))
        rest += " together" * (len(self.others) > 1)
        if LORA not in self.weights and self.others != (ZERO_SHOT,):
            return f"LoRA adds nothing to {rest}: no mixture with it has a better validation {_smooth(metric).written}."
        if self.added is None:
            return ""
        if not isinstance(self.added, Difference):
            return f"Whether LoRA adds anything to {rest} is not known: {too_few(self.added, 'test')}."
        start, sign = "On the test rows", beyond_noise(self.added)
        if not sign:
            ends = between(self.added.low, self.added.high, metric, self.test)
            return f"{start} it is not shown that LoRA adds anything to {rest}: {ends}."
        by = amount(abs(self.added.value), self.added.half, metric, self.test)
        return f"{start} LoRA {'adds' if sign > 0 else 'takes'} {by} {'to' if sign > 0 else 'from'} {rest}."


def ensemble_of(board: pd.DataFrame, lora_runs: Sequence[str], rank_by: str, load: Load) -> Ensemble | None:
    """Chooses the ensemble of a sweep, ranked by ``rank_by``, on the validation rows.

    ``lora_runs`` are the runs of the best LoRA, one per seed. None if fewer than two members have predictions of the
    same rows under the same seeds.
    """
    metric = METRICS[rank_by]
    known = board[board["place"].notna()].sort_values("seed", kind="stable")
    names = {**NAMES, "inference": ZERO_SHOT}
    chosen = {names[name]: best_runs(known[known["strategy"] == name], metric) for name in OTHERS}
    chosen[LORA] = known[known["run"].isin(lora_runs)]
    chosen = {name: runs for name, runs in chosen.items() if set(runs["seed"]) >= set(chosen[LORA]["seed"])}
    chosen = {name: runs[runs["seed"].isin(chosen[LORA]["seed"])] for name, runs in chosen.items()}
    validation, test = (_of_same_rows(chosen, load, part) for part in ("validation", "test"))
    if len(validation) < 2 or LORA not in validation:
        return None
    weights = _greedy(validation, metric)
    alone = _greedy({name: rows for name, rows in validation.items() if name != LORA}, metric)
    runs = pd.concat([chosen[name] for name in weights])
    added, gain, on_test = None, None, float("nan")
    if set(test) >= {*weights, *alone}:
        on_test = _mean_score(test, weights, metric)
        said_already = alone.keys() == {ZERO_SHOT} or len(weights) == len(alone) == 1  # of LoRA against one other
        if LORA in weights and not said_already:
            added = _ahead(test, weights, alone, metric)
        gain = _ahead(test, weights, {ZERO_SHOT: Fraction(1)}, metric) if ZERO_SHOT in test else None
    seconds, predict_seconds = (
        float(runs[cost].astype("float64").sum(skipna=False)) for cost in ("train_seconds", "predict_seconds")
    )
    seeds = runs["seed"].nunique()
    return Ensemble(
        weights,
        tuple(alone),
        _mean_score(validation, weights, metric),
        on_test,
        gain,
        added,
        float(runs["growth_memory_bytes"].astype("float64").max()),
        seconds / seeds,
        predict_seconds / seeds,
        float(runs["adapter_bytes"].astype("float64").sum()) / seeds,
    )


def _of_same_rows(chosen: Mapping[str, pd.DataFrame], load: Load, part: SplitName) -> Rows:
    """Reads the predictions of each member; without members that lack some, or that have other rows than LoRA."""
    loaded = {name: [load(run, part) for run in runs["run"]] for name, runs in chosen.items()}

    def same(rows: Predictions | None, ours: Predictions | None) -> bool:
        if rows is None or ours is None or not len(rows.y_N) or rows.classes != ours.classes:
            return False
        return np.array_equal(rows.rows_N, ours.rows_N) and np.array_equal(rows.y_N, ours.y_N)

    every = {name: all(map(same, rows, loaded[LORA])) for name, rows in loaded.items()}
    return {name: [one for one in rows if one is not None] for name, rows in loaded.items() if every[name]}


def _greedy(rows: Rows, metric: Metric) -> dict[str, Fraction]:
    """Draws members with replacement, each time the one whose addition scores best; the best of all draws stays.

    Caruana et al. 2004, Ensemble selection from libraries of models.
    """
    by = _smooth(metric)
    of_row, of_mean = ROW_MEANS[by.name]
    drawn, best, kept = list[str](), float("nan"), 1

    def score(name: str) -> float:
        mixed = zip(next(iter(rows.values())), _mixed(rows, _shares([*drawn, name])), strict=True)
        return by.sign * float(np.mean([of_mean(of_row(one.y_N, predicted).mean()) for one, predicted in mixed]))

    for _ in range(DRAWS):
        scores = {name: score(name) for name in rows}
        drawn.append(max(scores, key=lambda name: scores[name]))
        if not scores[drawn[-1]] <= best + by.rounding(best):
            best, kept = scores[drawn[-1]], len(drawn)
    shares = _shares(drawn[:kept])
    return {name: shares[name] for name in rows if name in shares}


def _smooth(metric: Metric) -> Metric:
    """Returns the metric by which weights are chosen: PROXY for one that is no smooth mean over rows."""
    return metric if metric.name in ROW_MEANS and metric.name != "accuracy" else METRICS[PROXY[metric.task]]


def _shares(drawn: Sequence[str]) -> dict[str, Fraction]:
    return {name: Fraction(drawn.count(name), len(drawn)) for name in dict.fromkeys(drawn)}


def _mixed(rows: Rows, weights: Mapping[str, Fraction]) -> list[Floats]:
    """Returns the weighted mean of the members' predictions, one entry per seed."""
    each = [[float(weight) * one.predicted for one in rows[name]] for name, weight in weights.items()]
    return [np.sum(of_seed, axis=0) for of_seed in zip(*each, strict=True)]


def _mean_score(rows: Rows, weights: Mapping[str, Fraction], metric: Metric) -> float:
    of_seeds = zip(rows[next(iter(weights))], _mixed(rows, weights), strict=True)
    return float(np.mean([metric.score(one.y_N, predicted, rarer=one.rarer) for one, predicted in of_seeds]))


def _ahead(rows: Rows, first: Mapping[str, Fraction], second: Mapping[str, Fraction], metric: Metric) -> Measured:
    """Compares two ensembles on the same rows."""
    parts = rows[next(iter(first))]
    groups = RowGroups(parts, metric)
    both = ([groups.leave_out(*one) for one in zip(parts, _mixed(rows, each), strict=True)] for each in (first, second))
    return difference(*both)
