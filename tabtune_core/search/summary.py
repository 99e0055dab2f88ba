"""What a search has tried and what it learned from it, as a table, as shares and in words.

In: the store and a search. Out: a summary, for pages and the command line.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabtune_core.events import StepDone
from tabtune_core.metrics import METRICS
from tabtune_core.search.proposer import scores_of, study_of, tries
from tabtune_core.search.space import RATE, WORDS, Space, space_of
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import short_rate, short_targets
from tabtune_core.store.runs import RunStore
from tabtune_core.store.searches import Search
from tabtune_core.wording import counted

ENOUGH_TO_WEIGH = 8
"""Tries from which the importance of a setting is named."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a search has tried and learned so far."""

    tries: Sequence[Mapping[str, Any]]
    """Of each run that teaches it, best first: ``run`` (its name), what is varied (keys of ``WORDS``), ``score`` on the
    validation rows (NaN while it goes on), ``seconds`` of training, ``ended``."""
    importances: Mapping[str, float]
    """Shares by key of ``WORDS``, largest first (PED-ANOVA, Watanabe et al. 2023); empty while there are few tries."""
    text: str
    """Why it ended, what is best, what mattered and, while it goes on, where the next comes from."""


def chosen(run: RunSettings, space: Space) -> dict[str, Any]:
    """Returns what the search chose for a run, by key of ``WORDS``."""
    values = {
        "rank": run.lora.rank,
        RATE: run.learning_rate,
        "dropout": run.lora.dropout,
        "targets": short_targets(run.lora.targets) if run.lora.targets else "the model's own",
        "variant": run.lora.variant,
        "context_rows": run.train.context_rows,
    }
    varied = (*space.options, *((RATE,) if space.rates else ()))
    return {name: value for name, value in values.items() if name in varied}


def written(run: RunSettings, space: Space) -> str:
    """Writes what the search chose, such as ``rank 8, learning rate 2e-3, variant dora``."""
    form = {RATE: short_rate, "dropout": "{:g}".format, "context_rows": "{:,}".format}
    return ", ".join(f"{WORDS[name]} {form.get(name, str)(value)}" for name, value in chosen(run, space).items())


def summarize(store: RunStore, search: Search) -> Summary:
    """Returns what the search knows now, also from runs of other sweeps."""
    from tabtune_core.search.budget import in_words

    space = space_of(search)
    runs, metric = tries(store, space), METRICS[space.template.selection_metric]
    rows = []
    for run in runs:
        own = run.result.validation.get(metric.name, math.nan) if run.result else math.nan
        if run.status == "outrun":
            reached = [score for _, score in scores_of(store, run, metric.name) if math.isfinite(score)]
            own = metric.sign * max((metric.sign * score for score in reached), default=math.nan)
        last = store.last_event(run.id, StepDone)
        ended = run.ended_as if run.sweep == search.sweep else f"{run.ended_as}, in another sweep"
        about = {"score": own, "seconds": last.seconds if last else math.nan, "ended": ended}
        rows.append({"run": run.name, **chosen(run.settings, space), **about})
    rows.sort(key=lambda row: (math.isnan(row["score"]), -metric.sign * row["score"]))
    study = study_of(store, space, runs)
    known = sum(trial.state.is_finished() for trial in study.trials)
    remain = f"{in_words(max(search.left, 0))} remain."
    complete = [run for run in runs if run.status in ("finished", "stopped") and run.result]
    if not complete:
        begun = f"{counted(known, 'run')} to learn from so far; the first values are the defaults, then random ones."
        return Summary(rows, {}, search.ended or f"{remain} {begun}")
    best = max(complete, key=lambda run: metric.sign * run.result.validation[metric.name])  # type: ignore[union-attr]
    stopped = sum(run.status == "outrun" for run in runs)
    score = metric.text(best.result.validation[metric.name])  # type: ignore[union-attr]
    said = [search.ended or remain, f"{known:,} tried, {stopped:,} of them stopped at a rung."]
    said.append(f"Best on the validation rows: {written(best.settings, space)} ({metric.written} {score}).")
    shares: Mapping[str, float] = {}
    why_next = "The next values are random or near the best."
    if known >= ENOUGH_TO_WEIGH and len(complete) > 1:
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        named = [f"{WORDS[name]} {share:.0%}" for name, share in [*shares.items()][:3] if share > 0]
        said.append(f"What mattered: {', '.join(named)}.")
        why_next = "The next values are likelier among the better tries than among the others."
    return Summary(rows, shares, " ".join([*said, *([] if search.ended else [why_next])]))
