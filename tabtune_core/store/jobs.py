"""Jobs: work that needs torch and that a person waits for, such as predictions, carried out beside runs.

In: a kind and arguments. Out: a row that ends with a JSON result or an error, and files in the job's folder.
"""

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tabtune_core.errors import StoreError
from tabtune_core.files.whole import write_text
from tabtune_core.store.database import Database, check_row, is_folder_name, new_id, only

Lane = Literal["short", "long"]
"""Jobs of one lane run one after the other; the lanes run side by side: a prediction need not wait for a curve."""
LANES: tuple[Lane, ...] = get_args(Lane)
SHORT = ("predict", "pace")
"""The kinds in the lane ``short``."""
KINDS = {
    "predict": "predict.predict",
    "pace": "measure_pace.measure_pace",
    "export": "export.export",
    "verify": "export.verify",
    "rank_curve": "truncate_rank.rank_curve",
    "columns": "column_importance.column_importance",
}
"""The function that carries out each kind, as ``module.name`` below ``tabtune_core.execution.jobs``."""
JobStatus = Literal["queued", "running", "finished", "failed", "interrupted", "cancelled"]
JOB_ENDED: frozenset[JobStatus] = frozenset({"finished", "failed", "interrupted", "cancelled"})


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the store knows it. Times are unix seconds."""

    id: str
    kind: str
    """A name in KINDS."""
    arguments: dict[str, Any]
    status: JobStatus
    created: float
    started: float | None
    ended: float | None
    pid: int | None
    identity: str | None
    """Creation time of that process, because pids are reused; None while only a worker has claimed the job."""
    error: str | None
    """For the person: what happened and what to do."""
    result: dict[str, Any] | None
    wish: Literal["cancel"] | None
    """What a person asked for while it was running."""


class JobQueue(Database):
    """The jobs of one workspace; StoreError if it has no job with an id."""

    def job_dir(self, job_id: str) -> Path:
        """Returns the job's folder, which its process creates."""
        if not is_folder_name(self._row("job", job_id)["id"]):
            raise StoreError(f"Job {job_id!r} has no folder; its row is damaged.")
        return self.home / "jobs" / job_id

    def add_job(self, kind: str, arguments: Mapping[str, Any]) -> str:
        """Queues a job behind the others. Returns its id."""
        job_id = new_id()
        sql = "INSERT INTO jobs (id, kind, arguments, status, created) VALUES (?, ?, ?, 'queued', ?)"
        self._write(sql, (job_id, kind, json.dumps(dict(arguments)), time.time()))
        return job_id

    def jobs(self, kind: str | None = None, *, status: JobStatus | None = None) -> list[Job]:
        """Returns the jobs, newest first, of one kind or status or of all, without those that cannot be read."""
        where, given = only(kind=kind, status=status)
        rows = self._read(f"SELECT * FROM jobs WHERE {where} ORDER BY rowid DESC", given)
        return [job for job in map(_job, rows) if job]

    def job(self, job_id: str) -> Job:
        """Returns the present state of a job."""
        job = _job(self._row("job", job_id))
        if job is None:
            raise StoreError(f"Job {job_id!r} cannot be read; it is damaged or of another version. Ask for it again.")
        return job

    def claim_job(self, pid: int, identity: str | None, lane: Lane | None = None) -> Job | None:
        """Claims the oldest queued job, of one lane or all, for this process; of several claimants only one gets it."""
        in_lane = "COALESCE(? = IIF(kind IN (SELECT value FROM JSON_EACH(?)), 'short', 'long'), TRUE)"
        rows = self._read(
            "UPDATE jobs SET status = 'running', started = ?, pid = ?, identity = ? WHERE status = 'queued'"
            f" AND id = (SELECT id FROM jobs WHERE status = 'queued' AND {in_lane} ORDER BY rowid LIMIT 1) RETURNING *",
            (time.time(), pid, identity, lane, json.dumps(SHORT)),
        )
        return _job(rows[0]) if rows else None

    def set_job_process(self, job_id: str, pid: int, identity: str | None) -> None:
        """Records which process carries out a running job; raises StoreError if it is not running any more."""
        sql = "UPDATE jobs SET pid = ?, identity = ? WHERE id = ? AND status = 'running'"
        if not self._write(sql, (pid, identity, job_id)):
            raise StoreError(f"Job {job_id!r} is not running any more; ask for it again.")

    def finish_job(
        self, job_id: str, status: JobStatus, *, result: Mapping[str, Any] | None = None, error: str | None = None
    ) -> None:
        """Ends a queued or running job; a job that has ended is not changed."""
        assert status in JOB_ENDED, status
        sql = "UPDATE jobs SET status = ?, result = ?, error = ?, ended = ? WHERE id = ?"
        content = None if result is None else json.dumps(dict(result))
        self._write(f"{sql} AND status IN ('queued', 'running')", (status, content, error, time.time(), job_id))

    def cancel_job(self, job_id: str) -> None:
        """Cancels a queued job at once, or asks the worker to end a running one; an ended job is not changed."""
        self.job(job_id)
        at_once = "UPDATE jobs SET status = 'cancelled', ended = ? WHERE id = ? AND status = 'queued'"
        if not self._write(at_once, (time.time(), job_id)):
            self._write("UPDATE jobs SET wish = 'cancel' WHERE id = ? AND status = 'running'", (job_id,))

    def refuse_while_used(self, what: str, *ids: str) -> None:
        """Raises StoreError if a queued or running job uses one of the ids; ``what`` names them in the text."""
        for job in (*self.jobs(status="running"), *self.jobs(status="queued")):
            if not uses(job.arguments).isdisjoint(ids):
                doing = f"A {job.status} job ({job.kind.replace('_', ' ')}) uses {what}"
                raise StoreError(f"{doing}. Cancel it on its page, or wait for its end; then delete {what}.")

    def delete_job(self, job_id: str) -> None:
        """Deletes a job that is not running, with its folder."""
        if self._row("job", job_id)["status"] == "running":
            raise StoreError(f"Job {job_id!r} is running; cancel it, or wait for its end, before deleting it.")
        with contextlib.suppress(StoreError):
            shutil.rmtree(self.job_dir(job_id), ignore_errors=True)
        self._write("DELETE FROM jobs WHERE id = ?", (job_id,))


