"""What to know about races of learning rates, and about runs that stopped early.

In: the leaderboard of one sweep. Out: sentences.
"""

import math
from collections.abc import Iterator

import pandas as pd

from tabtune_core.analysis.comparison import CONFIGURATION
from tabtune_core.events import Evaluated
from tabtune_core.metrics import METRICS
from tabtune_core.settings import STRATEGY_NAMES, TRAINED
from tabtune_core.settings.labels import short_rate
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import few

SO_FAR = ("outrun", "running", "waiting")
"""Runs without a result that have scores: those that stopped at a rung, and those in progress."""


def picture_rows(store: RunStore, board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns the rows of a picture: what is compared, and runs without a result with their best score so far."""
    compared = ~board["archived"] & ((board["apart"] == "") | board["status"].isin((*SO_FAR, "queued")))
    return with_scores_so_far(store, board[compared], metric)


def with_scores_so_far(store: RunStore, board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Gives runs in SO_FAR their best validation score so far, for pictures only."""
    unfinished = board.index[board["status"].isin(SO_FAR)]
    board = board.copy()
    for row in unfinished:
        events = [stored.event for stored in store.events(str(board.at[row, "run"]), ["Evaluated"])]
        scores = [one.scores.get(metric, math.nan) for one in events if isinstance(one, Evaluated) and one.step > 0]
        sign = METRICS[metric].sign
        best = max((sign * score for score in scores if math.isfinite(score)), default=math.nan)
        board.at[row, f"validation_{metric}"] = sign * best
    return board


def race_notes(board: pd.DataFrame) -> Iterator[str]:
    """Yields a sentence for each race in which all rates diverged, and one for the runs that stopped early in vain."""
    trained = board[board["strategy"].isin(TRAINED) & ~board["archived"]]
    raced = trained[trained["fixed_rate"].isna()]
    for _, race in raced.groupby(["seed", *CONFIGURATION], dropna=False):
        if len(race) > 1 and (race["status"] == "diverged").all():
            rates = ", ".join(short_rate(rate) for rate in sorted(race["learning_rate"]))
            first = race.iloc[0]
            name = STRATEGY_NAMES[first["strategy"]] + ("" if pd.isna(first["rank"]) else f" r={first['rank']}")
            yield f"{name}: every learning rate that was tried ({rates}) diverged. Name smaller ones to compare it."
    in_vain = trained["stopped_early"].eq(True) & trained["best_step"].eq(0) & trained["apart"].eq("")
    stopped = trained[in_vain.astype(bool)]
    named = stopped[["name", "steps", "planned_steps"]].itertuples(index=False)
    each = [f"{name} at {steps:,} of {planned:,} steps" for name, steps, planned in named]
    if each:
        yield f"Stopped early without a gain, which does not show that more training gains nothing: {few(each)}."
