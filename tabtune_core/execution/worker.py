"""The worker's rules for every executor: starts queued runs, passes on requests, and keeps the rows of the store up to
date.

In: queued runs, jobs and requests. Out: runs and jobs that have ended. Never loads torch.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from tabtune_core.errors import FULL_MEMORY_CLASSES, ShortageError, StoreError
from tabtune_core.events import Note, RunFailed, RunPlanned
from tabtune_core.execution.child import discard, memory_advice
from tabtune_core.execution.end_messages import EndMessages
from tabtune_core.execution.executor import AGAIN, LOCAL, Ended, Executor, Task
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.job_lanes import JobLanes
from tabtune_core.execution.lock import WorkerLock
from tabtune_core.shortage import named, why_nothing_starts
from tabtune_core.store.event_log import PATIENCE_SECONDS
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.runs import RunStore

POLL_SECONDS = 0.3
AGAIN_SECONDS = 1.0
"""Wait before another try after a shortage, such as a full disk."""
RECONCILE_SECONDS = 3.0
SILENT_SECONDS = 60.0
"""Time without a heartbeat after which a run counts as ended if its process cannot be identified, as after an upgrade
or in another container. Such a process is never signalled.
"""
FOREIGN = (
    "The run was started by the executor '{executor}', and the present worker uses another one: whether the run goes "
    "on is unknown, so it"
    " is not started again here. A worker with --executor {executor} takes it over; Cancel gives it up."
)
UNSTARTED = (
    f"For {PATIENCE_SECONDS:.0f} seconds no process could be started for it: the system ended each one, as happens "
    "when memory is short."
    " End other programs or give the container more memory, then resume it."
)
ENDED_BY_A_PERSON = "It was ended with 'loralab worker --stop --now'."

_log = logging.getLogger(__name__)


def leave_deleted_folder(home: Path) -> None:
    """Moves this process to ``home`` if its current folder was deleted, because no process can be started from there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir(home)


def _is_only_claimed(run: Run) -> bool:
    """Whether this worker, or one that is gone, claimed the run and started no process for it, which would have written
    a heartbeat.
    """
    state = found(run.pid, run.identity)
    if run.pid == os.getpid() and state == "alive":
        return True
    return (run.executor or LOCAL) == LOCAL and run.heartbeat == run.started and state == "gone"


