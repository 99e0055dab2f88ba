"""Reads runs, and writes their life from the queue to the end, for the worker and the run's own process.

In: ids, and what became of a process. Out: rows whose status only moves forward; only an interrupted run can leave its
final status.
"""

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError
from tabtune_core.events import Evaluated, Event, Note, RunFinished, StepDone, StopRequest, to_json
from tabtune_core.settings.sweep import RUNGS
from tabtune_core.store.database import only
from tabtune_core.store.event_log import EventLog
from tabtune_core.store.jobs import JobQueue
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import ENDED, Run, Status, Sweep, Unreadable, read_run
from tabtune_core.store.searches import GOES_ON, SearchLog

PAUSED = "pid = NULL, identity = NULL, slot = '', executor = ''"
NOWHERE = f"{PAUSED}, node = ''"
"""SQL that resets where a run is carried out when it is queued again."""


class RunLife(EventLog, JobQueue, SearchLog):
    """Present sweeps and runs; claims, heartbeats, requests, interruptions and ends."""

    def run_dir(self, run_id: str) -> Path:
        """Returns the run's folder, which its process creates."""
        return self.home / "runs" / self.run(run_id).id

    def sweeps(self) -> list[Sweep]:
        """Returns all sweeps, newest first."""
        counts: dict[str, dict[Status, int]] = {}
        for row in self._read("SELECT sweep, status, COUNT(*) AS number FROM runs GROUP BY sweep, status"):
            counts.setdefault(row["sweep"], {})[row["status"]] = row["number"]
        rows = self._read("SELECT id, name, created FROM sweeps ORDER BY rowid DESC")
        return [Sweep(row["id"], row["name"], row["created"], counts.get(row["id"], {})) for row in rows]

    def sweep(self, sweep: str) -> Sweep:
        """Returns one sweep; raises StoreError if there is none of this id."""
        self._row("sweep", sweep)
        return next(one for one in self.sweeps() if one.id == sweep)

    def runs(self, sweep: str | None = None, *, status: Status | None = None) -> list[Run]:
        """Returns the runs of one sweep or status or all, in the order of the queue, without ``unreadable`` ones."""
        if sweep is not None:
            self._row("sweep", sweep)
        return [run for run in self._read_runs(sweep, status) if isinstance(run, Run)]

    def unreadable(self, sweep: str | None = None, *, status: Status | None = None) -> list[Unreadable]:
        """Returns the rows that cannot be read, of one sweep or status or of all, in the order of the queue."""
        return [run for run in self._read_runs(sweep, status) if isinstance(run, Unreadable)]

    def _read_runs(self, sweep: str | None, status: Status | None) -> list[Run | Unreadable]:
        where, given = only(sweep=sweep, status=status)
        columns = "*, sweep IN (SELECT sweep FROM searches) AS searched"
        return list(map(read_run, self._read(f"SELECT {columns} FROM runs WHERE {where} ORDER BY position", given)))

    def has_work(self) -> bool:
        """Whether a run or a job is queued or running, or a search goes on."""
        going = "WHERE status IN ('queued', 'running', 'waiting')"
        searches = f"SELECT 1 FROM searches WHERE {GOES_ON}"
        any_of = f"SELECT 1 FROM runs {going} UNION ALL SELECT 1 FROM jobs {going} UNION ALL {searches} LIMIT 1"
        return bool(self._read(any_of))

    def marks(self, sweep: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """Returns values that change whenever a list of these runs must be read again; cheaper than the runs."""
        where, given = only(sweep=sweep)
        verified = "INSTR(result, '\"adapter_verified\": true')"  # may change after the end
        sql = f"SELECT id, status, resumptions, device, wish, name, note, archived, {verified} FROM runs WHERE {where}"
        return tuple(tuple(row) for row in self._read(f"{sql} ORDER BY position", given))

    def run(self, run_id: str) -> Run:
        """Returns the present state of a run; raises StoreError if there is none or its row cannot be read."""
        run = read_run(self._row("run", run_id))
        if isinstance(run, Unreadable):
            raise StoreError(f"Run {run_id!r} cannot be read: {run.why}. It is damaged; train it again.")
        return run

    def wish(self, run_id: str) -> StopRequest | None:
        """Returns what a person asked of a running run; None if nothing."""
        rows = self._read("SELECT wish FROM runs WHERE id = ?", (run_id,))
        return rows[0]["wish"] if rows else None

    def has_last_state(self, run_id: str) -> bool:
        """Whether the run has saved a state from which it can go on."""
        return (self.run_dir(run_id) / STATES / LAST_STATE).exists()

    def size_bytes(self, run_id: str) -> int:
        """Returns the size of the run's folder on disk."""
        total = 0
        for file in self.run_dir(run_id).rglob("*"):
            with suppress(FileNotFoundError):
                total += file.stat().st_size if file.is_file() else 0
        return total

    def claim(self, pid: int, identity: str | None, run_id: str | None = None, **place: str) -> Run | None:
        """Claims the first run of the queue, or a given one, for this process; only one claimant gets it.

        ``place`` says where it is put: ``slot``, ``executor`` and ``node``.
        """
        now, where = time.time(), (place.get(name, "") for name in ("slot", "executor", "node"))
        rows = self._read(
            "UPDATE runs SET status = 'running', started = ?, heartbeat = ?, pid = ?, identity = ?, slot = ?, "
            "executor = ?, node = ? WHERE status = 'queued' AND id = COALESCE(?, (SELECT id FROM runs WHERE status = "
            "'queued' ORDER BY position LIMIT 1)) RETURNING id",
            (now, now, pid, identity, *where, run_id),
        )
        return self.run(rows[0]["id"]) if rows else None

    def set_process(self, run_id: str, pid: int, identity: str | None) -> None:
        """Records which process carries out a running run; raises StoreError if it is not running any more."""
        sql = "UPDATE runs SET pid = ?, identity = ?, heartbeat = ? WHERE id = ? AND status = 'running'"
        if not self._write(sql, (pid, identity, time.time(), run_id)):
            raise StoreError(f"Run {run_id!r} is not running any more; queue it again with retry.")

    def unclaim(self, run_id: str, pid: int) -> None:
        """Queues a run again, because the worker ``pid`` claimed it but could not start a process for it."""
        sql = f"UPDATE runs SET status = 'queued', started = NULL, {NOWHERE} WHERE id = ? AND pid = ?"
        self._write(f"{sql} AND status = 'running'", (run_id, pid))

    def set_place(self, run_id: str, slot: str, node: str) -> None:
        """Records where a running run was finally placed."""
        self._write("UPDATE runs SET slot = ?, node = ? WHERE id = ? AND status = 'running'", (slot, node, run_id))

    def receive(self, run_id: str, events: Sequence[tuple[Event, float]]) -> None:
        """Adds events of a run on another machine, each with its unix seconds: all or nothing."""
        if events:
            with self._together():
                for event, at in events:
                    self._add(run_id, event, at)

    def beat(self, run_id: str) -> None:
        """Records a heartbeat of the run's process."""
        self._write("UPDATE runs SET heartbeat = ? WHERE id = ? AND status = 'running'", (time.time(), run_id))

    def finish(
        self, run_id: str, status: Status, *, result: RunFinished | None = None, error: str | None = None
    ) -> None:
        """Ends a queued or running run; a run that has ended is not changed."""
        assert status in ENDED, status
        sql = "UPDATE runs SET status = ?, result = ?, error = ?, ended = ? WHERE id = ?"
        content = to_json(result)[1] if result else None
        self._write(f"{sql} AND status IN ('queued', 'running')", (status, content, error, time.time(), run_id))

    def set_verified(self, run_id: str, verified: bool) -> None:
        """Records what a later verification of a run's adapter package says."""
        with self._together():
            if (result := self.run(run_id).result) is not None:
                content = to_json(replace(result, adapter_verified=verified))[1]
                self._write("UPDATE runs SET result = ? WHERE id = ?", (content, run_id))

    def wait(self, run_id: str) -> None:
        """Marks a running run as paused at its next rung; it keeps the node, which its seconds belong to."""
        self._write(f"UPDATE runs SET status = 'waiting', {PAUSED} WHERE id = ? AND status = 'running'", (run_id,))

    def advance(self, on: Sequence[str], outrun: Sequence[str] = (), *, alone: bool = False) -> None:
        """Queues the runs ``on`` again, in their old places, and ends those that were ``outrun`` at a rung.

        A run that goes on ``alone`` pauses at no further rung.
        """
        with self._together():
            sql = "UPDATE runs SET status = 'queued', rung = MAX(rung + 1, ?), error = NULL"
            for run_id in on:
                self._write(f"{sql} WHERE id = ? AND status = 'waiting'", (len(RUNGS) if alone else 0, run_id))
            sql = "UPDATE runs SET status = 'outrun', ended = ? WHERE id = ? AND status = 'waiting'"
            for run_id in outrun:
                self._write(sql, (time.time(), run_id))
        for run_id in outrun:
            self.forget_states(run_id)

    def call_back(self, run_id: str) -> None:
        """Queues a run again that was outrun; it starts anew and pauses no more."""
        sql = "UPDATE runs SET status = 'queued', rung = ?, ended = NULL WHERE id = ? AND status = 'outrun'"
        self._write(sql, (len(RUNGS), run_id))

    def forget_states(self, run_id: str) -> None:
        """Deletes the best and the last state of a training, once its final files are written or not wanted."""
        shutil.rmtree(self.run_dir(run_id) / STATES, ignore_errors=True)

    def requeue(self, run_id: str, why: str) -> None:
        """Queues a run whose process is gone again, in its old place; ``why`` is shown until it goes on."""
        self._queue_again(run_id, "running", why)

    def resume(self, run_id: str) -> None:
        """Queues an interrupted run again; it goes on from its last state, or starts anew if it had not saved one.

        An earlier request to stop or cancel is dropped: a person who resumes a run wants it to go on.
        Raises StoreError if the run was not interrupted, or another run repeats it.
        """
        old = self.run(run_id)
        if old.retried_as is not None:
            raise StoreError(f"Run {run_id!r} was already queued again as {old.retried_as!r}; resume that one instead.")
        if not self._queue_again(run_id, "interrupted", old.error or "", ", wish = NULL"):
            raise StoreError(f"Run {run_id!r} is {self.run(run_id).status}; only an interrupted run can be resumed.")

    def _queue_again(self, run_id: str, status: Status, why: str, more: str = "") -> int:
        return self._write(
            "UPDATE runs SET status = 'queued', error = ?, resumptions = resumptions + 1, ended = NULL, heartbeat = "
            f"NULL, {NOWHERE}{more} WHERE id = ? AND status = ? AND retried_as IS NULL",
            (why, run_id, status),
        )

    def begin_again(self, run_id: str) -> None:
        """Deletes events of a run's earlier process, except zero-shot and the training that was saved.

        The run's new process calls this. Memory samples and phases are deleted too, so that every curve has a single
        start. A run that had only paused at a rung gets no note.
        """
        why, goes_on = self.run(run_id).error, self.has_last_state(run_id)
        how = "goes on from its last saved state" if goes_on else "starts anew, because it had saved no state"
        kept: dict[object, int] = {}
        for one in self.events(run_id, ["StepDone", "Evaluated"]) if goes_on else []:
            match one.event:
                case Evaluated(step=0, split=split):
                    kept.setdefault(split, one.seq)  # only the first: the end of a run may report step 0 again
                case StepDone() | Evaluated(split="validation"):
                    kept[one.seq] = one.seq
        with self._together():
            sql = "DELETE FROM events WHERE run = ? AND seq NOT IN (SELECT value FROM JSON_EACH(?))"
            self._write(sql, (run_id, json.dumps(list(kept.values()))))
            self._write("UPDATE runs SET error = NULL WHERE id = ?", (run_id,))
            if why is not None:
                self.append(run_id, Note(f"The run was interrupted, and {how}. {why}".strip(), "warning"))

    def ask_all(self, sweep: str, wish: StopRequest) -> None:
        """Asks all runs of a sweep that have not ended; a search is paused."""
        self.pause_search(sweep)
        for run in self.runs(sweep):
            if run.status not in ENDED:
                self.ask(run.id, wish)

    def ask(self, run_id: str, wish: StopRequest) -> None:
        """Asks a running run to stop (keep the best state) or cancel (discard it). A run that has ended is not changed.

        A queued run with a saved state is asked to stop when it goes on; any other queued run is cancelled at once.
        """
        self._row("run", run_id)
        going, saved = "status = 'running'", False
        with suppress(StoreError):  # its row cannot be read
            saved = self.has_last_state(run_id)
        if wish == "stop" and saved:
            going = "status IN ('queued', 'running')"
            self.advance([run_id])  # one that waits at a rung goes on, and stops
        else:
            sql = "UPDATE runs SET status = 'cancelled', error = NULL, ended = ? WHERE id = ?"
            if self._write(f"{sql} AND status IN ('queued', 'waiting')", (time.time(), run_id)):
                if saved:
                    self.forget_states(run_id)
                return
        self._write(f"UPDATE runs SET wish = ? WHERE id = ? AND {going} AND wish IS NOT 'cancel'", (wish, run_id))
