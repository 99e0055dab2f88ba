"""The worker's rules, whatever carries out a run: it starts what waits, passes on what is asked, and keeps the rows of the store true.

In: queued runs, jobs and wishes. Out: runs and jobs that have ended. It never loads torch.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tabtune_core.errors import FULL_MEMORY_CLASSES, ShortageError, StoreError
from tabtune_core.events import Note, RunFailed
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
"""After something that the machine lacked, such as room on the disk, before it is tried again."""
RECONCILE_SECONDS = 3.0
SILENT_SECONDS = 60.0
"""What cannot be told from another process, as after an upgrade or in another container, has ended after as long without a heartbeat.
It is never signalled."""
FOREIGN = (
    "The executor '{executor}' carries it out, and the worker that runs now uses another one: it is not known whether it goes on, so it is"
    " not started here, too. A worker with --executor {executor} takes it over; Cancel gives it up."
)
UNSTARTED = (
    f"For {PATIENCE_SECONDS:.0f} seconds no process could be started for it: the system ended each one, as it does where memory is short."
    " End other programs or give the container more memory, then resume it."
)
ENDED_BY_A_PERSON = "It was ended with 'loralab worker --stop --now'."

_log = logging.getLogger(__name__)


class Worker:
    """What is being watched, and the rules for starting, pressing and closing it."""

    def __init__(
        self, store: RunStore, lock: WorkerLock, executor: Executor[Any], lanes: JobLanes, messages: EndMessages, *, resume: bool = True
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
        """What the machine lacked at the last turn; empty if nothing. Runs do not end because of it: everything is tried again."""
        self.unstarted: float | None = None
        """Since when no process could be started, in monotonic seconds."""
        self.heard: dict[str, tuple[object, float]] = {}
        """Of what cannot be told from another process: its heartbeat, and since when, in monotonic seconds, it is the same."""

    def leave(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: no new run is started."""
        self.leaving = True

    def drain(self, exit_when_idle: bool) -> None:
        """Starts, watches and closes runs until told to leave or, if asked to, until there is nothing to do."""
        reconciled = -RECONCILE_SECONDS
        while not self.leaving:
            if not self.store.home.is_dir():  # deleted: nothing can be queued or read there
                self.leaving = True
                return
            if self.lock.asked_to_leave():
                _log.info("Asked to leave.")
                self.leaving = True
                return
            lacked, self.lacking, started = self.lacking, "", False
            self.tell_ends(lacked)  # first: what an earlier worker left may end now; only sweeps that this worker saw running are announced
            if time.monotonic() - reconciled >= RECONCILE_SECONDS:
                reconciled = time.monotonic()
                with self.surviving(lacked):
                    self.reconcile()
            with self.surviving(lacked):
                self.lanes.look()
            with self.surviving(lacked):
                started = self.start_next()
            idle = not (started or self.tasks or self.lanes.going or self.lacking)
            if exit_when_idle and idle and not self.store.runs(status="queued"):  # what waits for the estimate of its memory is queued
                return
            if started:
                continue  # there may be a slot for another
            ending = self.executor.wait(self.tasks, self.lanes.sentinels(), POLL_SECONDS)
            for task in list(self.tasks):
                with self.surviving(lacked):
                    self.look_at(task)
            if self.lacking and ending:
                time.sleep(AGAIN_SECONDS)  # a task that has ended and could not be closed would end the next wait at once

    def tell_ends(self, said: str = "") -> None:
        """Sends a message for each sweep that has ended, where a person named an address."""
        if self.messages.address:
            with self.surviving(said):
                self.messages.look(self.store.sweeps())

    @contextlib.contextmanager
    def surviving(self, said: str = "") -> Iterator[None]:
        """Where the machine lacks something inside, as on a full disk, that is logged unless it was ``said`` before, and nothing ends."""
        try:
            with named(folder=self.store.home):
                yield
        except ShortageError as error:
            self.lacking = error.lack
            if error.lack != said:
                _log.warning("%s The worker tries again.", error)

    def reconcile(self) -> None:
        """Brings rows that say 'running' in line with what goes on: adopts the living, ends the others."""
        known = {task.id for task in self.tasks}
        lost: list[Run] = []
        for run in self.store.runs(status="running"):
            if run.id in known:
                continue
            if run.pid == os.getpid() and found(run.pid, run.identity) == "alive":
                self.store.unclaim(run.id, run.pid)  # claimed, and then the database or the forkserver was not there
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
                self.store.finish(unread.id, "interrupted", error=f"It cannot be read: {unread.why}.")  # or it could never be deleted
        self.lanes.reconcile(self.is_silent)

    def _look_at_another_executor(self, run: Run) -> None:
        """What carries the run out is not at hand: it is closed where that can be known to be gone, or a person gives it up."""
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
        """Whether the heartbeat, which is compared with no clock, has been the same for too long."""
        now = time.monotonic()
        last, since = self.heard.get(name, (None, now))
        if name not in self.heard or heartbeat != last:
            self.heard[name] = (heartbeat, now)
        return heartbeat == last and now - since > SILENT_SECONDS

    def start_next(self) -> bool:
        """Whether there was a queued run and a place for it; it goes on now."""
        queued = self.store.runs(status="queued")
        placement = self.executor.place(queued, self.tasks) if queued else None
        if placement is None:
            self.unstarted = None  # a later run's patience begins with itself
            return False
        if why := why_nothing_starts(self.store.home):
            raise ShortageError(f"{why} Queued runs wait.", "room")
        pid, put = os.getpid(), {"slot": placement.slot, "executor": self.executor.name, "node": placement.node}
        run = self.store.claim(pid, identity_of(pid), placement.run.id, **put)
        if run is None:
            return True  # cancelled in between; the next one may have a place
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
        """Closes what is gone; passes on what is asked of what goes on."""
        state, run = self.executor.poll(task), self.row(task)
        if state == "alive":
            self.executor.ask(task, run.wish if run else "end")
        elif state == "gone" or run is None or self.is_silent(run.id, run.heartbeat):
            ended = self.executor.collect(task)
            if run:
                self.close(run, ended)
            self.tasks.remove(task)

    def row(self, task: Task) -> Run | None:
        """The row of its run; None: it has ended, and may have been deleted at once."""
        with contextlib.suppress(StoreError):
            run = self.store.run(task.id)
            return None if run.status in ENDED else run
        return None

    def end_all(self) -> list[str]:
        """Ends what runs, whose rows become 'interrupted'. Returns the ids of what could not be told from another process, and goes on."""
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
        """Ends the row of what is gone and did not do so itself; ``error`` says that a person ended it, for good."""
        why, told = ended, self.store.last(run.id, "RunFailed")
        if told is not None and isinstance(told.event, RunFailed):  # as it said itself where it could
            why = Ended(told.event.message, AGAIN)
        if run.wish == "cancel":
            discard(self.store.run_dir(run.id))
            self.store.finish(run.id, "cancelled")
        elif self.resume and not run.resumptions and not error:
            self.store.requeue(run.id, why.cause)
        else:
            text = error or f"{why.cause} {why.way_out or memory_advice(run.settings)}"
            if not (error or why.way_out):  # by its kind, whatever an executor's words are
                self.store.append(run.id, RunFailed(text, FULL_MEMORY_CLASSES[0]))
            self.store.finish(run.id, "interrupted", error=text)
        _log.warning("Run %s ended without an error message.", run.id)
