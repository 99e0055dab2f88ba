"""Real workers for tests, in a process of their own, with only the computation of runs faked."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import ENDED

TESTS = Path(__file__).parent
PROGRAM = """
import sys
from pathlib import Path
from tabtune_core.execution import cores, local, processes, service
from tabtune_core.execution.worker_flags import ExecutorChoice
processes.GRACE_SECONDS = 0.3
service.RECONCILE_SECONDS = 0.3
flags = sys.argv[2:]
numbers = {name: int(number) for name, _, number in (flag.partition("=") for flag in flags) if name in ("parallel", "threads")}
shares = cores.divide(numbers.get("parallel", 1), numbers.get("threads"))
clusters = [ExecutorChoice("ray", word.removeprefix("ray=")).opener() for word in flags if word.startswith("ray=")]
service.run_worker(
    Path(sys.argv[1]),
    exit_when_idle="exit-when-idle" in flags,
    resume="no-resume" not in flags,
    executor=(clusters or [lambda *given: local.LocalExecutor(*given, shares=shares)])[0],
    experiment="fake_experiment",
    jobs="fake_jobs",
)
"""


def start_worker(home, *flags, before=""):
    """Starts a worker's process, one run at a time unless a flag says "parallel=2"; ``before`` is code run first."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS / "fakes")])}
    with (home / "worker.log").open("ab") as log:
        command = [sys.executable, "-c", before + PROGRAM, str(home), *flags]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def open_worker(store, *, resume=True):
    """Makes a worker in this process; it starts nothing by itself."""
    from tabtune_core.execution.job_lanes import JobLanes
    from tabtune_core.execution.local import LocalExecutor
    from tabtune_core.execution.processes import forkserver
    from tabtune_core.execution.worker import Worker

    context = forkserver("fake_experiment", "fake_jobs")
    executor, lanes = LocalExecutor(store, context, "fake_experiment"), JobLanes(store, context, "fake_jobs")
    return Worker(store, executor, lanes, resume=resume)


def queue(store, *targets, devices=(), **more):
    """Queues fake runs that act by their targets, on 'auto' unless ``devices`` are given, and returns their ids."""
    wanted = devices or ["auto"] * len(targets)
    pairs = zip(targets, wanted, strict=True)
    return store.add_sweep([RunSettings(dataset="d", target=target, device=on, **more) for target, on in pairs])[1]


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.05)


def wait_for_end(store, run_id, seconds=120):
    wait_until(lambda: store.run(run_id).status in ENDED, seconds)
    return store.run(run_id)


def steps_of(store, run_id):
    return [stored.event.step for stored in store.events(run_id, ["StepDone"])]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def working(store, *flags, before=""):
    """Has a worker in the store's folder, and kills it with all that runs there."""
    worker = start_worker(store.home, *flags, before=before)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()
