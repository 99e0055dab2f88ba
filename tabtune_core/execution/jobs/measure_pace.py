"""Measures the time and memory of training on this machine before the first run: a few steps, then one evaluation.

In: settings of runs that a person is about to start. Out: seconds per step and bytes, with what they were measured on.
"""

import dataclasses
import math
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tabtune_core.analysis.runtime_estimate import TrainedOn
from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.task import features_of, prepare
from tabtune_core.devices import own_chance, resolve_device
from tabtune_core.events import Evaluated, Event, StepDone, StopRequest
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings
from tabtune_core.settings.training import FORWARD_COST
from tabtune_core.store.run_folder import LAST_STATE
from tabtune_core.training.memory.meters import MemoryMeter
from tabtune_core.training.session import PRIVATE, Environment, Plan, open_session
from tabtune_core.training.train_phase import train_model
from tabtune_core.training.zero_shot import ZeroShot

STEPS = 4
"""Steps per kind of run. The first one warms up and is not counted."""
MOST_SECONDS = 8.0
"""Time of the steps of a kind after which neither another step nor the evaluation starts."""
MOST_CELLS = 100_000
"""Most rows x features of a step; for a wider table (857 columns: 40 s a step, 4 GB) steps have fewer rows."""


def measure_pace(home: Path, folder: Path, *, settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Measures for each run the seconds per step, with a share of an evaluation, and the growth of memory in bytes."""
    measured = []
    folder.mkdir(parents=True, exist_ok=True)
    for one in settings:
        with tempfile.TemporaryDirectory(dir=folder) as states:
            measured.append(_measured(RunSettings.from_dict(one), home, Path(states)))
    return {"measured": measured}


def _measured(settings: RunSettings, home: Path, folder: Path) -> dict[str, Any]:
    device, dataset = resolve_device(settings.device), get_dataset(home, settings.dataset)
    features, events = features_of(dataset.columns, settings), list[Event]()
    short, is_shrunk = _short(settings, features)

    def enough() -> StopRequest | None:
        seconds = [event.seconds for event in events if isinstance(event, StepDone)]
        done = seconds and (seconds[-1] > MOST_SECONDS or (is_shrunk and len(seconds) == STEPS - 1))
        return "cancel" if done else None

    plan = Plan.of(short, features=features, device=device)
    with MemoryMeter(device, lambda event: None) as meter:
        environment = Environment(
            meter=meter,
            folder=folder,
            emit=events.append,
            shared=folder / PRIVATE,
            last_state=folder / LAST_STATE,
            stop_request=enough,
        )
        with own_chance(device, settings.seed):
            frame = load_frame(home, settings.dataset)
            limit = plan.card.family.class_limit
            read = partial(prepare, frame, dataset.columns, plan.shown, max_classes=limit)
            session = open_session(plan, read, environment)
            # every evaluation beats these scores, so that states are kept and take memory as in a run
            worst = -math.inf if METRICS[settings.selection_metric].higher_is_better else math.inf
            train_model(session, ZeroShot({}, {}, {settings.selection_metric: worst}))
    trained_on = TrainedOn.of(session.plan)
    return {
        "settings": settings.to_dict(),
        **dataclasses.asdict(trained_on),
        "seconds_a_step": _seconds_a_step(events, trained_on, settings, short),
        "growth_bytes": None if is_shrunk else meter.growth_bytes["train"],
    }


def _short(settings: RunSettings, features: int) -> tuple[RunSettings, bool]:
    """Returns the settings of a few steps, and whether they have fewer rows than those of the run."""
    train = settings.train
    share = min(1.0, MOST_CELLS / max(1, features * (train.context_rows + train.batch_size)))
    shrunk = ("context_rows", "batch_size") if share < 1 else ()
    fewer = {name: max(10, int(share * getattr(train, name))) for name in shrunk}
    return settings.changed(steps=STEPS, eval_every=STEPS, time_limit=None, **fewer), bool(fewer)


def _seconds_a_step(events: list[Event], trained_on: TrainedOn, settings: RunSettings, short: RunSettings) -> float:
    """Returns the time of a step of the run, with its share of an evaluation."""
    steps = [event.seconds for event in events if isinstance(event, StepDone)] or [0.0]  # no row could be scored
    step = (steps[-1] - steps[0]) / (len(steps) - 1) if len(steps) > 1 else steps[0]
    size = trained_on.size_of(settings)
    step *= size.cells / trained_on.size_of(short).cells
    rows = (size.shown + size.validation) / (size.context + size.query)
    by_rows = step * FORWARD_COST * settings.train.views * rows
    evaluated = next((event.seconds - steps[-1] for event in events if isinstance(event, Evaluated)), by_rows)
    return step + evaluated / size.eval_every
