"""The worker's rules for every executor: starts queued runs, passes on requests, keeps the store's rows up to date.

In: queued runs, jobs and requests. Out: runs and jobs that have ended. Never loads torch.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tabtune_core.errors import FULL_MEMORY_CLASSES, ShortageError, StoreError
from tabtune_core.events import RunFailed, RunPlanned
from tabtune_core.execution.child import discard, memory_advice
from tabtune_core.execution.executor import AGAIN, LOCAL, Ended, Executor, Task
from tabtune_core.execution.halving import advance, call_back
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.processes import kill
from tabtune_core.search.turn import Searching
from tabtune_core.shortage import named, why_nothing_starts
from tabtune_core.store.event_log import PATIENCE_SECONDS
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.runs import RunStore

POLL_SECONDS = 0.3
AGAIN_SECONDS = 1.0
"""Wait before another try after a shortage, such as a full disk."""
RECONCILE_SECONDS = 3.0
MOST_WORKERS = 20
"""Times that a run whose worker ended is resumed by the next one; a run whose own process ended is resumed once."""
WORKER_ENDED = Ended("Its worker had ended, and its process with it.", AGAIN)
UNSTARTED = (
    f"For {PATIENCE_SECONDS:.0f} seconds no process could be started for it. The worker's log says why; memory may be "
    "short. End other programs or give the container more memory, then resume it."
)

_log = logging.getLogger(__name__)


class Worker:
    """The running tasks, and the rules for starting, ending and closing them."""

    def __init__(self, store: RunStore, executor: Executor[Any], lanes: JobLanes, *, resume: bool = True) -> None:
        self.store, self.executor, self.lanes, self.resume = store, executor, lanes, resume
        self.tasks: list[Task] = []
        self.searching = Searching(store)
        self.leaving = False
        self.lacking = ""
        """What the machine lacked in the last turn, empty if nothing; no run ends because of it: all is tried again."""

    def leave(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: the worker ends, and the next one goes on with its runs."""
        self.leaving = True

    def turn(self, *, reconcile: bool) -> bool:
        """Starts, watches and closes runs and jobs once; returns whether there is nothing left to do."""
        lacked, self.lacking, started = self.lacking, "", False
        if reconcile:
            with self.surviving(lacked):
                self.reconcile()
        with self.surviving(lacked):
            self.lanes.look()
        with self.surviving(lacked):
            advance(self.store, {task.id for task in self.tasks})
            self.searching.look({task.id for task in self.tasks}, self.is_free, here=self.executor.name == LOCAL)
            started = self.start_next()
        if started:
            return False  # there may be a slot for another run
        if not (self.tasks or self.lanes.going or self.lacking):
            return True
        ending = self.executor.wait(self.tasks, self.lanes.sentinels(), POLL_SECONDS)
        for task in list(self.tasks):
            with self.surviving(lacked):
                self.look_at(task)
        if self.lacking and ending:
            time.sleep(AGAIN_SECONDS)  # a task that has ended but could not be closed would end the next wait at once
        return False

    @contextlib.contextmanager
    def surviving(self, known: str = "") -> Iterator[None]:
        """Logs a shortage inside the block, such as a full disk, unless it was ``known`` before, and suppresses it.

        Errors of a workspace that is no longer in place are suppressed too: the worker ends with it.
        """
        try:
            with named(folder=self.store.home):
                yield
        except ShortageError as error:
            self.lacking = error.lack
            if error.lack != known:
                _log.warning("%s The worker tries again.", error)
        except StoreError:
            if self.store.is_in_place():
                raise

    def reconcile(self) -> None:
        """Queues runs again that say 'running' and are not this worker's: their worker and their process have ended.

        What is left of such a process is killed first, so that no two processes ever write one run.
        """
        known = {task.id for task in self.tasks}
        for run in self.store.runs(status="running"):
            if run.id in known:
                continue
            if run.identity is None and run.pid == os.getpid():  # a shortage came between the claim and the process
                self.store.unclaim(run.id, os.getpid())
            elif kill(run.pid, run.identity):
                self.close(run, WORKER_ENDED, most=MOST_WORKERS)
        self.lanes.reconcile()

    def is_free(self, run: Run) -> bool:
        """Whether there is a place for such a run now."""
        return self.executor.place([run], self.tasks) is not None

    def start_next(self) -> bool:
        """Starts the next queued run that has a place; returns whether there was one."""
        queued = self.store.runs(status="queued")
        placement = self.executor.place(queued, self.tasks) if queued else None
        if placement is None:
            return False
        if why := why_nothing_starts(self.store.home):
            raise ShortageError(f"{why} Queued runs wait.", "room")
        pid, put = os.getpid(), {"slot": placement.slot, "executor": self.executor.name, "node": placement.node}
        run = self.store.claim(pid, None, placement.run.id, **put)
        if run is None:
            return True  # cancelled meanwhile; the next one may have a place
        if task := self.executor.start(run, placement):
            self.tasks.append(task)
        elif self.executor.name == LOCAL:
            self.store.finish(run.id, "interrupted", error=UNSTARTED)
        else:
            self.store.unclaim(run.id, pid)
            time.sleep(POLL_SECONDS)
        return True

    def look_at(self, task: Task) -> None:
        """Closes a task that is gone; passes on requests to one that goes on."""
        if task.goes_on:
            run = self.row(task)
            self.executor.ask(task, run.wish if run else "end")
            return
        ended = self.executor.collect(task)
        if run := self.row(task):
            self.close(run, ended, most=1)
        self.tasks.remove(task)
        with contextlib.suppress(StoreError):  # it was deleted
            call_back(self.store, task.id)

    def row(self, task: Task) -> Run | None:
        """Returns the row of the task's run; None if it has ended or was deleted."""
        with contextlib.suppress(StoreError):
            run = self.store.run(task.id)
            return None if run.status == "waiting" or run.status in ENDED else run
        return None

    def stop(self) -> None:
        """Ends what runs, because this worker ends: its runs are queued again, and its jobs are not."""
        for task in self.tasks:
            with self.surviving():
                task.end()
                self.executor.collect(task)
                if (run := self.row(task)) and run.wish != "cancel":
                    self.store.requeue(run.id, "Its worker was ended.")
                elif run:
                    self.close(run, WORKER_ENDED, most=0)
        with self.surviving():
            self.lanes.stop()

    def close(self, run: Run, ended: Ended, *, most: int) -> None:
        """Ends the row of a run that is gone, or queues it again if it was resumed fewer than ``most`` times."""
        _log.warning("Run %s: its process is gone.", run.id)
        report = self.store.last_event(run.id, RunFailed)
        why = ended if report is None else Ended(report.message, AGAIN)  # the run's own report takes precedence
        if run.wish == "cancel":
            discard(self.store.run_dir(run.id))
            self.store.finish(run.id, "cancelled")
        elif self.resume and run.resumptions < most:
            self.store.requeue(run.id, why.cause)
        else:
            advice = why.way_out or memory_advice(run.settings, self.store.last_event(run.id, RunPlanned))
            text = f"{why.cause} {advice}"
            if not why.way_out:  # so that pages recognise it as out of memory
                self.store.append(run.id, RunFailed(text, FULL_MEMORY_CLASSES[0]))
            self.store.finish(run.id, "interrupted", error=text)
