"""Successive halving: of runs that differ only in their learning rate, the better ones go on from each rung.

In: runs that wait at a rung. Out: the same runs, queued again or outrun: Jamieson and Talwalkar, arXiv 1502.07943.
A run that reaches its end has the very scores of one that never paused, since it goes on from its saved state.
"""

import math
from collections.abc import Collection, Sequence

from tabtune_core.events import Evaluated
from tabtune_core.metrics import METRICS
from tabtune_core.settings.sweep import going_on, race_of
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.runs import RunStore


def advance(store: RunStore, busy: Collection[str] = ()) -> None:
    """Lets the better part of each race go on once all its runs have come to a rung, and ends the others.

    ``busy`` are runs whose process has not ended yet.
    """
    waiting = store.runs(status="waiting")
    for run in waiting:
        if run.searched and run.id not in busy:
            _keep_up(store, run)
    raced = [run for run in waiting if not run.searched]
    for sweep, race, rung in dict.fromkeys((run.sweep, race_of(run.settings), run.rung) for run in raced):
        rivals = [run for run in store.runs(sweep) if run.rung >= 0 and race_of(run.settings) == race]
        here = [run for run in rivals if run.status == "waiting" and run.rung == rung]
        behind = [run for run in rivals if run.rung <= rung and (run.status in ("queued", "running") or run.id in busy)]
        if here and not behind:
            ended = [run for run in rivals if run.status == "finished"]
            first = best_of([*ended, *here], store, going_on(len(rivals), rung))
            outrun = [run.id for run in here if run.id not in first]
            store.advance([run.id for run in here if run.id in first], outrun, alone=len(first) == 1)


def _keep_up(store: RunStore, run: Run) -> None:
    """Lets a run of a search go on if it is among the better part of all that have come to its rung so far.

    Nobody waits for later runs: Li et al. 2020, arXiv 1810.05934.
    """
    tries = [other for other in store.runs(run.sweep) if other.rung >= run.rung]
    came = [other for other in tries if other.rung > run.rung or other.status in ("waiting", "outrun")]
    on = run.id in best_of(came, store, going_on(len(came), run.rung))
    store.advance([run.id] * on, [run.id] * (not on))


def call_back(store: RunStore, run_id: str) -> None:
    """Starts the next best of its race anew if a run diverged after it had outrun the others."""
    run = store.run(run_id)
    if run.status != "diverged" or run.rung < 0 or run.searched:
        return
    rivals = [other for other in store.runs(run.sweep) if race_of(other.settings) == race_of(run.settings)]
    outrun = [other for other in rivals if other.status == "outrun"]
    if outrun and all(other.status in ENDED and other.status != "finished" for other in rivals):
        last = max(other.rung for other in outrun)
        store.call_back(*best_of([other for other in outrun if other.rung == last], store, 1))


def best_of(rivals: Sequence[Run], store: RunStore, number: int) -> list[str]:
    """Returns the ids of the best runs by validation scores up to the last step that all of them have evaluated."""
    name = rivals[0].settings.selection_metric
    scores = {run.id: _evaluations(store, run, name) for run in rivals}
    last = min((max(own) for own in scores.values() if own), default=0)
    sign = METRICS[name].sign
    costs = {one: [-sign * score for step, score in own.items() if step <= last] for one, own in scores.items()}
    return sorted(costs, key=lambda one: min(costs[one], default=math.inf))[:number]


def _evaluations(store: RunStore, run: Run, metric: str) -> dict[int, float]:
    """Returns the run's validation scores after its first step, by step."""
    evaluations = [one.event for one in store.events(run.id, ["Evaluated"]) if isinstance(one.event, Evaluated)]
    scores = {one.step: one.scores[metric] for one in evaluations if one.split == "validation" and one.step > 0}
    return {step: score for step, score in scores.items() if not math.isnan(score)}
