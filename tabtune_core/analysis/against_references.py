"""Compares a sweep's best LoRA, or its zero-shot, with full fine-tuning and references.

In: the leaderboard of one sweep and predictions. Out: scores, and differences on the test rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tabtune_core.analysis.comparison import Load, replicates
from tabtune_core.analysis.gains import Measured
from tabtune_core.analysis.jackknife import difference
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import Strategy

NAMES: dict[Strategy, str] = {
    "linear": "the linear model",
    "boosting": "gradient boosting",
    "constant": "a constant",
    "base-ft": "full fine-tuning",
    "inference": "the model as it is",
}
"""Names within a sentence."""
CLASSIC: tuple[Strategy, ...] = ("linear", "boosting")
"""References that learn from the features."""


@dataclass(frozen=True, slots=True)
class Rival:
    """Runs compared with a LoRA configuration or its zero-shot, over the seeds under which both have a score."""

    strategy: Strategy
    score: float
    """Mean of its validation scores."""
    ours: float
    """Mean validation score of the configuration, or of its zero-shot."""
    seeds: int
    seconds: float
    """Mean training time; NaN if one is unknown."""
    ahead: Measured
    """On the test rows; positive if the rival is better."""

    @property
    def name(self) -> str:
        """Its name within a sentence."""
        return NAMES[self.strategy]


def best_runs(runs: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Returns those of the rate with the best validation score, one per seed."""
    rate = runs["fixed_rate"].fillna(0.0)
    means = metric.sign * runs.groupby(rate)[f"validation_{metric.name}"].mean()
    return runs[rate == (means.idxmax() if len(means) else 0.0)].drop_duplicates("seed")


def rival(
    board: pd.DataFrame, rank_by: str, load: Load, strategy: Strategy, own_runs: Sequence[str], *, trained: bool
) -> Rival | None:
    """Compares the best runs of ``strategy`` with those of one configuration, or (not ``trained``) with its zero-shot.

    ``board`` is the leaderboard of one sweep by ``rank_by``. None if no seed has a score of both.
    """
    metric, score = METRICS[rank_by], f"validation_{rank_by}"
    known = board[board["place"].notna()].sort_values("seed", kind="stable")
    others, ours = best_runs(known[known["strategy"] == strategy], metric), known[known["run"].isin(own_runs)]
    others, ours = others[others["seed"].isin(ours["seed"])], ours[ours["seed"].isin(others["seed"])]
    if others.empty:
        return None
    both, seeds = pd.concat([others, ours]), len(others)
    made = replicates(list(both["run"]), list(both["seed"]), metric, load, "test")
    own = [final if trained else before for final, before in made[seeds:]]
    return Rival(
        strategy=strategy,
        score=float(others[score].mean()),
        ours=float(ours[score if trained else f"zero_shot_{score}"].mean()),
        seeds=seeds,
        seconds=float(others["train_seconds"].mean(skipna=False)),
        ahead=difference([final for final, _ in made[:seeds]], own),
    )
