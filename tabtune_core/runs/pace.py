"""How long a sweep will take, from the user's own earlier runs; what was never run is not known, and no number is made up for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tabtune_core.data.episodes import EpisodeSize
from tabtune_core.events import RunPlanned
from tabtune_core.runs.store import Run
from tabtune_core.settings import TRAINED, RunSettings, Strategy

NEAR = 4
"""Runs whose context has up to so many times more or fewer cells are near enough to scale from."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one finished run trained."""

    strategy: Strategy
    device: str
    """``cpu`` or ``cuda``."""
    cells: int
    """Context rows times features."""
    seconds_a_step: float
    """Looks at the validation rows included."""


def pace_of(run: Run, plan: RunPlanned) -> Pace | None:
    """Of a run with a result; None where nothing was trained."""
    result = run.result
    if result is None or not result.steps_done:
        return None
    device = "cuda" if plan.device.startswith("cuda") else "cpu"
    return Pace(run.settings.strategy, device, plan.context_rows * plan.features, result.train_seconds / result.steps_done)


def train_seconds(runs: Sequence[RunSettings], paces: Sequence[Pace], *, train_rows: int, features: int, device: str) -> float | None:
    """Seconds of training of all these runs if none stops early, one after the other; None where a strategy has no near run.

    The median of the near runs of the same strategy and device, each scaled linearly by context rows times features.
    """
    total, known = 0.0, dict[tuple[Strategy, int], float | None]()
    for run in runs:
        if run.strategy not in TRAINED:
            continue
        train = run.train
        cells = min(train.context_rows, train_rows) * features
        if (run.strategy, cells) not in known:
            near = [
                pace.seconds_a_step * cells / pace.cells
                for pace in paces
                if (pace.strategy, pace.device) == (run.strategy, device) and cells / NEAR <= pace.cells <= cells * NEAR
            ]
            known[run.strategy, cells] = median(near) if near else None
        seconds = known[run.strategy, cells]
        if seconds is None:
            return None
        size = EpisodeSize.plan(train_rows, batch_size=train.batch_size, context_rows=train.context_rows)
        total += seconds * (train.steps or train.epochs * size.steps_an_epoch(train_rows))
    return total
