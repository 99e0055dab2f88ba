"""``loralab worker``: executes queued runs, says what the worker of a workspace does, and ends it.

Exit status of ``--status``: 0 if a worker runs and responds, else 1.
"""

import argparse
import logging
import time
from pathlib import Path

from tabtune_core.cli.terminal import moment, say, shown, suspended
from tabtune_core.errors import StoreError
from tabtune_core.execution.cluster_file import why_not_joined
from tabtune_core.execution.executor import LOCAL, RAY
from tabtune_core.execution.lock import (
    LOCK,
    MAKE_WAY_SECONDS,
    Holder,
    ask_to_leave,
    is_stopped,
    stop_workers,
    worker_of,
)
from tabtune_core.execution.worker_flags import ExecutorChoice, chosen
from tabtune_core.shortage import check_limits, why_nothing_starts
from tabtune_core.store.jobs import Job
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.wording import counted


def work(asked: argparse.Namespace) -> int:
    """Executes queued runs, or shows or stops the worker if the flags say so."""
    from tabtune_core.execution.service import run_worker

    if asked.now and not asked.stop:
        raise StoreError("--now says how to stop the worker. Give --stop --now.")
    if asked.stop:
        choice = ExecutorChoice(asked.executor, asked.ray_address, asked.gpu_share)
        return _stop(RunStore(asked.home), choice, now=asked.now)
    if asked.status:
        return _show_status(RunStore(asked.home))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    choice = chosen(asked)
    check_limits()
    run_worker(
        asked.home,
        exit_when_idle=asked.exit_when_idle,
        resume=not asked.no_resume,
        job_minutes=asked.job_minutes,
        notify=asked.notify,
        unless_stopped=asked.unless_stopped,
        executor=choice.opener(),
    )
    return 0


def _show_status(store: RunStore) -> int:
    worker = worker_of(store.home)
    if worker is None:
        how = "was stopped with 'loralab worker --stop'" if is_stopped(store.home) else "is not running"
        print(f"The worker of {store.home} {how}.")
    else:
        since = moment(worker.since) if worker.since else "an unknown time"
        process = f"process {worker.pid}" if worker.pid else f"a process that {store.home / LOCK} does not name"
        print(f"The worker of {store.home} is {process}, version {worker.version}, since {since}.")
        if worker.suspended:
            print(suspended(worker.pid))
        elif worker.outdated:
            print("It is of another version than this program; the next worker that is started takes over from it.")
    if waits := why_nothing_starts(store.home):
        print(f"No queued run can start: {waits}")
    if worker is None and (why := why_not_joined(store.home)):
        print(f"The last worker ended: {why}")
    for line in _what_runs(store):
        print(shown(f"Running: {line}"))
    print(
        f"Queued: {counted(len(store.runs(status='queued')), 'run')}, "
        f"{counted(len(store.jobs(status='queued')), 'job')}."
    )
    return 0 if worker is not None and not worker.suspended else 1


def _what_runs(store: RunStore) -> list[str]:
    going: list[Run | Job] = [*store.runs(status="running"), *store.jobs(status="running")]
    return [
        f"{'run ' + one.name if isinstance(one, Run) else 'job ' + one.kind} ({one.id}), {_where(one)}."
        for one in going
    ]


def _where(one: Run | Job) -> str:
    """Says where it runs, for example ``process 4711 on cpu:0-3 of lab1``."""
    if not isinstance(one, Run) or not one.node:
        return f"process {one.pid}"
    place = f"on {one.slot} of {one.node}"
    return f"process {one.pid} {place}" if one.executor == LOCAL else f"{place}, by {one.executor}"


def _stop(store: RunStore, choice: ExecutorChoice, *, now: bool) -> int:
    """Ends the worker; with ``now`` also the running runs and jobs."""
    from tabtune_core.execution.service import end_everything

    worker = worker_of(store.home)
    stop_workers(store.home)
    if worker is None:
        say(f"No worker runs in {store.home}.")
    else:
        _see_off(store.home, worker)
        say(f"The worker of {store.home}, process {worker.pid}, has ended; no queued run is started.")
    left = end_everything(store.home, choice.opener()) if now else []
    for line in _what_runs(store):
        say(f"Goes on: {line}")
    others = {run.executor or LOCAL for run in store.runs(status="running")} - {choice.executor} if now else set()
    for name in sorted(others):
        say(f"Runs of the executor '{name}' were not ended. To end them: loralab worker --stop --now --executor {name}")
    if left:
        say(
            "These processes may belong to other programs, so they were not ended. End them by process id if they "
            "are yours."
        )
    elif not now and _what_runs(store):
        say("The next worker takes it over. To end it too: loralab worker --stop --now")
        if any(run.executor == RAY for run in store.runs(status="running")):
            say(
                "Only a worker with --executor ray takes over the runs of a Ray cluster; --stop --now --executor ray "
                "ends them."
            )
    return 1 if left or others else 0


def _see_off(home: Path, worker: Holder) -> None:
    """Asks a worker to end, and waits until it has."""
    if worker.suspended:
        raise StoreError(f"The worker of {home} is process {worker.pid}. {suspended(worker.pid)}")
    if not worker.pid:
        raise StoreError(
            f"{home / LOCK} does not say which process the worker is. End the one that 'fuser {home / LOCK}' names."
        )
    if not ask_to_leave(home, worker):
        raise StoreError(
            f"The worker of {home} is of an earlier version, which cannot be asked to end. End it with 'kill "
            f"{worker.pid}'."
        )
    deadline = time.monotonic() + MAKE_WAY_SECONDS
    while (there := worker_of(home)) is not None and there.identity == worker.identity:
        if time.monotonic() > deadline:
            raise StoreError(
                f"The worker of {home} was asked to end and has not. Its log is {home / 'worker.log'}; 'kill -9 "
                f"{worker.pid}' ends it."
            )
        time.sleep(0.05)