def _job(row: sqlite3.Row) -> Job | None:
    """Reads a row; None if its arguments or its result are not JSON, or another field has the wrong type."""
    try:
        values = dict(row)
        values["arguments"] = json.loads(values["arguments"])
        values["result"] = None if values["result"] is None else json.loads(values["result"])
        return check_row(Job(**{name: values[name] for name in Job.__dataclass_fields__}))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


FILE = "progress.json"


def write_progress(folder: Path, done: int, total: int, unit: str) -> None:
    """Writes that ``done`` of ``total`` parts are done, ``unit`` in the plural; no reader sees an incomplete file."""
    write_text(folder / FILE, json.dumps([done / max(1, total), f"{done:,} of {total:,} {unit}"]))


def read_progress(folder: Path) -> tuple[float, str] | None:
    """Reads the share that is done, and how much of what in words; None if nothing is written or it is damaged."""
    try:
        share, words = json.loads((folder / FILE).read_text())
        return min(1.0, float(share)), str(words)
    except (OSError, ValueError, TypeError):
        return None


def uses(arguments: Any) -> frozenset[str]:
    """Returns every string in a job's arguments: the ids of runs, adapters and tables that it needs, and others.

    >>> sorted(uses({"table": "t1", "adapters": [{"id": "r1", "title": "LoRA"}], "base": True}))
    ['LoRA', 'r1', 't1']
    """
    if isinstance(arguments, str):
        return frozenset({arguments})
    inner = arguments.values() if isinstance(arguments, Mapping) else arguments
    return frozenset[str]().union(*map(uses, inner)) if isinstance(arguments, Mapping | list | tuple) else frozenset()
