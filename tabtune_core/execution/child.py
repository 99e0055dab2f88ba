"""The process of a run or job: carries it out and ends its row whatever happens."""

import contextlib
import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

from tabtune_core.engine.preforked_process import FreshProcess, die_with
from tabtune_core.errors import (
    FULL_MEMORY_CLASSES,
    Cancelled,
    MovedError,
    ShortageError,
    StoreError,
    TabTuneError,
    Waiting,
    is_out_of_memory,
)
from tabtune_core.events import RunFailed, RunFinished, RunPlanned
from tabtune_core.execution.cores import stay_on
from tabtune_core.execution.processes import NO_ROOM_STATUS, identity_of
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.settings.sweep import rungs_ahead
from tabtune_core.shortage import shortage_of
from tabtune_core.store.event_log import patiently, teller
from tabtune_core.store.run_folder import LOG
from tabtune_core.store.runs import RunStore
from tabtune_core.training.clock import disturbed

HEARTBEAT_SECONDS = 1.0
BEYOND_A_GRID = "invalid configuration argument"
"""CUDA's error for attention over more tables at once than a grid has blocks (pytorch#142228)."""
FIRST_TO_GO = 500
"""Added to a run's score for the kernel's OOM killer (at most 1000), so that it kills the run and not the pages."""
JOB_ADVICE = "Wait until other runs have ended, or ask for fewer rows or adapters at once."


def memory_advice(settings: RunSettings, plan: RunPlanned | None) -> str:
    """Says which settings to lower if memory was full, with their present values and the rows of a step."""
    if settings.strategy in REFERENCES:
        return "It holds all training rows at once: run it again when other programs have ended, or leave columns out."
    train = settings.train
    predicting = f"predict_context_rows (now {train.predict_context_rows or 'all that fit'})"
    if settings.strategy == "inference":
        return f"Lower {predicting}, and run it again."
    context, query = train.context_rows, train.batch_size
    if plan is not None:
        context, query = plan.train_context_rows or plan.context_rows, plan.query_rows
    context_now, query_now = _now(train.context_rows, context), _now(train.batch_size, query)
    return (
        f"Lower context_rows (now {context_now}), then batch_size (now {query_now}), or, if predictions did not fit, "
        f"{predicting}, and run it again; the LoRA rank hardly changes the memory."
    )


def _now(asked: int, used: int) -> str:
    """Writes a number of rows that was asked for, and the smaller one that a step has.

    >>> _now(512, 512), _now(512, 135)
    ('512', '512, but a step has only 135: go below that')
    """
    return f"{asked}, but a step has only {used}: go below that" if used < asked else str(asked)


def discard(run_dir: Path) -> None:
    """Empties the folder of a cancelled run or job, except its log."""
    for path in run_dir.iterdir() if run_dir.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOG:
            path.unlink()


@contextlib.contextmanager
def _needs_its_workspace() -> Iterator[None]:
    """Ends this process with a sentence if its workspace was moved: there is nothing left to report to."""
    try:
        yield
    except MovedError as error:
        sys.exit(str(error))


@_needs_its_workspace()
def run_child(
    home: Path,
    run_id: str,
    experiment: str,
    device: str | None,
    cores: Collection[int] = (),
    threads: int | None = None,
) -> None:
    """Carries out one run on ``device`` (None: the one in its settings), and ends when its worker ends.

    The process is pinned to ``cores`` (empty: all) and computes with ``threads`` (None: the libraries' choice). On a
    shortage that may pass it ends with NO_ROOM_STATUS: its run was interrupted, and its last state stays.
    """
    _stand_apart()
    if threads is not None:
        stay_on(cores, threads)
    try:
        _run(home, run_id, experiment, device)
    except Exception as error:
        lacking = shortage_of(error, folder=home)
        if lacking is None or not lacking.passes:
            raise
        with contextlib.suppress(OSError):  # the log's disk may be what is full
            traceback.print_exception(error)
            sys.stdout.flush()
        os._exit(NO_ROOM_STATUS)  # an ordinary exit would write what is left for the log, and change the status


def _run(home: Path, run_id: str, experiment: str, device: str | None) -> None:
    store = patiently(lambda: RunStore(home, existing=True))
    log = store.run_dir(run_id) / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    write_to(log)
    fresh = FreshProcess()  # while this process has only one thread
    _end_with_worker()
    patiently(lambda: store.set_process(run_id, os.getpid(), identity_of(os.getpid())))
    run = store.run(run_id)
    paused = run.rung > 0 and run.error is None
    if run.resumptions or paused:
        patiently(lambda: store.begin_again(run_id))
    threading.Thread(target=_beat, args=(store, run_id), name="heartbeat", daemon=True).start()
    run_experiment = importlib.import_module(experiment).run_experiment
    race = {"rungs": rungs_ahead(run.rung), "paused": paused}
    _carry_out(store, run_id, partial(run_experiment, given=device, fresh=fresh, **race))


