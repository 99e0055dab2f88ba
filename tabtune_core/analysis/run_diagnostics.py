"""What went wrong with a run, as in the guide's table of troubles, and what to try.

In: a run. Out: what was seen, with the run's own numbers, what helps, and other settings to try.
"""

import math
from dataclasses import dataclass

from tabtune_core.errors import FULL_MEMORY_CLASSES
from tabtune_core.events import Phase, RunPlanned
from tabtune_core.metrics import METRICS
from tabtune_core.settings import REFERENCES, TRAINED, RunSettings
from tabtune_core.settings.labels import short_rate
from tabtune_core.store.run_row import RANKED, Run

LEAST_CONTEXT = 10
"""Fewest context rows that the settings allow."""
PREDICTING: tuple[Phase, ...] = ("zero-shot", "evaluate")
"""Phases that predict and do not train."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    symptom: str
    first: str
    """What to try first."""
    then: str
    """What else helps."""


GUIDE: dict[str, Row] = {
    "diverged": Row("Training diverges", "Halve the learning rate", "warm up longer"),
    "memory": Row("Out of memory", "Use fewer context rows", "gradient checkpointing; a lower rank hardly changes it"),
    "no gain": Row(
        "No gain over zero-shot",
        "Try another learning rate before another rank",
        "adapt more modules; on some tables the pretrained model is hard to beat",
    ),
}


@dataclass(frozen=True, slots=True)
class Fix:
    """Other settings to try for a run that went wrong."""

    label: str
    name: str
    """What is added to the run's name."""
    settings: RunSettings


@dataclass(frozen=True, slots=True)
class Trouble:
    """A row of the table that applies to a run."""

    kind: str
    """Key in GUIDE."""
    seen: str
    """What was seen in this run."""
    fix: Fix | None = None


def troubles(run: Run, plan: RunPlanned | None = None, failure: str = "", phase: Phase | None = None) -> list[Trouble]:
    """Returns what is wrong with a run, most serious first.

    ``failure`` is the class name of the error that ended it, ``phase`` the last phase that it entered.
    """
    if run.settings.strategy in REFERENCES or run.status == "cancelled":
        return []
    return list(filter(None, (out_of_memory(run, plan, failure, phase), diverged(run), no_gain(run))))


def out_of_memory(run: Run, plan: RunPlanned | None, failure: str, phase: Phase | None) -> Trouble | None:
    """The run asked for more memory than there is, or was killed for it."""
    if run.status not in ("failed", "interrupted") or failure != FULL_MEMORY_CLASSES[0]:
        return None
    train, name = run.settings.train, "context_rows"
    rows = min(train.context_rows, plan.train_context_rows or plan.context_rows) if plan else train.context_rows
    if run.settings.strategy == "inference" or phase in PREDICTING:
        name = "predict_context_rows"
        rows = plan.context_rows if plan else train.predict_context_rows or train.context_rows
    killed = "was killed, most often because memory ran out"
    what = "needed more memory than there was" if run.status == "failed" else killed
    when = " to predict" if name == "predict_context_rows" else ""
    seen = f"The run {what}. It used {rows:,} context rows{when}, and memory grows with them."
    fewer = max(rows // 2, LEAST_CONTEXT)
    fix = Fix(f"Run again with {fewer:,} context rows", f"{fewer} context rows", run.settings.changed(**{name: fewer}))
    return Trouble("memory", seen, fix if fewer < rows else None)


def diverged(run: Run) -> Trouble | None:
    """The loss diverged."""
    if run.status != "diverged":
        return None
    now, half = (short_rate(rate, 2) for rate in (run.settings.learning_rate, run.settings.learning_rate / 2))
    slower = run.settings.changed(learning_rate=run.settings.learning_rate / 2)
    fix = Fix(f"Run again at half the rate, {half}", f"learning rate {half}", slower)
    seen = f"At the learning rate {now} the loss diverged. The best checkpoint before that is kept."
    return Trouble("diverged", seen, fix)


def no_gain(run: Run) -> Trouble | None:
    """No trained state was better than the pretrained one."""
    trained = run.settings.strategy in TRAINED and run.result is not None and run.result.steps_done > 0
    if not trained or run.result is None or run.result.best_step > 0 or run.status not in RANKED:
        return None
    metric = METRICS[run.settings.selection_metric]
    zero_shot = run.result.zero_shot_validation.get(metric.name, math.nan)
    score = f" ({metric.written} {metric.text(zero_shot)})" if math.isfinite(zero_shot) else ""
    seen = "No evaluation on the validation rows beat zero-shot, so the pretrained weights are kept"
    return Trouble("no gain", f"{seen}{score}.")
