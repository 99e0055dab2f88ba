"""Reads the runs of a workspace.

In: ids. Out: frozen rows, and a value that changes whenever a list of them does.
"""

import sqlite3
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError
from tabtune_core.events import StopRequest
from tabtune_core.store.database import is_time, only, size_of
from tabtune_core.store.event_log import EventLog
from tabtune_core.store.jobs import JobQueue
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import Run, Status, Sweep, Unreadable, read_run


class RunReader(EventLog, JobQueue):
    """Sweeps and runs as they stand now."""

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
