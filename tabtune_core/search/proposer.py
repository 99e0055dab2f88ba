"""Proposes the next run of a search: TPE of Optuna (Bergstra et al. 2011), over all runs in the store that teach it.

In: the store. Out: settings, and what was learned. Nothing is kept between two proposals, so a restart changes nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tabtune_core.events import Evaluated
from tabtune_core.metrics import METRICS
from tabtune_core.search.space import RATE, WORDS, Space
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import short_rate, short_targets
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted

if TYPE_CHECKING:
    from optuna import Study

RANDOM_TRIES = 4
"""Runs before TPE proposes; until then values are drawn at random."""
MOST_ASKED = 40
"""Proposals that may be refused, one after the other, before a search ends."""
ENOUGH_TO_WEIGH = 8
"""Tries from which the importance of a setting is named."""


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
            intermediate_values=dict(_scores(store, run, metric.name)) if run.status == "outrun" else None,
            state=state,
        )
        study.add_trial(trial)
    return study


def _scores(store: RunStore, run: Run, metric: str) -> Iterator[tuple[int, float]]:
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


def written(run: RunSettings, space: Space) -> str:
    """Writes what the search chose, such as ``rank 8, learning rate 2e-3, variant dora``."""
    values = {
        "rank": run.lora.rank,
        RATE: short_rate(run.learning_rate),
        "dropout": f"{run.lora.dropout:g}",
        "targets": short_targets(run.lora.targets) if run.lora.targets else "the model's own",
        "variant": run.lora.variant,
        "context_rows": f"{run.train.context_rows:,}",
    }
    varied = (*space.options, *((RATE,) if space.rates else ()))
    return ", ".join(f"{WORDS[name]} {value}" for name, value in values.items() if name in varied)


def what_was_learned(store: RunStore, space: Space) -> str:
    """Says how many runs it knows, which is best, which settings matter most, and where the next comes from."""
    runs = tries(store, space)
    study = study_of(store, space, runs)
    complete = [run for run in runs if run.status in ("finished", "stopped") and run.result]
    known = sum(trial.state.is_finished() for trial in study.trials)
    if not complete:
        return f"{counted(known, 'run')} to learn from so far; the first values are the defaults, then random ones."
    metric = METRICS[space.template.selection_metric]
    best = max(complete, key=lambda run: metric.sign * run.result.validation[metric.name])  # type: ignore[union-attr]
    stopped = sum(run.status == "outrun" for run in runs)
    text = f"{known:,} tried, {stopped:,} of them stopped at a rung. Best on the validation rows: "
    text += f"{written(best.settings, space)} ({metric.written} "
    text += f"{metric.text(best.result.validation[metric.name])})."  # type: ignore[union-attr]
    if known < ENOUGH_TO_WEIGH or len(complete) < 2:
        return f"{text} The next values are random or near the best."
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    named = ", ".join(f"{WORDS[name]} {share:.0%}" for name, share in [*shares.items()][:3] if share > 0)
    return f"{text} What mattered: {named}. The next values are likelier among the better tries than among the others."
