"""The worker's jobs: one at a time in each lane, beside the runs; ended when a person cancels them.

In: queued jobs and requests to cancel. Out: jobs that have ended. A job whose process or worker ended is not queued
again: a person who still wants its result asks again.
"""

import contextlib
import logging
import os
from multiprocessing.context import ForkServerContext

from tabtune_core.errors import StoreError
from tabtune_core.execution.child import discard, job_child
from tabtune_core.execution.processes import Watched, cause, kill, start
from tabtune_core.store.jobs import JOB_ENDED, LANES, Job, Lane
from tabtune_core.store.runs import RunStore

OUT_OF_MEMORY = "Ask again, or for less at once."
WORKER_ENDED = "Its worker ended, and its process with it. Ask again."
UNSTARTED = "No process could be started for it; memory may be short. End other programs, then ask again."

_log = logging.getLogger(__name__)


class JobLanes:
    """The running jobs, and the rules for starting, ending and closing them."""

    def __init__(self, store: RunStore, context: ForkServerContext, program: str) -> None:
        self.store, self.context = store, context
        self.program = program
        """Module whose ``run_job`` carries out a job."""
        self.going: list[Watched] = []

    def look(self) -> None:
        """Closes jobs whose process is gone, ends those that should end, and starts the next job of each free lane."""
        for watched in list(self.going):
            self._look_at(watched)
        busy = {watched.slot for watched in self.going}
        for lane in LANES:
            if lane not in busy:
                self._start_next(lane)

    def sentinels(self) -> list[int]:
        """Returns the sentinels of the processes started here; a sentinel is ready when its process has ended."""
        return [watched.process.sentinel for watched in self.going]

    def reconcile(self) -> None:
        """Ends running jobs that are not this worker's: their worker ended, and their process with it."""
        known = {watched.id for watched in self.going}
        for job in self.store.jobs(status="running"):
            if job.id not in known and kill(job.pid, job.identity):
                self._end(job, WORKER_ENDED)

    def stop(self) -> None:
        """Ends what runs, because this worker ends."""
        for watched in self.going:
            watched.end()
            if job := self._row(watched):
                self._end(job, WORKER_ENDED)

    def _start_next(self, lane: Lane) -> None:
        claimed = self.store.claim_job(os.getpid(), None, lane)
        if claimed is None:
            return
        given = (self.store.home, claimed.id, self.program)
        process = self.context.Process(target=job_child, args=given, name=f"job-{claimed.id}")
        if (watched := start(process, claimed.id, lane)) is None:
            self._end(claimed, UNSTARTED)
            return
        _log.info("Job %s (%s) is process %d.", claimed.id, claimed.kind, watched.pid)
        self.going.append(watched)

    def _look_at(self, watched: Watched) -> None:
        """Ends a job that should end, and the row of one whose process is gone, unless it did so itself."""
        if watched.goes_on:
            job = self._row(watched)
            if job is None or job.status in JOB_ENDED:
                watched.press("end")
            elif job.wish == "cancel":  # without a grace time, because it has nothing to save
                watched.press("cancel", at_once=True)
            return
        watched.end()  # what the job started itself
        if job := self._row(watched):
            why, way_out = cause(watched, "job")
            self._end(job, f"{why} {way_out or OUT_OF_MEMORY}")
        self.going.remove(watched)

    def _row(self, watched: Watched) -> Job | None:
        """Returns the row of a job; None if it was deleted, or is damaged."""
        with contextlib.suppress(StoreError):
            return self.store.job(watched.id)
        return None

    def _end(self, job: Job, why: str) -> None:
        """Ends the row of a job and deletes what it wrote; a job that has ended is not changed."""
        if job.status in JOB_ENDED:
            return
        with contextlib.suppress(OSError):  # deleted with the job at the latest
            discard(self.store.job_dir(job.id))
        if job.wish == "cancel":
            self.store.finish_job(job.id, "cancelled")
        else:
            self.store.finish_job(job.id, "interrupted", error=why)
