"""How long a sweep may still take.

In: its runs and how far each is. Out: seconds, or None while nothing that ended says how long a run takes.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tabtune_core.analysis.curves import Progress
from tabtune_core.analysis.runtime_estimate import kind_of
from tabtune_core.store.run_row import ENDED, RANKED, Run


def time_left(runs: Sequence[Run], far: Mapping[str, Progress], now: float) -> float | None:
    """Seconds until all have ended, if those to come take as long as those like them did that ended with a result.

    A running run takes its rest of training, or what is left of such a run's time. Runs go on at once as many as do now.
    """
    still = [run for run in runs if run.status not in ENDED]
    known = [left for run in still if (left := _left(run, runs, far[run.id], now)) is not None]
    if not known or len(known) < len(still):
        return None
    going = sum(run.status == "running" for run in still)
    return max(sum(known) / max(going, 1), *known)  # no run is shorter for what goes on beside it


def _length(run: Run) -> tuple[Any, ...]:
    """What the time of a run hangs on, in a sweep of one table."""
    train = run.settings.train
    return kind_of(run.settings), train.steps, train.epochs, train.time_limit, train.batch_size, train.context_rows


def _left(run: Run, runs: Sequence[Run], far: Progress, now: float) -> float | None:
    if far.eta_seconds is not None:
        return far.eta_seconds
    whole = [
        other.ended - other.started
        for other in runs
        if other.status in RANKED and _length(other) == _length(run) and other.ended is not None and other.started is not None
    ]
    if not whole:
        return None
    passed = now - run.started if run.status == "running" and run.started is not None else 0.0
    return max(statistics.median(whole) - passed, 0.0)
