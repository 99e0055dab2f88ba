"""The worker's jobs: one at a time in each lane, beside the runs; ended when a person cancels them or their time is
over.

In: queued jobs and requests to cancel. Out: jobs that have ended. A job whose process was interrupted is not queued
again: a person who still wants its result asks again.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext

from tabtune_core.errors import StoreError
from tabtune_core.execution.child import discard, job_child
from tabtune_core.execution.identity import found, identity_of
from tabtune_core.execution.processes import Watched, cause, end, press, signal_group, start, state_of
from tabtune_core.store.job_kinds import LANES, Lane, kind_of
from tabtune_core.store.jobs import JOB_ENDED, UNREADABLE, Job
from tabtune_core.store.runs import RunStore

OUT_OF_MEMORY = "Ask again, or for less at once."
AGAIN_SECONDS = 0.3
"""Wait before another try after a process could not be started."""

_log = logging.getLogger(__name__)


class JobLanes:
    """The running jobs, and the rules for starting, ending and closing them."""

    def __init__(self, store: RunStore, context: ForkServerContext, program: str, minutes: Mapping[str, float]) -> None:
        self.store, self.context = store, context
        self.program = program
        """Module whose ``run_job`` carries out a job."""
        self.minutes = minutes
        """Longest time of kinds for which a person set it; other kinds have their default."""
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
        return [watched.process.sentinel for watched in self.going if watched.process]

    def reconcile(self, is_silent: Callable[[str, float | None], bool]) -> None:
        """Adopts running jobs of an earlier worker whose process is alive, and ends the rows of the others."""
        known = {watched.id for watched in self.going}
        for job in self.store.jobs(status="running"):
            if job.id in known:
                continue
            state = found(job.pid, job.identity)
            # claimed here, or by a worker that is gone, and no process began, which would have made the folder
            if job.pid and (
                job.pid == os.getpid() or (state in ("gone", "other") and not self.store.job_dir(job.id).exists())
            ):
                self.store.unclaim_job(job.id, job.pid)
                continue
            watched = Watched(job.id, job.pid or 0, job.identity, None, kind_of(job.kind).lane)
            if state == "alive":
                _log.info("Adopted job %s in process %d.", job.id, watched.pid)
                self.going.append(watched)
            elif state in ("gone", "other") or is_silent(job.id, None):
                self._close(watched)
        for job_id, pid, identity in self.store.unreadable_jobs():
            watched = Watched(job_id, pid or 0, identity, None, LANES[-1])
            if job_id in known:
                continue
            if pid not in (None, os.getpid()) and found(pid, identity) == "alive":  # the next look ends it
                self.going.append(watched)
            else:
                self._close(watched)

    def end_all(self, why: str) -> list[str]:
        """Ends running jobs as 'interrupted'.

        Returns the ids of those left running, whose process may be somebody else's.
        """
        left = []
        for job in self.store.jobs(status="running"):
            if end(job.pid, job.identity):
                self.store.finish_job(job.id, "interrupted", error=why)
            else:
                left.append(job.id)
        return left

    def _start_next(self, lane: Lane) -> None:
        pid = os.getpid()
        claimed = self.store.claim_job(pid, identity_of(pid), lane)
        if claimed is None:
            return
        process = self.context.Process(
            target=job_child, args=(self.store.home, claimed.id, self.program), name=f"job-{claimed.id}"
        )
        if (watched := start(process, claimed.id, lane)) is None:
            self.store.unclaim_job(claimed.id, pid)
            time.sleep(AGAIN_SECONDS)
            return
        _log.info("Job %s (%s) is process %d.", claimed.id, claimed.kind, watched.pid)
        self.going.append(watched)

    def _look_at(self, watched: Watched) -> None:
        job = self._row(watched)
        state = state_of(watched, job)
        if state == "alive":
            self._press(watched, job)
        if state in ("alive", "unknown"):
            return
        if state == "gone" and watched.identity:
            signal_group(watched.pid, signal.SIGKILL)  # ends what the job started itself
        self._close(watched)
        self.going.remove(watched)

    def _row(self, watched: Watched) -> Job | None:
        """Returns the row of a job; None if it was deleted, or is damaged."""
        with contextlib.suppress(StoreError):
            return self.store.job(watched.id)
        return None

    def _press(self, watched: Watched, job: Job | None) -> None:
        """Signals a job that should end.

        A cancelled or overdue job gets no grace time, because it has nothing to save.
        """
        if job is None or job.status in JOB_ENDED:
            press(watched, "end")
        elif job.wish == "cancel":
            press(watched, "cancel", at_once=True)
        elif time.monotonic() - watched.since > 60 * self._minutes(job):
            press(watched, "limit", at_once=True)

    def _minutes(self, job: Job) -> float:
        return self.minutes.get(job.kind, kind_of(job.kind).minutes)

    def _close(self, watched: Watched) -> None:
        """Ends the row of a job whose process is gone, unless it did so itself, and deletes what it wrote."""
        job = self._row(watched)  # read again: it may have ended after its row was read
        if job is not None and job.status in JOB_ENDED:
            return
        with contextlib.suppress(OSError, StoreError):  # deleted with the job at the latest
            discard(self.store.job_dir(watched.id))
        if job is None:
            self.store.finish_job(watched.id, "failed", error=UNREADABLE)
        elif job.wish == "cancel":
            self.store.finish_job(job.id, "cancelled")
        elif "limit" in watched.asked:
            over = (
                f"It was ended after {self._minutes(job):g} minutes, the longest that it may take. Ask for less at "
                "once, or allow it more"
                " time with 'loralab worker --job-minutes', or with the same flag in TABTUNE_WORKER for a worker "
                "that the pages start."
            )
            self.store.finish_job(job.id, "failed", error=over)
        else:
            why, way_out = cause(watched, "job")
            self.store.finish_job(job.id, "interrupted", error=f"{why} {way_out or OUT_OF_MEMORY}")
