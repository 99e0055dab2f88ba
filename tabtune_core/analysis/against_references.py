"""Compares a sweep's best LoRA with its references, which need no foundation model, and with guessing.

In: the leaderboard of one sweep and predictions. Out: scores, and differences on the held-out rows.
"""

from collections.abc import Iterator, Sequence
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

NAMES: dict[Strategy, str] = {"linear": "the linear model", "boosting": "gradient boosting"}
"""Names within a sentence."""


@dataclass(frozen=True, slots=True)
class Rival:
    """A reference compared with a configuration, over the seeds under which both have a score."""

    name: str
    score: float
    """Mean of its validation scores."""
    ours: float
    """Mean of the configuration's validation scores."""
    seeds: int
    ahead: Measured
    """On the test rows; positive if the reference is better."""


def rivals(board: pd.DataFrame, rank_by: str, load: Load, own_runs: Sequence[str]) -> Iterator[Rival]:
    """Compares each reference of ``board``, the leaderboard of one sweep, with the configuration of ``own_runs``."""
    metric, score = METRICS[rank_by], f"validation_{rank_by}"
    known = board[board[score].notna() & ~board["archived"] & (board["apart"] == "")].sort_values("seed", kind="stable")
    ours = known[known["run"].isin(own_runs)].drop_duplicates("seed")
    for strategy, name in NAMES.items():
        reference = known[(known["strategy"] == strategy) & known["seed"].isin(ours["seed"])].drop_duplicates("seed")
        if reference.empty:
            continue
        both = pd.concat([reference, ours[ours["seed"].isin(reference["seed"])]])
        made = [final for final, _ in replicates(list(both["run"]), list(both["seed"]), metric, load, "test")]
        seeds = len(reference)
        own, other = (float(rows[score].mean()) for rows in (both[seeds:], both[:seeds]))
        yield Rival(name, other, own, seeds, difference(made[:seeds], made[seeds:]))


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
