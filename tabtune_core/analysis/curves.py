"""Frames for charts: a run's events in, one long frame out.

Seconds count from the start of the run, or of training if the event says so; a value that could not be read is NaN,
never 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from tabtune_core.analysis.run_curves import RunCurves
from tabtune_core.events import PhaseStarted, Resumed, RunPlanned, StepDone
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

STEPS_BEFORE_ETA = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    done_steps: int
    total_steps: int | None
    """None until the run is planned."""
    phase: str | None
    """None unless it is running."""
    eta_seconds: float | None
    """Wall time until training ends, if it does not stop early; None until five steps are known, and when all are done.
    """


def frame_of(store: RunStore, ids: Sequence[str], kind: str) -> pd.DataFrame:
    """Returns the rows of one kind in ``run_curves.KINDS``, run after run.

    ``steps``: one row per step: run, step, seconds (since training began), loss (as in StepDone), gradient_norm,
    learning_rate.
    ``scores``: one per evaluation on validation or test rows: run, step, seconds (since training began), split, best, a
    column per metric.
    ``memory``: one per memory sample: run, step (the last done), seconds (since the run started), phase, the meters of
    MemorySampled.
    Each run has at most ``run_curves.MOST`` steps and samples; that module says what is left out.
    """
    frames = [rows for run_id in ids if len(rows := RunCurves(store, run_id).read_on().frames[kind])]
    return pd.concat(frames, ignore_index=True) if frames else RunCurves(store, "").frames[kind]


def progress(store: RunStore, run: Run) -> Progress:
    """Returns the steps done and planned, the phase, and how long training may still take."""
    plan = store.last_event(run.id, RunPlanned)
    last_step, last_phase = (store.last(run.id, kind) for kind in ("StepDone", "PhaseStarted"))
    step, phase = (stored.event if stored else None for stored in (last_step, last_phase))
    total = plan.steps if plan else None
    done = step.step if isinstance(step, StepDone) else 0
    current = phase.phase if isinstance(phase, PhaseStarted) and run.status == "running" else None
    eta = None
    if last_step and last_phase and isinstance(step, StepDone) and total is not None and current == "train":
        passed, limit = last_step.time - last_phase.time, run.settings.train.time_limit
        went_on = store.last_event(run.id, Resumed) if run.resumptions or run.rung > 0 else None
        here = done - (went_on.step if went_on else 0)  # without the steps of an earlier process, or before a rung
        if here >= STEPS_BEFORE_ETA and done < total:  # in wall time, which cached outputs shorten
            eta = passed / here * (total - done)
            if limit is not None and step.seconds > 0:  # the limit is on the run's own clock
                eta = min(eta, max(0.0, limit - step.seconds) * passed / here * done / step.seconds)
    return Progress(done, total, current, eta)
