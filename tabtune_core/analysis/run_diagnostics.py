"""The guide's table of troubles, as data, and which of them a run has.

In: a run with its curves. Out: what was seen, with the run's own numbers, the row of the table that helps, and other
settings to try. The guide's section 11 is corrected where it does not hold: the learning rate comes before the rank,
and memory depends on the context rows, hardly on the rank.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tabtune_core.errors import FULL_MEMORY_CLASSES
from tabtune_core.events import Phase, RunPlanned
from tabtune_core.metrics import METRICS
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.settings.labels import short_rate
from tabtune_core.store.run_row import RANKED, Run

LEAST_CONTEXT = 10
"""Fewest context rows that the settings allow."""
STEPS_TO_JUDGE = 40
"""A loss is not called flat, nor a run overfitting, before this many steps."""
EVALUATIONS_PAST_BEST = 4
"""Evaluations after the best one, before the run is said to overfit."""
LARGEST = 1e100
"""Losses and scores beyond this are ignored: a run that went well has none."""
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
    "memory": Row(
        "Out of memory",
        "Use fewer context rows",
        "fewer query rows a step, fewer columns, gradient checkpointing; a lower rank hardly changes it",
    ),
    "flat": Row(
        "The loss does not fall", "Take two or three times the learning rate", "train longer; adapt more modules"
    ),
    "no gain": Row(
        "No gain over zero-shot",
        "Try another learning rate before another rank",
        "adapt more modules, train with more rows or other seeds; on some tables the pretrained model is hard to beat",
    ),
    "overfitting": Row(
        "Validation gets worse while the training loss falls",
        "The best checkpoint is kept; use more dropout or fewer steps",
        "a lower rank, or more weight decay",
    ),
    "behind": Row(
        "LoRA is far behind full fine-tuning",
        "Try two or three times the learning rate",
        "adapt more modules, feed-forward layers above all; then a higher rank",
    ),
    "too good": Row(
        "Every held-out row is predicted right, without any training",
        "Check for target leakage: the Data page lists suspicious columns",
        "more validation rows, or a harder table, to see a difference between runs",
    ),
    "slow": Row(
        "Predicting with LoRA is slow",
        "Use the merged checkpoint, which is as fast as the base model",
        "a smaller ensemble",
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


def troubles(
    run: Run,
    frames: Mapping[str, pd.DataFrame],
    *,
    plan: RunPlanned | None = None,
    failure: str = "",
    phase: Phase | None = None,
    full: Run | None = None,
) -> list[Trouble]:
    """Returns what is wrong with a run, most serious first.

    ``frames`` holds its ``steps`` and ``scores`` as in ``curves.frame_of``. ``failure`` is the class name of the error
    that ended it, ``phase`` the last phase that it entered, ``full`` the full fine-tuning of the same sweep and seed.
    """
    if run.settings.strategy in REFERENCES or run.status == "cancelled":
        return []
    candidates, curves = [out_of_memory(run, plan, failure, phase), diverged(run)], (frames["steps"], frames["scores"])
    if run.settings.strategy == "inference":
        candidates.append(too_good(run))
    else:
        candidates += [flat(run, *curves), overfitting(run, *curves), no_gain(run), behind(run, full, plan)]
    return [trouble for trouble in candidates if trouble]


def out_of_memory(run: Run, plan: RunPlanned | None, failure: str, phase: Phase | None) -> Trouble | None:
    """The run asked for more memory than there is, or was killed for it."""
    if run.status not in ("failed", "interrupted") or failure != FULL_MEMORY_CLASSES[0]:
        return None
    name, rows = _rows_to_lower(run.settings, plan, phase)
    what = (
        "needed more memory than there was"
        if run.status == "failed"
        else "was killed, most often because memory ran out"
    )
    when = " to predict" if name == "predict_context_rows" else ""
    seen = f"The run {what}. It used {rows:,} context rows{when}, and memory grows with them."
    fewer = max(rows // 2, LEAST_CONTEXT)
    if fewer == rows:
        return Trouble("memory", seen)
    fix = Fix(f"Run again with {fewer:,} context rows", f"{fewer} context rows", run.settings.changed(**{name: fewer}))
    return Trouble("memory", seen, fix)


def _rows_to_lower(settings: RunSettings, plan: RunPlanned | None, phase: Phase | None) -> tuple[str, int]:
    """Returns the setting that memory depends on and its context rows: of predictions if it ended while predicting,
    else of a step.
    """
    if settings.strategy == "inference" or phase in PREDICTING:
        return (
            "predict_context_rows",
            plan.context_rows if plan else settings.train.predict_context_rows or settings.train.context_rows,
        )
    context_rows = settings.train.context_rows
    return "context_rows", min(context_rows, plan.train_context_rows or plan.context_rows) if plan else context_rows


def diverged(run: Run) -> Trouble | None:
    """The loss diverged."""
    if run.status != "diverged":
        return None
    now, half = (short_rate(rate, 2) for rate in (run.settings.learning_rate, run.settings.learning_rate / 2))
    slower = run.settings.changed(learning_rate=run.settings.base_rate / 2)
    fix = Fix(f"Run again at half the rate, {half}", f"learning rate {half}", slower)
    seen = f"At the learning rate {now} the loss diverged. The best checkpoint before that is kept."
    return Trouble("diverged", seen, fix)


def flat(run: Run, steps: pd.DataFrame, scores: pd.DataFrame) -> Trouble | None:
    """The last fifth of steps has a mean loss not two standard errors below that of the first fifth; no evaluation was
    a gain.
    """
    steps = _finite(steps, "loss")
    loss = steps["loss"].to_numpy(dtype=np.float64)
    gained = scores[(scores["split"] == "validation") & (scores["step"] > 0)]["best"].astype(bool).any()
    if run.status == "diverged" or len(loss) < STEPS_TO_JUDGE or gained:
        return None
    fifth = len(loss) // 5
    start, end = loss[:fifth], loss[-fifth:]
    noise = float(np.sqrt(start.var(ddof=1) / fifth + end.var(ddof=1) / fifth))
    if end.mean() < start.mean() - 2 * noise:
        return None
    step = steps["step"].to_numpy()  # a long run's frame leaves out steps
    first, last = step[fifth - 1] - step[0] + 1, step[-1] - step[-fifth] + 1
    return Trouble(
        "flat",
        f"The mean training loss of the first {first} steps is {start.mean():.4f}, that of the last {last} "
        f"{end.mean():.4f}.",
    )


def overfitting(run: Run, steps: pd.DataFrame, scores: pd.DataFrame) -> Trouble | None:
    """Several evaluations followed the best one, the later worse than the earlier, while the training loss kept
    falling.
    """
    metric = run.settings.selection_metric
    if run.status in ("diverged", "failed") or metric not in scores:
        return None
    evaluations, steps = _finite(scores[scores["split"] == "validation"], metric), _finite(steps, "loss")
    if len(evaluations) <= EVALUATIONS_PAST_BEST:
        return None
    sign = -METRICS[metric].sign
    cost = sign * evaluations[metric].to_numpy(dtype=np.float64)
    best = int(cost.argmin())
    past = cost[best + 1 :]
    if best == 0 or len(past) < EVALUATIONS_PAST_BEST or past[len(past) // 2 :].mean() <= past[: len(past) // 2].mean():
        return None
    best_step = int(evaluations["step"].iloc[best])
    loss = steps["loss"][steps["step"] > best_step], steps["loss"][steps["step"] <= best_step]
    if len(steps) < STEPS_TO_JUDGE or not loss[0].mean() < loss[1].mean():
        return None
    label = METRICS[metric].written
    then, now = (METRICS[metric].text(sign * one, cost[-1] - cost[best]) for one in (cost[best], cost[-1]))
    return Trouble(
        "overfitting",
        f"Validation {label} was best at step {best_step} ({then}) and is {now} at the last evaluation, while the "
        "training loss fell"
        f" from {loss[1].mean():.4f} to {loss[0].mean():.4f} on average.",
    )


def no_gain(run: Run) -> Trouble | None:
    """No trained state was better than the pretrained one."""
    if run.result is None or run.result.best_step > 0 or run.status not in RANKED:
        return None
    metric = run.settings.selection_metric
    seen = "No evaluation on the validation rows beat zero-shot, so the pretrained weights are kept"
    zero_shot = run.result.zero_shot_validation.get(metric, math.nan)
    return Trouble(
        "no gain",
        seen
        + (f" ({METRICS[metric].written} {METRICS[metric].text(zero_shot)})." if math.isfinite(zero_shot) else "."),
    )


def behind(run: Run, full: Run | None, plan: RunPlanned | None) -> Trouble | None:
    """Full fine-tuning has a better validation accuracy by more than about one standard error, 1 / sqrt(rows)."""
    if run.settings.strategy != "peft" or run.result is None or full is None or full.result is None or plan is None:
        return None
    ours, theirs = (result.validation.get("accuracy", math.nan) for result in (run.result, full.result))
    if not plan.validation_rows**-0.5 < theirs - ours < math.inf:
        return None
    return Trouble(
        "behind",
        f"Validation accuracy is {ours:.4f}; full fine-tuning with the same seed has {theirs:.4f}, more than one "
        "standard error above it.",
    )


def too_good(run: Run) -> Trouble | None:
    """The pretrained model leaves nothing to gain."""
    if run.result is None or run.result.validation.get("accuracy", run.result.validation.get("r2", 0.0)) != 1.0:
        return None
    return Trouble("too good", "The pretrained model predicts every validation row right, so no run can improve on it.")


def _finite(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows whose number is usable; beyond ``LARGEST`` their mean or spread would not be finite."""
    return frame[frame[column].astype(np.float64).abs() <= LARGEST]
