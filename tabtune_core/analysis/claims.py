"""What may be claimed of the configuration that validation chose: its gain on the test rows, which were not used for
any choice.

In: the leaderboard of a sweep, its comparison and predictions. Out: a claim, with what would settle it.
"""

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from tabtune_core.analysis.comparison import Comparison, Load, replicates
from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.analysis.intervals import GAINS
from tabtune_core.analysis.jackknife import Difference, difference
from tabtune_core.analysis.row_groups import TooFew
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import SplitBy
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_row import Run

MOST_SEEDS = 20
"""More seeds than this are not proposed."""
MOST_TIMES = 10
"""More than this many times the present test rows are not proposed."""
SIDES: dict[int | None, "Verdict"] = {1: "better", -1: "worse", 0: "unclear"}
Verdict = Literal["better", "worse", "unclear", "no gain", "too few", "not known"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The gain over zero-shot of one configuration, over all seeds under which it has a complete run."""

    runs: tuple[str, ...]
    """One per seed."""
    gain: float
    """On the validation rows, which chose the configuration, so it is biased upwards."""
    found: Difference | TooFew | None
    """The gain on the test rows (without test rows: on the validation rows), with its interval; None: predictions are
    missing.
    """
    verdict: Verdict
    """``better`` and ``worse`` are beyond the 95 % interval; ``no gain``: the pretrained model was as good on the
    validation rows.
    """
    tested: bool
    """Whether there are test rows. Without them the interval allows for the choice among all evaluations."""
    chosen_by: float
    """Share of a seed's test rows that are validation rows of another seed and so took part in the choice of the
    configuration; the interval allows for it.
    """
    units: SplitBy | None
    """What an interval counts as one: rows, groups or blocks of time; None for runs of earlier versions, whose rows are
    treated as independent.
    """
    more_seeds: int | None = None
    """How many more seeds would show a true gain of this size in 80 % of cases; None if MOST_SEEDS in all would not, or
    none are needed.
    """
    rows_needed: float | None = None
    """Test rows with the present seeds that would do the same, in two digits; None also if that is more than MOST_TIMES
    the present rows, and infinite if no number would, because the seeds differ too much.
    """

    @property
    def chooses_a_rank(self) -> bool:
        """Whether it makes sense to name the best rank: not if the pretrained model is the better choice."""
        return self.verdict in ("better", "too few", "not known")


def claim(
    comparison: Comparison,
    board: pd.DataFrame,
    rank_by: str,
    load: Load,
    *,
    table_rows: int | None = None,
    evaluations: int = 0,
) -> Claim:
    """Returns the claim about the best LoRA configuration of ``comparison``, which must have one.

    Args:
        comparison: made from ``board``.
        board: the leaderboard of the sweep by ``rank_by``.
        rank_by: the metric.
        load: reads predictions.
        table_rows: number of rows from which a seed draws its test rows: the larger the share drawn, the more the seeds
        overlap.
        evaluations: number of evaluations on the validation rows by all runs, among which the state was chosen.
    """
    metric, lora = METRICS[rank_by], comparison.configurations[comparison.configurations["strategy"] == "peft"]
    runs = board.set_index("run").loc[list(lora.iloc[0]["own_runs"])].reset_index()
    gain, on_test = (_mean_gain(runs, metric, name, part) for name, part in GAINS.items())
    test = [rows for run in runs["run"] if (rows := load(run, "test")) is not None and len(rows.y_N)]
    tested = bool(test) or not math.isnan(on_test)
    part: SplitName = "test" if tested else "validation"
    each = replicates(list(runs["run"]), list(runs["seed"]), metric, load, part)
    value = on_test if tested else gain
    found = (
        None if math.isnan(value) else difference([final for final, _ in each], [zero_shot for _, zero_shot in each])
    )
    validation = [rows for run in runs["run"] if (rows := load(run, "validation")) is not None]
    chosen_by, held_out = _chosen_by(test, validation), test or validation
    units: SplitBy | None = held_out[0].split_by if held_out else "random"
    if any(rows.units_N is None for rows in held_out):
        units = None
    if isinstance(found, Difference):
        choices = (len(lora) if chosen_by else 1) if tested else max(evaluations, 1)
        found = dataclasses.replace(found, value=value, choices=choices)
    lora_claim = Claim(tuple(runs["run"]), gain, found, _verdict(gain, found), tested, chosen_by, units)
    if lora_claim.verdict != "unclear" or not tested or not isinstance(found, Difference) or found.value <= 0:
        return lora_claim
    number = len(test[0].y_N)
    more = seeds_needed(found, len(runs), number / table_rows if table_rows else 0.0)
    return dataclasses.replace(lora_claim, more_seeds=more, rows_needed=rows_needed(found, number))


def earlier_sweeps(runs: Iterable[Run]) -> Counter[str]:
    """Counts, for each sweep, those whose first score of LoRA came before its own, on the same test rows: of one set,
    or with one hash.

    Who keeps the sweep that claims a gain has chosen by these rows.
    """
    scored: dict[str, tuple[float, set[str]]] = {}
    for run in runs:
        if run.settings.strategy == "peft" and run.result and run.result.test:
            first, rows = scored.get(run.sweep, (math.inf, set()))
            same_rows = {run.settings.test_set, run.result.rows_sha256 or run.settings.test_set}
            scored[run.sweep] = min(first, run.ended or run.created), rows | same_rows
    sharing, counts = defaultdict[str, set[str]](set), Counter[str]()
    for sweep, (_, rows) in sorted(scored.items(), key=lambda item: item[1][0]):
        counts[sweep] = len(set().union(*(sharing[one] for one in rows)))
        for one in rows:
            sharing[one].add(sweep)
    return counts


def _mean_gain(runs: pd.DataFrame, metric: Metric, name: str, part: SplitName) -> float:
    """Returns the mean over the seeds; 0 if it is a rounding error."""
    gain, scores = (runs[column].astype("float64") for column in (name, f"{part}_{metric.name}"))
    mean = float(gain.mean())
    return mean if not abs(mean) <= metric.rounding(scores.abs().max()) else 0.0


def _chosen_by(test: Sequence[Predictions], validation: Sequence[Predictions]) -> float:
    """See ``Claim.chosen_by``."""
    used = np.concatenate([np.empty(0, dtype=np.int64), *(part.rows_N for part in validation)])
    return float(np.mean([np.isin(part.rows_N, used).mean() for part in test])) if test else 0.0


def _verdict(gain: float, found: Difference | TooFew | None) -> Verdict:
    if gain <= 0:
        return "no gain"
    if found is None or isinstance(found, TooFew):
        return "not known" if found is None else "too few"
    return SIDES[beyond_noise(found)]


def seeds_needed(found: Difference, seeds: int, share: float) -> int | None:
    """Returns how many more seeds would show a true gain of this size in 80 % of cases; None if MOST_SEEDS in all would
    not.

    More seeds reduce the noise of the rows only as far as their test rows differ. How far they overlap is measured if
    there are several seeds; with one it is ``share``, the share of the table that a seed tests on.
    """
    common = share if found.shared is None else found.shared
    for total in range(seeds + 1, MOST_SEEDS + 1):
        variance = found.of_seed * (1 / total + (1 - 1 / total) * common) + found.between_seeds / total
        then = dataclasses.replace(found, error=math.sqrt(variance), seeds=total)
        if then.detectable < found.value:
            return total - seeds
    return None


def rows_needed(found: Difference, rows: int) -> float | None:
    """Returns how many test rows with the present seeds would show a true gain of this size in 80 % of cases, rounded
    up to two digits.

    More rows do not reduce the variance between seeds: infinite if that alone is too large. None above MOST_TIMES.
    """
    of_seeds = found.between_seeds / found.seeds

    def lacking(times: float) -> float:
        error = math.sqrt(max(found.error**2 - of_seeds, 0.0) / times + of_seeds)
        skew = found.skew / times**2 * (found.error / error) ** 3
        return dataclasses.replace(found, error=error, skew=skew).detectable - found.value

    if lacking(MOST_TIMES) > 0:
        least = dataclasses.replace(found, error=math.sqrt(of_seeds), skew=0.0)
        return None if least.detectable < found.value else math.inf
    needed = rows * float(brentq(lacking, 1.0, MOST_TIMES))
    digits = int(10 ** max(math.floor(math.log10(needed)) - 1, 0))
    return math.ceil(needed / digits) * digits
