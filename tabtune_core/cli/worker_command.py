"""``worker`` executes queued runs, says what the worker does, or ends it; ``doctor`` checks what runs need."""

import argparse
import logging
import time

from tabtune_core.cli.terminal import say, shown
from tabtune_core.errors import StoreError
from tabtune_core.execution.cluster import why_not_joined
from tabtune_core.execution.doctor import examine, report
from tabtune_core.execution.executor import LOCAL
from tabtune_core.execution.lock import is_stopped, stop_workers, worker_of
from tabtune_core.execution.worker_flags import chosen
from tabtune_core.shortage import raise_file_limit, why_nothing_starts
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted

STOP_SECONDS = 60.0
"""How long to wait for a worker that was asked to end: it may still be loading modules."""


def work(asked: argparse.Namespace) -> int:
    """Executes queued runs, or shows or stops the worker if the flags say so."""
    from tabtune_core.execution.service import run_worker

    if asked.stop:
        return _stop(RunStore(asked.home))
    if asked.status:
        return _show_status(RunStore(asked.home))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    choice = chosen(asked)
    raise_file_limit()
    how = {"exit_when_idle": asked.exit_when_idle, "resume": not asked.no_resume, "started_by": asked.started_by}
    run_worker(asked.home, executor=choice.opener(), **how)
    return 0


def _show_status(store: RunStore) -> int:
    worker = worker_of(store.home)
    if worker is None:
        how = "was stopped with 'loralab worker --stop'" if is_stopped(store.home) else "is not running"
        print(f"The worker of {store.home} {how}.")
    else:
        print(f"The worker of {store.home} is process {worker}.")
    if waits := why_nothing_starts(store.home):
        print(f"No queued run can start: {waits}")
    if worker is None and (why := why_not_joined(store.home)):
        print(f"The last worker ended: {why}")
    for run in store.runs(status="running"):
        print(shown(f"Running: run {run.name} ({run.id}), {_where(run)}."))
    print(f"Queued: {counted(len(store.runs(status='queued')), 'run')}.")
    return 0 if worker is not None else 1


def _where(run: Run) -> str:
    """Says where it runs, for example ``process 4711 on cpu:0-3 of lab1``."""
    if not run.node:
        return f"process {run.pid}"
    place = f"on {run.slot} of {run.node}"
    return f"process {run.pid} {place}" if run.executor == LOCAL else f"{place}, by {run.executor}"


def _stop(store: RunStore) -> int:
    """Ends the worker and what it runs, and waits until it has ended."""
    worker, deadline = worker_of(store.home), time.monotonic() + STOP_SECONDS
    stop_workers(store.home)
    if worker is None:
        say(f"No worker runs in {store.home}.")
        return 0
    while worker_of(store.home) is not None:
        if time.monotonic() > deadline:
            log = f"Its log is {store.home / 'worker.log'}; 'kill -9 {worker}' ends it."
            raise StoreError(f"The worker of {store.home} was asked to end and has not. {log}")
        time.sleep(0.05)
    say(f"The worker of {store.home}, process {worker}, has ended; no queued run is started.")
    if waiting := store.runs(status="queued"):
        say(f"Queued: {counted(len(waiting), 'run')}. 'loralab worker' resumes those that were running.")
    return 0


def diagnose(asked: argparse.Namespace) -> int:
    """Prints the checks; returns 1 if one found a problem that keeps runs from working."""
    checks = examine(asked.home)
    print(report(checks))
    return int(any(check.state == "problem" for check in checks))
