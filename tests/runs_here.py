"""Runs that this process executes, as the process of a worker would."""

import os
import tempfile
from functools import partial
from pathlib import Path

from tabtune_core.engine import experiment


def run_here(settings, home, *, stop_request=lambda: None, **more):
    """Executes a run that no store knows; returns its result, its events and its folder."""
    (home / "runs").mkdir(exist_ok=True)
    folder, events = Path(tempfile.mkdtemp(dir=home / "runs")), []
    where = {"home": home, "run_dir": folder, "emit": events.append, "stop_request": stop_request}
    return experiment.run_experiment(settings, **where, **more), events, folder


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def carried_out(store, *settings):
    """Queues runs in one sweep, executes them here, and returns them ended."""
    ids = store.add_sweep(settings)[1]
    for run_id, asked in zip(ids, settings, strict=True):
        store.claim(os.getpid(), None, run_id)
        folder, emit = store.run_dir(run_id), partial(store.append, run_id)
        folder.mkdir(parents=True)
        where = {"home": store.home, "run_dir": folder, "emit": emit, "stop_request": lambda: None}
        result = experiment.run_experiment(asked, **where)
        store.finish(run_id, result.outcome, result=result)
    return [store.run(run_id) for run_id in ids]
