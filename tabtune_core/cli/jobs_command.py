"""``loralab jobs``: what the pages have asked of the worker, and a way to cancel it.

In: the store. Out: a line a job, newest first; or what was cancelled.
"""

import argparse

from tabtune_core.cli.terminal import moment, say
from tabtune_core.errors import StoreError
from tabtune_core.execution.lock import ensure_worker, is_stopped, worker_of
from tabtune_core.store.job_kinds import kind_of
from tabtune_core.store.job_progress import read_progress
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.store.runs import RunStore


def show_or_cancel(asked: argparse.Namespace) -> int:
    """Lists the jobs of a workspace, or cancels some of them."""
    store = RunStore(asked.home)
    if asked.cancel:
        return _cancel(store, [store.job(job_id) for job_id in asked.cancel])
    jobs = [job for job in store.jobs() if asked.all or job.status not in JOB_ENDED]
    if not jobs:
        say(f"No job {'was asked for' if asked.all else 'is queued or running'} in {store.home}.")
    for job in jobs:
        told = read_progress(store.job_dir(job.id)) if job.status == "running" else None
        print(f"{job.id}  {job.status:<11}  {moment(job.created)}  {kind_of(job.kind).title}{f', {told}' if told else ''}")
    return 0


def _cancel(store: RunStore, jobs: list[Job]) -> int:
    for job in jobs:
        if job.status in JOB_ENDED:
            raise StoreError(f"Job {job.id!r} has ended already: it is {job.status}. 'loralab jobs' lists those that can be cancelled.")
    for job in jobs:
        store.cancel_job(job.id)
        queued = store.job(job.id).status != "running"
        say(f"The {kind_of(job.kind).title} {job.id} {'is cancelled' if queued else 'is ended by the worker within seconds'}.")
    if store.jobs(status="running") and worker_of(store.home) is None:
        if is_stopped(store.home):
            say("The worker was stopped with 'loralab worker --stop'. Start one, so that it ends what is running: loralab worker")
        else:
            ensure_worker(store.home, exit_when_idle=True)
    return 0
