"""Runs as they are read, and one from the queue to its end, as the worker and the run's own process write it.

In: ids, and what became of a process. Out: rows whose status moves one way; a row that has ended keeps it, unless it was interrupted.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError
from tabtune_core.events import Evaluated, Event, Note, RunFinished, StepDone, StopRequest, Unread, to_json
from tabtune_core.store.database import is_time, only, size_of
from tabtune_core.store.event_log import EventLog
from tabtune_core.store.jobs import JobQueue
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import ENDED, Run, Status, Sweep, Unreadable, read_run

NOWHERE = "pid = NULL, identity = NULL, slot = '', executor = '', node = '', received = 0"
"""Of a row that waits in the queue, again."""


class RunLife(EventLog, JobQueue):
    """Sweeps and runs as they stand now; claims, signs of life, wishes, interruptions and ends."""

    def run_dir(self, run_id: str) -> Path:
        """The run's folder, which its process makes."""
        return self.home / "runs" / self.run(run_id).id

    def sweeps(self) -> list[Sweep]:
        """Newest first."""
        counts: dict[str, dict[Status, int]] = {}
        for row in self._read("SELECT sweep, status, COUNT(*) AS number FROM runs GROUP BY sweep, status"):
            counts.setdefault(row["sweep"], {})[row["status"]] = row["number"]
        rows = self._read("SELECT id, name, created, owner FROM sweeps ORDER BY rowid DESC")
        times = [row["created"] if is_time(row["created"]) else 0.0 for row in rows]
        return [
            Sweep(row["id"], str(row["name"]), created, counts.get(row["id"], {}), str(row["owner"]))
            for row, created in zip(rows, times, strict=True)
        ]

    def owner_of(self, run_id: str) -> str:
        """Who launched the sweep of a run, also of one that cannot be read; empty where that is not known."""
        return str(self._read("SELECT owner FROM sweeps WHERE id = ?", (self._row(run_id)["sweep"],))[0]["owner"])

    def runs(self, sweep: str | None = None, *, status: Status | None = None) -> list[Run]:
        """The runs of one sweep or all, of one status or all, in the order of the queue; without those that are ``unreadable``."""
        if sweep is not None and not self._read("SELECT 1 FROM sweeps WHERE id = ?", (sweep,)):
            raise StoreError(f"There is no sweep {sweep!r} in {self.home}; it may have been deleted.")
        where, given = only(sweep=sweep, status=status)
        rows = self._read(f"SELECT * FROM runs WHERE {where} ORDER BY position", given)
        return [run for run in map(read_run, rows) if isinstance(run, Run)]

    def unreadable(self, sweep: str | None = None, *, status: Status | None = None) -> list[Unreadable]:
        """Rows of one sweep or all, of one status or all, that this version cannot read, in the order of the queue."""
        where, given = only(sweep=sweep, status=status)
        rows = self._read(f"SELECT * FROM runs WHERE {where} ORDER BY position", given)
        return [found for found in map(read_run, rows) if isinstance(found, Unreadable)]

    def has_work(self) -> bool:
        """Whether a run or a job waits or goes on."""
        going = "WHERE status IN ('queued', 'running')"
        return bool(self._read(f"SELECT 1 FROM runs {going} UNION ALL SELECT 1 FROM jobs {going} LIMIT 1"))

    def marks(self, sweep: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """What changes when a list of these runs must be read anew: id, status, resumptions, wish, name, note, archived, tags: cheap."""
        where, given = only(sweep=sweep)
        sql = f"SELECT id, status, resumptions, wish, name, note, archived, tags FROM runs WHERE {where} ORDER BY position"
        return tuple(tuple(row) for row in self._read(sql, given))

    def run(self, run_id: str) -> Run:
        """One run as it stands now; a StoreError says why where its row cannot be read."""
        found = read_run(self._row(run_id))
        if isinstance(found, Unreadable):
            raise StoreError(f"Run {run_id!r} cannot be read: {found.why}. Open the workspace with the version that wrote it.")
        return found

    def _row(self, run_id: str) -> sqlite3.Row:
        rows = self._read("SELECT * FROM runs WHERE id = ?", (run_id,))
        if not rows:
            raise StoreError(f"There is no run {run_id!r} in {self.home}; it may have been deleted.")
        return rows[0]

    def wish(self, run_id: str) -> StopRequest | None:
        """What a person asked of a running run."""
        rows = self._read("SELECT wish FROM runs WHERE id = ?", (run_id,))
        return rows[0]["wish"] if rows else None

    def received(self, run_id: str) -> int:
        """How many events of a run on another machine have arrived here."""
        return int(self._row(run_id)["received"])

    def has_last_state(self, run_id: str) -> bool:
        """Whether the run can go on from a state that it saved, and need not start anew."""
        return (self.run_dir(run_id) / STATES / LAST_STATE).exists()

    def size_bytes(self, run_id: str) -> int:
        """What the run's folder takes on disk."""
        return size_of(self.run_dir(run_id))

    def claim(
        self, pid: int, identity: str | None, run_id: str | None = None, *, slot: str = "", executor: str = "", node: str = ""
    ) -> Run | None:
        """Claims the first run of the queue, or a given one, for this process; of several claimants only one gets it."""
        now = time.time()
        rows = self._read(
            "UPDATE runs SET status = 'running', started = ?, heartbeat = ?, pid = ?, identity = ?, slot = ?, executor = ?, node = ?"
            " WHERE status = 'queued'"
            " AND id = COALESCE(?, (SELECT id FROM runs WHERE status = 'queued' ORDER BY position LIMIT 1)) RETURNING *",
            (now, now, pid, identity, slot, executor, node, run_id),
        )
        found = read_run(rows[0]) if rows else None
        if isinstance(found, Unreadable):
            self.finish(found.id, "failed", error=f"It cannot be read: {found.why}.")
            return None
        return found

    def set_process(self, run_id: str, pid: int, identity: str | None) -> None:
        """Notes which process carries out a running run; a run that is no longer running is a StoreError."""
        sql = "UPDATE runs SET pid = ?, identity = ?, heartbeat = ? WHERE id = ? AND status = 'running'"
        if not self._write(sql, (pid, identity, time.time(), run_id)):
            raise StoreError(f"Run {run_id!r} is not running any more; queue it again with retry.")

    def unclaim(self, run_id: str, pid: int) -> None:
        """Queues a run again: the worker ``pid`` claimed it but could not start a process for it."""
        sql = f"UPDATE runs SET status = 'queued', started = NULL, {NOWHERE} WHERE id = ? AND pid = ? AND status = 'running'"
        self._write(sql, (run_id, pid))

    def set_place(self, run_id: str, slot: str, node: str) -> None:
        """Notes where a running run was put after all."""
        self._write("UPDATE runs SET slot = ?, node = ? WHERE id = ? AND status = 'running'", (slot, node, run_id))

    def receive(self, run_id: str, events: Sequence[tuple[Event, float]], received: int) -> None:
        """Adds events of a run on another machine, each with its unix seconds; all of them and their new number, or nothing."""
        if events:
            with self._together():
                for event, at in events:
                    self._add(run_id, event, at)
                self._write("UPDATE runs SET received = ? WHERE id = ?", (received, run_id))

    def beat(self, run_id: str) -> None:
        """A sign of life of the run's process."""
        self._write("UPDATE runs SET heartbeat = ? WHERE id = ? AND status = 'running'", (time.time(), run_id))

    def finish(self, run_id: str, status: Status, *, result: RunFinished | None = None, error: str | None = None) -> None:
        """Ends a queued or running run; one that has ended stays as it is."""
        assert status in ENDED, status
        self._write(
            "UPDATE runs SET status = ?, result = ?, error = ?, ended = ? WHERE id = ? AND status IN ('queued', 'running')",
            (status, to_json(result)[1] if result else None, error, time.time(), run_id),
        )

    def forget_states(self, run_id: str) -> None:
        """Deletes the best and the last state of a training, once its lasting files are written or are not wanted."""
        shutil.rmtree(self.run_dir(run_id) / STATES, ignore_errors=True)

    def requeue(self, run_id: str, why: str) -> None:
        """Queues a running run again in its old place, whose process is gone; ``why`` is told until it goes on. What was asked holds on."""
        self._queue_again(run_id, "running", why)

    def resume(self, run_id: str) -> None:
        """Queues an interrupted run again, which goes on from its last state, or starts anew if it had not saved one.

        What was asked of it before is forgotten: who resumes a run wants it to go on.

        Raises:
            StoreError: it was not interrupted, or another run repeats it.
        """
        old = self.run(run_id)
        if old.retried_as is not None:
            raise StoreError(f"Run {run_id!r} was already queued again as {old.retried_as!r}; it is not resumed beside that one.")
        if not self._queue_again(run_id, "interrupted", old.error or "", ", wish = NULL"):
            raise StoreError(f"Run {run_id!r} is {self.run(run_id).status}; only an interrupted run can be resumed.")

    def _queue_again(self, run_id: str, status: Status, why: str, more: str = "") -> int:
        return self._write(
            f"UPDATE runs SET status = 'queued', error = ?, resumptions = resumptions + 1, ended = NULL, heartbeat = NULL, {NOWHERE}{more}"
            " WHERE id = ? AND status = ? AND retried_as IS NULL",
            (why, run_id, status),
        )

    def begin_again(self, run_id: str) -> None:
        """To be called by the process of a run that was queued again: of what the last one told, saved training stays, and zero-shot.

        The memory and phases of the process that is gone go with it, so that every curve counts from one start.
        """
        why, goes_on = self.run(run_id).error or "", self.has_last_state(run_id)
        how = "goes on from its last saved state" if goes_on else "starts anew, because it had saved no state"
        told = self.events(run_id, ["StepDone", "Evaluated"]) if goes_on else []
        zero_shot = {one.event.split: one.seq for one in reversed(told) if isinstance(one.event, Evaluated) and one.event.step == 0}
        kept = [
            *zero_shot.values(),
            *(one.seq for one in told if _is_of_training(one.event)),
        ]  # the first: the end may tell step 0 once more
        with self._together():
            self._write("DELETE FROM events WHERE run = ? AND seq NOT IN (SELECT value FROM JSON_EACH(?))", (run_id, json.dumps(kept)))
            self._write("UPDATE runs SET error = NULL WHERE id = ?", (run_id,))
            self.append(run_id, Note(f"The run was interrupted, and {how}. {why}".strip(), "warning"))

    def ask(self, run_id: str, wish: StopRequest) -> None:
        """Asks a running run to stop (keep the best) or cancel (discard), and one that waits to go on from a saved state to stop then.

        Any other that is queued is cancelled at once, and one that has ended is left alone.
        """
        self._row(run_id)
        going, saved = "status = 'running'", False
        with suppress(StoreError):  # of a row that cannot be read
            saved = self.has_last_state(run_id)
        if wish == "stop" and saved:
            going = "status IN ('queued', 'running')"
        elif self._write(
            "UPDATE runs SET status = 'cancelled', error = NULL, ended = ? WHERE id = ? AND status = 'queued'", (time.time(), run_id)
        ):
            if saved:
                self.forget_states(run_id)
            return
        self._write(f"UPDATE runs SET wish = ? WHERE id = ? AND {going} AND wish IS NOT 'cancel'", (wish, run_id))


def _is_of_training(event: Event | Unread) -> bool:
    """True for a step or an evaluation between steps; false for those of zero-shot and of the end."""
    return isinstance(event, StepDone) or (isinstance(event, Evaluated) and event.split == "validation" and event.step > 0)
