"""Which runs of a sweep are not compared with the others: archived, incomplete, repeated, or with other steps or rows.

In: runs. Out: a reason for each run that is set apart; such runs have no place and decide nothing.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from operator import attrgetter

from tabtune_core.metrics import METRICS
from tabtune_core.settings import MODELS, TRAINED
from tabtune_core.settings.sweep import race_of
from tabtune_core.store.run_row import Run, Status
from tabtune_core.wording import counted

BEATEN = "another learning rate was better"
"""Why all runs of a race but one are apart, whether they stopped at a rung or reached the end."""
OTHERS_BETTER = "other tries of the search were better there"
ARCHIVED, REPEATED = "archived", "repeats another run"
OTHER_ROWS = "its held-out rows differ from those of the others"
ENDS: dict[Status, str] = {
    "stopped": "stopped before its end",
    "outrun": BEATEN,
    **{status: status for status in ("diverged", "cancelled", "failed", "interrupted")},
}


def reasons_apart(runs: Sequence[Run]) -> dict[str, str]:
    """Maps run id to why the run is not compared with the rest of its sweep; empty if it is.

    Of runs with equal settings the earliest counts, of a race the best on the validation rows; then those that have
    the steps and rows of most of their sweep. A run that stopped early is complete.
    """
    reasons = {run.id: ARCHIVED if run.archived else why_ended(run) for run in runs}

    def groups_of(key: Callable[[Run], Hashable]) -> list[list[Run]]:
        groups: dict[Hashable, list[Run]] = defaultdict(list)
        for run in sorted(runs, key=lambda run: run.created):
            if not reasons[run.id] and run.result and key(run) is not None:
                groups[run.sweep, key(run)].append(run)
        return list(groups.values())

    for same in groups_of(lambda run: run.settings):
        reasons |= dict.fromkeys((run.id for run in same[1:]), REPEATED)
    for race in groups_of(lambda run: race_of(run.settings) if run.rung >= 0 else None):
        best = max(race, key=_score)
        reasons |= dict.fromkeys((run.id for run in race if run is not best), BEATEN)
    for key, among, text in _SAME:
        for group in groups_of(among):
            values = {run.id: key(run) for run in group if key(run) is not None}
            [(usual, _)] = Counter(values.values()).most_common(1) or [(None, 0)]
            reasons |= {run: text.format(value, usual) for run, value in values.items() if value != usual}
    return reasons


def why_ended(run: Run) -> str:
    """Says why a run has no complete result; empty if it has, or goes on."""
    return OTHERS_BETTER if run.status == "outrun" and run.searched else ENDS.get(run.status, "")


def _score(run: Run) -> float:
    metric = METRICS[run.settings.selection_metric]
    score = run.result.validation.get(metric.name, math.nan) if run.result else math.nan
    return -math.inf if math.isnan(score) else metric.sign * score


def _steps(run: Run) -> Hashable:
    train = run.settings.train
    length = counted(train.steps, "step") if train.steps else counted(train.epochs, "epoch")
    return length if run.settings.strategy in TRAINED else None


def _train_rows(run: Run) -> Hashable:
    """A search varies them."""
    return run.settings.train.context_rows if run.settings.strategy in TRAINED and not run.searched else None


def _rows_shown(run: Run) -> Hashable:
    return run.result.context_rows if run.result and run.settings.strategy in MODELS else None


_BY_SWEEP, _BY_SEED = attrgetter("sweep"), attrgetter("settings.seed")
_SPLIT = attrgetter("settings.test_set", "settings.validation_share", "settings.train.validation_rows")
_SAME: tuple[tuple[Callable[[Run], Hashable], Callable[[Run], Hashable], str], ...] = (
    (_SPLIT, _BY_SWEEP, OTHER_ROWS),
    (attrgetter("result.rows_sha256"), _BY_SEED, OTHER_ROWS),
    (_steps, _BY_SWEEP, "trained for {}, the others for {}"),
    (_train_rows, _BY_SWEEP, "trained with {:,} context rows, the others with {:,}"),
    (_rows_shown, _BY_SEED, "predicted with {:,} context rows, the others with {:,}"),
)
"""What runs share, those of a sweep or of one seed of it, and the reason given for a run that differs."""
