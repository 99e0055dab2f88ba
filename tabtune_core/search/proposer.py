"""Proposes the next run of a search: TPE of Optuna (Bergstra et al. 2011), over all runs in the store that teach it.

In: the store. Out: settings. Nothing is kept between two proposals, so a restart changes nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tabtune_core.events import Evaluated
from tabtune_core.metrics import METRICS
from tabtune_core.search.space import Space
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

if TYPE_CHECKING:
    from optuna import Study

RANDOM_TRIES = 4
"""Runs before TPE proposes; until then values are drawn at random."""
MOST_ASKED = 40
"""Proposals that may be refused, one after the other, before a search ends."""


def tries(store: RunStore, space: Space) -> list[Run]:
    """Returns all runs of the store that differ only in what the search varies, oldest first."""
    runs = [run for run in store.runs() if run.settings.dataset == space.template.dataset]
    fitting = [run for run in runs if not run.archived and space.numbers(run.settings) is not None]
    return sorted(fitting, key=lambda run: run.created)


def study_of(store: RunStore, space: Space, runs: Sequence[Run]) -> "Study":
    """Returns a study in memory that knows these runs.

    One that stopped at a rung counts with its score there, one that diverged as the worst, and one that goes on as if
    it were bad, so that several at once differ. Runs that failed say nothing.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    metric = METRICS[space.template.selection_metric]
    seed = space.template.seed + 7919 * len(runs)  # another one for each proposal, the same after a restart
    sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_TRIES, constant_liar=True, seed=seed % 2**32)
    directions = optuna.study.StudyDirection
    direction = directions.MAXIMIZE if metric.higher_is_better else directions.MINIMIZE
    study = optuna.create_study(direction=direction, sampler=sampler)
    states = {"outrun": TrialState.PRUNED, "diverged": TrialState.PRUNED}
    states |= dict.fromkeys(("queued", "running", "waiting"), TrialState.RUNNING)
    for run in runs:
        score = run.result.validation.get(metric.name, math.nan) if run.result else math.nan
        state = TrialState.COMPLETE if run.status in ("finished", "stopped") else states.get(run.status)
        if state is None or (state == TrialState.COMPLETE and math.isnan(score)):
            continue
        trial = create_trial(
            params=space.numbers(run.settings),
            distributions=space.distributions(),
            value=score if state == TrialState.COMPLETE else None,
            intermediate_values=dict(scores_of(store, run, metric.name)) if run.status == "outrun" else None,
            state=state,
        )
        study.add_trial(trial)
    return study


def scores_of(store: RunStore, run: Run, metric: str) -> Iterator[tuple[int, float]]:
    """Yields step and validation score of each evaluation after the first step."""
    for stored in store.events(run.id, ["Evaluated"]):
        if isinstance(event := stored.event, Evaluated) and event.split == "validation" and event.step > 0:
            yield event.step, event.scores[metric]


def propose(
    store: RunStore, space: Space, refused: Callable[[RunSettings], str | None]
) -> tuple[RunSettings | None, str]:
    """Returns the next run, and an empty text; or None and why there is none.

    ``refused`` says why a run cannot be asked for, such as too little memory or time.
    """
    from optuna.trial import TrialState

    runs = tries(store, space)
    study, seen = study_of(store, space, runs), {run.settings.changed(device="auto") for run in runs}
    why = "Every setting that it proposes has been tried."
    for _ in range(MOST_ASKED):
        trial = study.ask(space.distributions())
        run = space.settings(trial.params)
        if run.changed(device="auto") not in seen:
            if (reason := refused(run)) is None:
                return run, ""
            why = reason
        study.tell(trial, state=TrialState.FAIL)
    return None, why
