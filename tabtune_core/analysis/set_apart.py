"""Which runs of a sweep are not compared with the others: they trained less, used other rows, or did not finish.

In: runs. Out: a reason for each run that is set apart.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

from tabtune_core.metrics import METRICS
from tabtune_core.settings import MODELS, TRAINED
from tabtune_core.settings.sweep import race_of
from tabtune_core.store.run_row import Run, Status
from tabtune_core.wording import counted

BEATEN = "another learning rate was better"
"""Why all runs of a race but one are apart, whether they stopped at a rung or reached the end."""
ENDS: dict[Status, str] = {
    "stopped": "stopped before its end",
    "diverged": "diverged",
    "outrun": BEATEN,
    "cancelled": "cancelled",
    "failed": "failed",
    "interrupted": "interrupted",
}


def apart(runs: Sequence[Run]) -> dict[str, str]:
    """Maps run id to why the run is not compared with the rest of its sweep; empty if it is.

    Runs that differ from most of their sweep in steps or context rows are apart, and so are runs whose held-out rows
    differ from most under their seed. A run that stopped early is complete. If two values are equally frequent, the
    first counts as usual. Archived runs do not count. Of a race, only the best run on the validation rows counts.
    """
    reasons = {run.id: ENDS.get(run.status, "") for run in runs} | dict.fromkeys(_beaten(runs), BEATEN)
    for key, of_seed, text in _SAME:
        groups: dict[Hashable, list[Run]] = defaultdict(list)
        for run in runs:
            if key(run) is not None:
                groups[run.sweep, run.settings.seed if of_seed else None].append(run)
        for group in groups.values():
            counts = Counter(key(run) for run in group if not run.archived and not reasons[run.id])
            usual = next((value for value, _ in counts.most_common(1)), None)
            for run in group:
                if not reasons[run.id] and usual is not None and key(run) != usual:
                    reasons[run.id] = text.format(key(run), usual)
    return reasons


def _beaten(runs: Sequence[Run]) -> list[str]:
    """Returns the ids of runs that finished beside a better one of their race."""
    races: dict[Hashable, list[Run]] = defaultdict(list)
    for run in runs:
        if run.rung >= 0 and run.status == "finished" and run.result and not run.archived:
            races[run.sweep, race_of(run.settings)].append(run)
    beaten = []
    for race in races.values():
        metric = METRICS[race[0].settings.selection_metric]
        scores = [run.result.validation.get(metric.name, math.nan) if run.result else math.nan for run in race]
        best = max(range(len(race)), key=lambda i: -math.inf if math.isnan(scores[i]) else metric.sign * scores[i])
        beaten += [run.id for place, run in enumerate(race) if place != best]
    return beaten


def _split(run: Run) -> Hashable:
    own, train = run.settings, run.settings.train
    rows = (own.dataset, own.target, own.validation_share, own.test_share, train.validation_rows, train.test_rows)
    return (*rows, own.split_at_median, own.group_rare_classes, own.split_by, own.split_column, own.split_seed)


def _steps(run: Run) -> Hashable:
    train = run.settings.train
    length = counted(train.steps, "step") if train.steps else counted(train.epochs, "epoch")
    return length if run.settings.strategy in TRAINED else None


def _train_rows(run: Run) -> Hashable:
    return run.settings.train.context_rows if run.settings.strategy in TRAINED else None


def _rows_shown(run: Run) -> Hashable:
    """Context rows while predicting."""
    return run.result.context_rows if run.result and run.settings.strategy in MODELS else None


OTHER_ROWS = "its held-out rows differ from those of the others"
_SAME: tuple[tuple[Callable[[Run], Hashable], bool, str], ...] = (
    (_split, False, OTHER_ROWS),
    (lambda run: run.result and run.result.rows_sha256, True, OTHER_ROWS),
    (_steps, False, "trained for {}, the others for {}"),
    (_train_rows, False, "trained with {:,} context rows, the others with {:,}"),
    (_rows_shown, True, "predicted with {:,} context rows, the others with {:,}"),
)
"""What the runs of a sweep share, whether only those of one seed do, and the reason given for a run that differs."""
