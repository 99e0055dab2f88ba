"""Compares a sweep's best LoRA, or its zero-shot, with full fine-tuning and references, and with a constant.

In: the leaderboard of one sweep and predictions. Out: scores, and differences on the held-out rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tabtune_core.analysis.comparison import Load, replicates
from tabtune_core.analysis.gains import Measured
from tabtune_core.analysis.jackknife import difference
from tabtune_core.analysis.row_groups import RowGroups
from tabtune_core.data.splits import SplitName
from tabtune_core.metrics import METRICS, Metric
from tabtune_core.settings import Strategy

NAMES: dict[Strategy, str] = {
    "linear": "the linear model",
    "boosting": "gradient boosting",
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
    """Mean training time; NaN if unknown."""
    ahead: Measured
    """On the test rows; positive if the rival is better."""

    @property
    def name(self) -> str:
        """Its name within a sentence."""
        return NAMES[self.strategy]


def rival(
    board: pd.DataFrame, rank_by: str, load: Load, strategy: Strategy, own_runs: Sequence[str], *, trained: bool
) -> Rival | None:
    """Compares the best runs of ``strategy`` with those of one configuration, or (not ``trained``) with its zero-shot.

    ``board`` is the leaderboard of one sweep. None if no seed has a score of both.
    """
    metric, score = METRICS[rank_by], f"validation_{rank_by}"
    known = board[np.isfinite(board[score]) & ~board["archived"] & (board["apart"] == "")]
    known = known.sort_values("seed", kind="stable")
    theirs = known[known["strategy"] == strategy]
    rates = metric.sign * theirs.groupby(theirs["learning_rate"].fillna(0.0))[score].mean()
    theirs = theirs[theirs["learning_rate"].fillna(0.0) == (rates.idxmax() if len(rates) else 0.0)]
    theirs, ours = theirs.drop_duplicates("seed"), known[known["run"].isin(own_runs)].drop_duplicates("seed")
    theirs, ours = theirs[theirs["seed"].isin(ours["seed"])], ours[ours["seed"].isin(theirs["seed"])]
    if theirs.empty:
        return None
    both, seeds = pd.concat([theirs, ours]), len(theirs)
    made = replicates(list(both["run"]), list(both["seed"]), metric, load, "test")
    own = [final if trained else before for final, before in made[seeds:]]
    return Rival(
        strategy=strategy,
        score=float(theirs[score].mean()),
        ours=float(ours[score if trained else f"zero_shot_{score}"].mean()),
        seeds=seeds,
        seconds=float(theirs["train_seconds"].mean()),
        ahead=difference([final for final, _ in made[:seeds]], own),
    )


def against_guessing(metric: Metric, load: Load, runs: Sequence[str], *, trained: bool) -> tuple[Measured, SplitName]:
    """Compares runs of several seeds, or their zero-shot, with guessing by their training rows; on the test rows.

    Without test rows, on the validation rows.
    """
    names: tuple[SplitName, ...] = ("test", "validation")
    for part in names:
        rows = [one for run in runs if (one := load(run, part)) is not None and len(one.y_N) and one.guess]
        if rows:
            groups = RowGroups(rows, metric)
            own = [one.predicted if trained else one.zero_shot for one in rows]
            made = [None if p is None else groups.leave_out(one, p) for one, p in zip(rows, own, strict=True)]
            guesses = [np.broadcast_to(one.guess if one.classes else one.guess[0], one.predicted.shape) for one in rows]
            return difference(made, [groups.leave_out(one, p) for one, p in zip(rows, guesses, strict=True)]), part
    return None, "test"