class Worker:
    """The running tasks, and the rules for starting, ending and closing them."""

    def __init__(
        self,
        store: RunStore,
        lock: WorkerLock,
        executor: Executor[Any],
        lanes: JobLanes,
        messages: EndMessages,
        *,
        resume: bool = True,
    ) -> None:
        self.store = store
        self.lock = lock
        self.executor = executor
        self.lanes = lanes
        self.messages = messages
        self.resume = resume
        self.tasks: list[Task] = []
        self.leaving = False
        self.lacking = ""
        """What the machine lacked in the last turn; empty if nothing.

        Runs do not end because of it: everything is tried again.
        """
        self.unstarted: float | None = None
        """Since when no process could be started, in monotonic seconds."""
        self.heard: dict[str, tuple[object, float]] = {}
        """For runs whose process cannot be identified: the heartbeat, and since when it has been the same, in monotonic
        seconds.
        """

    def leave(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: no new run is started."""
        self.leaving = True

    def drain(self, exit_when_idle: bool) -> None:
        """Starts, watches and closes runs until told to leave or, if asked to, until there is nothing to do."""
        reconciled = -RECONCILE_SECONDS
        while not self.leaving:
            if not self.store.is_in_place():
                self.leaving = True
                return
            if self.lock.asked_to_leave():
                _log.info("Asked to leave.")
                self.leaving = True
                return
            leave_deleted_folder(self.store.home)
            lacked, self.lacking, started = self.lacking, "", False
            self.tell_ends(
                lacked
            )  # before runs of an earlier worker end now: only sweeps that were seen running are announced
            if time.monotonic() - reconciled >= RECONCILE_SECONDS:
                reconciled = time.monotonic()
                with self.surviving(lacked):
                    self.reconcile()
            with self.surviving(lacked):
                self.lanes.look()
            with self.surviving(lacked):
                started = self.start_next()
            idle = not (started or self.tasks or self.lanes.going or self.lacking)
            if idle and (exit_when_idle or self.lock.asked_to_leave(when_idle=True)):
                return
            if started:
                continue  # there may be a slot for another run
            ending = self.executor.wait(self.tasks, self.lanes.sentinels(), POLL_SECONDS)
            for task in list(self.tasks):
                with self.surviving(lacked):
                    self.look_at(task)
            if self.lacking and ending:
                time.sleep(
                    AGAIN_SECONDS
                )  # a task that has ended but could not be closed would end the next wait at once

    def tell_ends(self, said: str = "") -> None:
        """Sends a message for each sweep that has ended, if a person named an address."""
        if self.messages.address:
            with self.surviving(said):
                self.messages.look(self.store.sweeps())

    @contextlib.contextmanager
    def surviving(self, said: str = "") -> Iterator[None]:
        """Logs a shortage inside the block, such as a full disk, unless it was ``said`` before, and suppresses it.

        Errors of a workspace that is no longer in place are suppressed too: the worker ends with it.
        """
        try:
            with named(folder=self.store.home):
                yield
        except ShortageError as error:
            self.lacking = error.lack
            if error.lack != said:
                _log.warning("%s The worker tries again.", error)
        except StoreError:
            if self.store.is_in_place():
                raise

    def reconcile(self) -> None:
        """Checks rows that say 'running': adopts runs whose process is alive, ends the others."""
        known = {task.id for task in self.tasks}
        lost: list[Run] = []
        for run in self.store.runs(status="running"):
            if run.id in known:
                continue
            if run.pid and _is_only_claimed(run):
                self.store.unclaim(run.id, run.pid)
            elif (run.executor or LOCAL) == self.executor.name:
                lost.append(run)
            else:
                self._look_at_another_executor(run)
        for task in self.executor.adopt(lost) if lost else ():
            _log.info("Found %s going on.", task.id)
            self.tasks.append(task)
            self.look_at(task)
        for unread in self.store.unreadable(status="running"):
            if unread.id not in known and self.is_silent(unread.id, unread.heartbeat):
                self.store.finish(
                    unread.id, "interrupted", error=f"It cannot be read: {unread.why}."
                )  # only ended runs can be deleted
        self.lanes.reconcile(self.is_silent)

    def _look_at_another_executor(self, run: Run) -> None:
        """Closes a run of another executor if it is known to be gone or a person cancels it; otherwise adds a note."""
        if (run.executor or LOCAL) == LOCAL:  # its process writes its own heartbeat
            if self.is_silent(run.id, run.heartbeat):
                self.close(run, Ended("It was carried out on this machine, and has given no sign of life.", AGAIN))
        elif run.wish == "cancel":
            self.close(run, Ended("", AGAIN))
        else:
            note = Note(FOREIGN.format(executor=run.executor), "warning")
            if note not in [stored.event for stored in self.store.events(run.id, ["Note"])]:
                self.store.append(run.id, note)

    def is_silent(self, name: str, heartbeat: object) -> bool:
        """Whether the heartbeat has been the same for too long; its time is not compared with a clock."""
        now = time.monotonic()
        last, since = self.heard.get(name, (None, now))
        if name not in self.heard or heartbeat != last:
            self.heard[name] = (heartbeat, now)
        return heartbeat == last and now - since > SILENT_SECONDS

    def start_next(self) -> bool:
        """Starts the next queued run that has a place; returns whether there was one."""
        queued = self.store.runs(status="queued")
        placement = self.executor.place(queued, self.tasks) if queued else None
        if placement is None:
            self.unstarted = None  # a later run gets its own time
            return False
        if why := why_nothing_starts(self.store.home):
            raise ShortageError(f"{why} Queued runs wait.", "room")
        pid, put = os.getpid(), {"slot": placement.slot, "executor": self.executor.name, "node": placement.node}
        run = self.store.claim(pid, identity_of(pid), placement.run.id, **put)
        if run is None:
            return True  # cancelled meanwhile; the next one may have a place
        if (task := self.executor.start(run, placement)) is None:
            self.unstarted = self.unstarted or time.monotonic()
            if self.executor.name == LOCAL and time.monotonic() - self.unstarted > PATIENCE_SECONDS:
                self.store.finish(run.id, "interrupted", error=UNSTARTED)
            else:
                self.store.unclaim(run.id, pid)
            time.sleep(POLL_SECONDS)
            return True
        self.unstarted = None
        self.tasks.append(task)
        return True

    def look_at(self, task: Task) -> None:
        """Closes a task that is gone; passes on requests to one that is alive."""
        state, run = self.executor.poll(task), self.row(task)
        if state == "alive":
            self.executor.ask(task, run.wish if run else "end")
        elif state == "gone" or run is None or self.is_silent(run.id, run.heartbeat):
            ended = self.executor.collect(task)
            if run:
                self.close(run, ended)
            self.tasks.remove(task)

    def row(self, task: Task) -> Run | None:
        """Returns the row of the task's run; None if it has ended or was deleted."""
        with contextlib.suppress(StoreError):
            run = self.store.run(task.id)
            return None if run.status in ENDED else run
        return None

    def end_all(self) -> list[str]:
        """Ends running runs and jobs as 'interrupted'.

        Returns the ids of those left running, whose process may be somebody else's.
        """
        left: list[str] = []
        for task in self.tasks:
            if self.executor.end(task):
                run, ended = self.row(task), self.executor.collect(task)
                if run:
                    self.close(run, ended, ENDED_BY_A_PERSON)
            else:
                left.append(task.id)
        return left + self.lanes.end_all(ENDED_BY_A_PERSON)

    def close(self, run: Run, ended: Ended, error: str = "") -> None:
        """Ends the row of a run that is gone, or queues it again; ``error`` says that a person ended it, for good."""
        told = self.store.last_event(run.id, RunFailed)
        why = ended if told is None else Ended(told.message, AGAIN)  # the run's own report takes precedence
        if run.wish == "cancel":
            discard(self.store.run_dir(run.id))
            self.store.finish(run.id, "cancelled")
        elif self.resume and not run.resumptions and not error:
            self.store.requeue(run.id, why.cause)
        else:
            text = (
                error
                or f"{why.cause} "
                f"{why.way_out or memory_advice(run.settings, self.store.last_event(run.id, RunPlanned))}"
            )
            if not (error or why.way_out):  # so that pages recognise it as out of memory
                self.store.append(run.id, RunFailed(text, FULL_MEMORY_CLASSES[0]))
            self.store.finish(run.id, "interrupted", error=text)
        _log.warning("Run %s: its process is gone.", run.id)
