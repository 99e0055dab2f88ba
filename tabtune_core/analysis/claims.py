"""What may be claimed of the configuration that validation chose: its gain on the test rows, which nobody chose by.

In: the leaderboard of a sweep, its comparison and predictions. Out: a claim, with what would settle it.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from tabtune_core.analysis.comparison import Comparison, Load, replicates
from tabtune_core.analysis.replicates import Difference, difference
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS

MOST_SEEDS = 20
"""More are no reasonable way to settle a difference."""
ROUNDING = 1e-12
"""Far below any difference of scores that is not one of arithmetic."""
Verdict = Literal["better", "worse", "unclear", "no gain", "not known"]


@dataclass(frozen=True, slots=True)
class Claim:
    """The gain over zero-shot of one configuration, over all seeds under which it has a complete run."""

    runs: tuple[str, ...]
    """One a seed."""
    gain: float
    """On the validation rows: what it was chosen by, and so flattered."""
    test: Difference
    """On the test rows; of the validation rows where ``choices`` are corrected for."""
    verdict: Verdict
    """``better`` and ``worse`` are beyond the 95 % interval; ``no gain``: the pretrained model was as good on the validation rows."""
    choices: int = 0
    """Evaluations that the interval allows for, where there are no test rows; 0 where there are."""
    more_seeds: int | None = None
    """How many more would put a gain of this size beyond its interval; None where no reasonable number would, or none is needed."""
    rows_needed: int | None = None
    """Test rows under one seed that would do the same."""

    @property
    def chooses_a_rank(self) -> bool:
        """Whether it makes sense to say which rank is best: not where the model had better stay as it is."""
        return self.verdict in ("better", "not known")


def claim(
    comparison: Comparison, board: pd.DataFrame, rank_by: str, load: Load, *, table_rows: int | None = None, evaluations: int = 0
) -> Claim:
    """About the best LoRA configuration of ``comparison``, which has one.

    Args:
        comparison: of ``board``, which is the leaderboard of the sweep by ``rank_by``.
        board: the same.
        rank_by: the score.
        load: reads predictions.
        table_rows: of the whole table: test rows of several seeds overlap the more, the larger their share is.
        evaluations: of the validation rows by all runs, out of which the state was chosen.

    Without test rows the interval is of the validation rows and allows for the choice among all evaluations (Bonferroni; Dunn 1961,
    Journal of the American Statistical Association 56, 52-64).
    """
    metric, chosen = METRICS[rank_by], comparison.configurations[comparison.configurations["strategy"] == "peft"].iloc[0]
    runs = board.set_index("run").loc[list(chosen["own_runs"])].reset_index().assign(configuration=0)
    gain = float(runs["gain"].astype("float64").mean())

    def own(part: SplitName) -> Difference:
        each = replicates(runs, metric, load, part)
        return difference([run.final for run in each], [run.zero_shot for run in each], metric)

    tested = runs["test_gain"].notna().any() or _rows_of(runs["run"].iloc[0], load) > 0
    choices = 0 if tested else max(evaluations, 1)
    on_rows = own("validation" if choices else "test")
    value = gain if choices else float(runs["test_gain"].astype("float64").mean())
    half = on_rows.half if not choices else float(-ndtri(0.025 / choices)) * on_rows.error
    test = Difference(value, on_rows.error, half, on_rows.of_seed, on_rows.between_seeds)
    lora_claim = Claim(tuple(runs["run"]), gain, test, _verdict(gain, test), choices)
    if lora_claim.verdict != "unclear" or value <= 0 or choices:
        return lora_claim
    rows = _rows_of(runs["run"].iloc[0], load)
    share = rows / table_rows if table_rows else 0.0
    needed = math.ceil(rows * len(runs) * (half / value) ** 2) if value > ROUNDING else None
    return dataclasses.replace(lora_claim, more_seeds=seeds_needed(test, len(runs), share), rows_needed=needed)


def _verdict(gain: float, test: Difference) -> Verdict:
    if gain <= ROUNDING:
        return "no gain"
    if not math.isfinite(test.value + test.half):
        return "not known"
    return "better" if test.low > ROUNDING else "worse" if test.high < -ROUNDING else "unclear"


def seeds_needed(test: Difference, seeds: int, share: float) -> int | None:
    """How many seeds more would put this very difference beyond its interval, at most up to MOST_SEEDS in all.

    The noise of the rows falls with the number of seeds only as far as their test rows, a ``share`` of the table each, are not the same.
    """
    for total in range(seeds + 1, MOST_SEEDS + 1):
        variance = test.of_seed * (1 / total + (1 - 1 / total) * share) + test.between_seeds / total
        if test.half / test.error * math.sqrt(variance) < test.value:
            return total - seeds
    return None


def _rows_of(run: str, load: Load) -> int:
    predictions = load(run, "test")
    return 0 if predictions is None else len(np.asarray(predictions.y_N))