def _carry_out(store: RunStore, run_id: str, run_experiment: Callable[..., RunFinished]) -> None:
    settings, run_dir, tell = store.run(run_id).settings, store.run_dir(run_id), teller(store, run_id)
    try:
        wish = partial(store.wish, run_id)
        result = run_experiment(settings, home=store.home, run_dir=run_dir, emit=tell, stop_request=wish)
        if note := disturbed():
            tell(note)
        if store.wish(run_id) == "cancel":  # asked for after the last check
            raise Cancelled
    except Waiting:
        patiently(lambda: store.wait(run_id))
        return
    except Cancelled:
        discard(run_dir)
        patiently(lambda: store.finish(run_id, "cancelled"))
    except Exception as error:
        lacking = shortage_of(error, "The run could not go on", store.home)
        if lacking is not None and lacking.passes:
            with contextlib.suppress(ShortageError):  # then the worker reports it
                store.append(run_id, RunFailed(str(lacking), type(lacking).__name__))
            # becomes the exit status; the row and the last state stay, so that the run can be resumed
            raise lacking from error
        advice = patiently(lambda: memory_advice(settings, store.last_event(run_id, RunPlanned)))
        message = explain(error, advice, "the run's log", store.home)
        patiently(partial(store.append, run_id, RunFailed(message, kind_of_error(error))))
        patiently(partial(store.finish, run_id, "failed", error=message))
        store.forget_states(run_id)
        raise  # the traceback goes to stderr, which is the log; the exit status says that it failed
    else:
        patiently(lambda: store.finish(run_id, result.outcome, result=result))
    store.forget_states(run_id)


@_needs_its_workspace()
def job_child(home: Path, job_id: str, jobs: str) -> None:
    """Carries out one job, and ends when its worker ends."""
    _stand_apart()
    _end_with_worker()
    store = patiently(lambda: RunStore(home, existing=True))
    folder = store.job_dir(job_id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_to(folder / LOG)
        pid = os.getpid()
        patiently(lambda: store.set_job_process(job_id, pid, identity_of(pid)))
        job, run_job = store.job(job_id), importlib.import_module(jobs).run_job
        result = run_job(job.kind, home=store.home, folder=folder, arguments=job.arguments)
    except Exception as error:
        message = explain(error, JOB_ADVICE, f"the job's log, {folder / LOG}", home)
        patiently(lambda: store.finish_job(job_id, "failed", error=message))
        raise  # the traceback goes to the log
    if store.job(job_id).wish == "cancel":
        discard(folder)
        patiently(lambda: store.finish_job(job_id, "cancelled"))
    else:
        patiently(lambda: store.finish_job(job_id, "finished", result=result))


def _stand_apart() -> None:
    """Makes this process lead its own process group, and the first that Linux kills when memory runs out."""
    os.setsid()
    score = Path("/proc/self/oom_score_adj")
    with contextlib.suppress(OSError):
        score.write_text(str(min(1000, int(score.read_text()) + FIRST_TO_GO)))


def _end_with_worker() -> None:
    """Has this process and its group end when its worker or the forkserver is gone: the next worker resumes its run.

    Nothing else may go on beside a resumed copy of the same run.
    """
    die_with(os.getppid())
    if (worker := multiprocessing.parent_process()) is None:  # a test calls it
        return

    def wait() -> None:
        worker.join()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="worker-gone", daemon=True).start()


def write_to(log: Path) -> None:
    """Redirects everything that this process and its libraries print to a file."""
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)


def _beat(store: RunStore, run_id: str) -> None:
    """Writes heartbeats; ends this process if its workspace was moved, deleted or replaced: nobody sees the result."""
    while store.is_in_place():
        with contextlib.suppress(StoreError, ShortageError):  # it was deleted, or the next beat may fit
            store.beat(run_id)
        time.sleep(HEARTBEAT_SECONDS)
    os._exit(1)


def kind_of_error(error: Exception) -> str:
    """Returns the name of the error's class; all out-of-memory errors have one name."""
    full = is_out_of_memory(error) and not isinstance(error, TabTuneError)
    return FULL_MEMORY_CLASSES[0] if full else type(error).__name__


def explain(error: Exception, advice: str, log: str, home: Path | None = None) -> str:
    """Says what happened and what to do; ``advice`` is what to do if memory was full."""
    if isinstance(error, TabTuneError):
        return str(error)
    if is_out_of_memory(error):
        return f"There was not enough memory. {advice}"
    if BEYOND_A_GRID in str(error):
        return f"The GPU's attention kernels take at most 65,535 rows at once; the run probably needed more. {advice}"
    if lacking := shortage_of(error, folder=home):
        return str(lacking)
    return f"Something unexpected happened ({type(error).__name__}: {error}). The trace is in {log}."
