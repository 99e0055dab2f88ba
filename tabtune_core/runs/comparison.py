"""Which configurations of a sweep are really apart: one row a configuration, with standard errors of paired differences.

In: the leaderboard of one sweep and the predictions of its runs. Out: a frame and what its errors rest on.
Letters: S seeds, C configurations, D draws (seeds, or resamples of the validation rows), N rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tabtune_core.metrics import METRICS, ROW_MEANS, Metric
from tabtune_core.run_names import short_rate, short_targets
from tabtune_core.runs.predictions import Predictions

RESAMPLES = 200
CONFIGURATION = ["model", "strategy", "rank", "alpha", "dropout", "targets", "variant", "learning_rate"]
WRITTEN: dict[str, Callable[[Any], str]] = {
    "model": str,
    "alpha": "alpha {:g}".format,
    "dropout": "dropout {:g}".format,
    "targets": lambda targets: f"targets {short_targets(targets.split())}",
    "variant": str,
    "learning_rate": lambda rate: f"rate {short_rate(rate)}",
}
"""What may tell configurations of one rank apart, and how it is written in a name."""
COSTS = ["growth_memory_bytes", "train_seconds", "adapter_bytes"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Configurations on the seeds that all of them share."""

    configurations: pd.DataFrame
    """Best first: CONFIGURATION, ``score`` and COSTS (means over the seeds), ``runs`` (ids), and three differences with their standard
    errors, in the direction in which the score is better: ``gap`` behind the best of all, ``lora_gap`` behind the best LoRA (negative:
    better than it), ``gain`` over zero-shot; ``gap_error``, ``lora_gap_error``, ``gain_error`` are NaN where they are not known.
    ``score_error`` is the standard error of the score itself."""
    seeds: tuple[int, ...]
    """On which they are compared."""
    left_out: tuple[int, ...]
    """Seeds under which some configuration has no score."""
    basis: Literal["seeds", "rows"] | None
    """What the errors are over; None where nothing can be said."""


def compare(board: pd.DataFrame, rank_by: str, load: Callable[[str], Predictions | None]) -> Comparison:
    """``board`` is the leaderboard of one sweep; ``load`` gives the validation predictions of a run, if they are there.

    Archived runs are left out. With two seeds or more, errors are over the seeds; with one, over resamples of the validation rows, the
    same for all runs.
    """
    meaning, score = METRICS[rank_by], f"validation_{rank_by}"
    known = board[np.isfinite(board[score]) & ~board["archived"]]
    known = known.assign(configuration=known.groupby(CONFIGURATION, dropna=False, sort=False).ngroup())
    scores_SC = known.pivot_table(index="seed", columns="configuration", values=score)
    shared_SC = scores_SC.dropna()
    seeds = tuple(int(seed) for seed in shared_SC.index)
    used = known[known["seed"].isin(seeds)]
    groups = used.groupby("configuration")
    table = groups[CONFIGURATION].first().assign(runs=groups["run"].agg(tuple), score=shared_SC.mean())
    table = table.join(used.astype(dict.fromkeys(COSTS, "float64")).groupby("configuration")[COSTS].mean())
    table = table.sort_values(["score", "rank"], ascending=[not meaning.higher_is_better, True], kind="stable")

    zero_S = used.groupby("seed")[f"zero_shot_validation_{rank_by}"].mean()
    if len(seeds) >= 2:
        draws_DC, zero_D, scale = shared_SC, zero_S, len(seeds) ** -0.5
    else:
        draws_DC, scale = resample({c: load(runs[0]) for c, runs in table["runs"].items()}, meaning), 1.0
        untrained = table.index[table["strategy"] == "inference"]
        zero_D = draws_DC[untrained[0]] if len(untrained) else pd.Series(np.nan, index=draws_DC.index)

    def errors(reference_D: pd.Series) -> "pd.Series[float]":
        spread: pd.Series[float] = scale * draws_DC.sub(reference_D, axis=0).std()
        return spread

    sign = 1 if meaning.higher_is_better else -1
    table = table.assign(gain=sign * (table["score"] - zero_S.mean()), gain_error=errors(zero_D), score_error=scale * draws_DC.std())
    for name, rows in (("gap", table), ("lora_gap", table[table["strategy"] == "peft"])):
        table[name], table[f"{name}_error"] = np.nan, np.nan
        for best in rows.index[:1]:
            table[name], table[f"{name}_error"] = sign * (table.at[best, "score"] - table["score"]), errors(draws_DC[best])
    basis: Literal["seeds", "rows"] = "seeds" if len(seeds) >= 2 else "rows"
    left_out = tuple(int(seed) for seed in scores_SC.index.difference(shared_SC.index))
    return Comparison(table, seeds, left_out, basis if table["gap_error"].notna().any() else None)


def told_by(lora: pd.DataFrame) -> list[str]:
    """The columns, of those in WRITTEN, that have several values at one rank."""
    return [name for name in WRITTEN if name in lora and (lora.groupby("rank")[name].nunique() > 1).any()]


def resample(found: Mapping[int, Predictions | None], metric: Metric) -> pd.DataFrame:
    """The score of each configuration on each of RESAMPLES resamples (Efron 1979), ``(D, C)``; all are drawn the same rows.

    A column is NaN where predictions are missing or are of other rows than the first ones.
    """
    draws_DC = pd.DataFrame(np.nan, index=range(RESAMPLES), columns=list(found))
    there = {c: predictions for c, predictions in found.items() if predictions is not None}
    first = next(iter(there.values()), None)
    if first is None:
        return draws_DC
    same = {c: one.predicted for c, one in there.items() if np.array_equal(one.rows_N, first.rows_N) and np.array_equal(one.y_N, first.y_N)}
    rows_DN = np.random.default_rng(0).integers(len(first.y_N), size=(RESAMPLES, len(first.y_N)))
    for c, predicted in same.items():
        if metric.name in ROW_MEANS:
            of_row, of_mean = ROW_MEANS[metric.name]
            draws_DC[c] = of_mean(of_row(first.y_N, predicted)[rows_DN].mean(axis=1))
        else:
            draws_DC[c] = [metric.function(first.y_N[rows_N], predicted[rows_N]) for rows_N in rows_DN]
    return draws_DC
