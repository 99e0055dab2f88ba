"""Sends the ended runs of a sweep of the workspace to a tracker.

In: the store and a tracker. Out: what the tracker did not have. The store stays the source of truth and is only read.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from tabtune_core.analysis.comparison import half_widths
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.run_curves import METER_COLUMNS
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.data.findings import shorten
from tabtune_core.errors import TabTuneError, TrackerError
from tabtune_core.events import Evaluated, MemorySampled, PhaseDone, StepDone
from tabtune_core.metrics import METRICS
from tabtune_core.settings import SETTINGS, RunSettings
from tabtune_core.shortage import shortage_of
from tabtune_core.store.event_log import Stored
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.tracking import Row, SentRun, Tracker, Value
from tabtune_core.wording import counted

CURVES = ("StepDone", "Evaluated", "MemorySampled", "PhaseDone")
"""The events that are sent, which hold only numbers. Notes and errors quote cells of the table."""
FORMAT = 1
_OF_SETTINGS = frozenset({"place", "rank", "alpha", "dropout", "learning_rate", "seed", "archived"})


def send(store: RunStore, sweep: str, tracker: Tracker) -> str:
    """Sends the ended runs of a sweep that the tracker does not have; returns a sentence about what it has.

    Raises:
        StoreError: there is no such sweep.
        TrackerError: the tracker did not accept a run.
        ShortageError: the machine lacks something, such as room on the disk of the tracker's files.
    """
    experiment = f"{store.sweep(sweep).name[:60] or 'Sweep'} {sweep}"
    runs, new = store.runs(sweep), 0
    for run in runs:
        if run.status not in ENDED or run.started is None:
            continue
        try:
            new += _send_one(store, run, experiment, tracker)
        except TabTuneError:
            raise
        except Exception as error:
            raise _refusal(tracker, error) from error
    going = sum(run.status not in ENDED for run in runs)
    rest = f" Not ended yet: {counted(going, 'run')}; export it again later." if going else ""
    return f"{tracker.title} has the sweep {sweep}; {counted(new, 'run')} of it new or changed.{rest}"


def _send_one(store: RunStore, run: Run, experiment: str, tracker: Tracker) -> bool:
    """Sends a run unless the tracker has it as it is; returns whether it was sent."""
    results = _results(store, run) if run.result else {}
    facts = [run.name, run.note, run.status, run.resumptions, store.last_seqs(run.id, CURVES), results]
    stamp = hashlib.sha256(json.dumps([FORMAT, *facts], sort_keys=True).encode()).hexdigest()
    last = Row(run.result.steps_done if run.result else 0, run.ended or run.created, results)
    sent = SentRun(
        id=run.id,
        name=run.name,
        sweep=run.sweep,
        experiment=experiment,
        started=run.started or run.created,
        settings=dict(_settings(run.settings)),
        tags={"loralab.sweep": run.sweep, "loralab.run": run.id} | ({"loralab.note": run.note} if run.note else {}),
        status=run.status,
        rows=[last],
        stamp=stamp,
    )
    if tracker.stamp(sent) == stamp:
        return False
    tracker.send(dataclasses.replace(sent, rows=[*_rows(store.events(run.id, CURVES)), last]))
    return True


def _refusal(tracker: Tracker, error: Exception) -> TabTuneError:
    text = str(error).strip().removeprefix(f"[Errno {getattr(error, 'errno', '')}] ")
    first = next(iter(text.splitlines()), type(error).__name__)
    doing = f"{tracker.title} did not accept the sweep, which the workspace still has"
    of_server = "its address and your login are right and the network is up"
    check = f"files can be written in {str(tracker.folder)!r}" if tracker.folder else of_server
    what = f"{doing}. Check that {check}, and export it again. It said: {shorten(first, 160)}"
    return shortage_of(error, doing, tracker.folder) or TrackerError(what)


def _rows(events: Sequence[Stored]) -> Iterator[Row]:
    """Yields one row per event."""
    step = 0
    for one in events:
        match one.event:
            case StepDone() as done:
                step = done.step
                values = _named("train", done, ("loss", "gradient_norm", "learning_rate", "seconds"))
            case Evaluated() as scored:
                values = {f"{scored.split}/{name}": value for name, value in scored.scores.items()}
            case MemorySampled() as sample:
                values = _named("memory", sample, METER_COLUMNS)
            case PhaseDone() as phase:
                peaks = {f"phase/{phase.phase}/peak_{meter}_bytes": peak for meter, peak in phase.peak_bytes.items()}
                values = _named(f"phase/{phase.phase}", phase, ("seconds", "growth_bytes")) | peaks
            case _:
                continue
        if known := {name: float(value) for name, value in values.items() if value is not None}:
            yield Row(one.event.step if isinstance(one.event, Evaluated) else step, one.time, known)


def _named(prefix: str, event: object, names: Sequence[str]) -> dict[str, Any]:
    return {f"{prefix}/{name}": getattr(event, name) for name in names}


def _settings(settings: RunSettings) -> Iterator[tuple[str, Value]]:
    """Yields the settings that matter to the strategy, by their names in TOML; a list becomes one text."""
    for row in SETTINGS.values():
        value = settings.value(row.name)
        if settings.strategy in row.strategies and value not in (None, (), {}) and not settings.is_replaced(row.name):
            yield row.path, value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _results(store: RunStore, run: Run) -> dict[str, float]:
    """Returns the numbers of the run's line on the leaderboard, with the ± of its scores and gains."""
    metric = METRICS[run.settings.selection_metric]
    line = of_task(leaderboard([run], metric.name), run.settings.task).iloc[0].to_dict()
    halves = half_widths(run.id, metric, partial(read_predictions, store))
    line |= {half_width(name): half for name, half in halves.items() if not pd.isna(line.get(name))}
    numbers = ((name, value) for name, value in line.items() if isinstance(value, int | float))
    return {f"result/{n}": float(v) for n, v in numbers if n not in _OF_SETTINGS and math.isfinite(v)}
