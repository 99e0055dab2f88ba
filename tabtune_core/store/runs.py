"""The run store: the only meeting point of pages, command line, worker and runs.

In: settings of runs, events, wishes. Out: frozen rows. Events are only ever added; a row that has ended keeps its status.
"""

import functools
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tabtune_core.errors import StoreError
from tabtune_core.events import (
    Evaluated,
    Event,
    Note,
    RunFinished,
    StepDone,
    StopRequest,
    Unread,
    from_json,
    to_json,
)
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import distinct_labels
from tabtune_core.store.database import check_row, is_folder_name, is_time, new_id, only, size_of
from tabtune_core.store.event_log import EventLog
from tabtune_core.store.job_kinds import uses
from tabtune_core.store.jobs import JobQueue

Status = Literal["queued", "running", "finished", "stopped", "diverged", "cancelled", "failed", "interrupted"]
RANKED: frozenset[Status] = frozenset({"finished", "stopped", "diverged"})
"""Ended with a result."""
ENDED: frozenset[Status] = RANKED | {"cancelled", "failed", "interrupted"}
EVENTS_A_STEP = 2_000
"""That are deleted at once, in milliseconds."""
RETRYABLE: frozenset[Status] = frozenset({"failed", "interrupted", "cancelled", "diverged"})
MOST_TAGS, LONGEST_TAG = 10, 40
STATES = "states"
"""Folder in a run's own, of its best and last state while it trains; taken away when the run has ended, unless it was interrupted."""
LAST_STATE = "last.safetensors"
"""File there, from which a run goes on."""
NOWHERE = "pid = NULL, identity = NULL, slot = '', executor = '', node = '', received = 0"
"""Of a row that waits in the queue, again."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the store knows it. Times are unix seconds."""

    id: str
    sweep: str
    name: str
    """What a row or a curve is called, for example ``LoRA r=8``."""
    status: Status
    settings: RunSettings
    created: float
    started: float | None
    ended: float | None
    heartbeat: float | None
    """Last sign of life of the run's process."""
    pid: int | None
    identity: str | None
    """Of that process, whatever has its pid later; None where a worker of an earlier version wrote the row."""
    wish: StopRequest | None
    """What a person asked for while it was running."""
    error: str | None
    """For the person: what happened and what to do."""
    result: RunFinished | None
    retried_as: str | None
    """Id of the run that repeats this one."""
    position: float
    """Place in the queue, smallest first."""
    note: str = ""
    """What a person wrote about it."""
    archived: bool = False
    """Put away by a person."""
    slot: str = ""
    """Where the worker put it: a card such as ``cuda:1``, or ``cpu``; empty while queued. What it computes on is in its ``RunPlanned``."""
    executor: str = ""
    """What carries it out: ``local``, or the name of another; empty while queued, and where an earlier version wrote the row: local."""
    node: str = ""
    """Name of the machine that carries it out; empty as above."""
    resumptions: int = 0
    """How many times it was queued again after an interruption, by itself or by a person."""
    tags: tuple[str, ...] = ()
    """Words that a person put on it."""

    @property
    def resumed(self) -> str:
        """For example ``Resumed at step 40 after an interruption``; empty for a run that was never interrupted and queued again."""
        if not self.resumptions:
            return ""
        if self.result is None:
            return "Resumed after an interruption"
        if not self.result.resumed_steps:
            return "Started anew after an interruption"
        return f"Resumed at step {' and '.join(map(str, self.result.resumed_steps))} after an interruption"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A run whose row this version cannot read; the row is left as it is, and so are the others."""

    id: str
    sweep: str
    name: str
    status: str
    why: str
    """For the person: what cannot be read."""
    heartbeat: object = None
    """As it stands in the row: a process that goes on changes it."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs that were launched together."""

    id: str
    name: str
    created: float
    """Unix seconds."""
    counts: dict[Status, int]
    """How many of its runs have each status."""
    owner: str = ""
    """Who launched it, where people log in; empty: not known."""


def default_home() -> Path:
    """The workspace: the environment variable TABTUNE_HOME, or ``~/.tabtune``."""
    return Path(os.environ.get("TABTUNE_HOME") or Path.home() / ".tabtune")


class RunStore(EventLog, JobQueue):
    """The runs and jobs of one workspace; safe from several threads and processes, but not across a fork.

    Raises:
        StoreError: when the folder or its database cannot be opened, and for an id that the workspace does not hold.
    """

    def run_dir(self, run_id: str) -> Path:
        """The run's folder, which its process makes."""
        return self.home / "runs" / self.run(run_id).id

    def add_sweep(self, runs: Sequence[RunSettings], name: str = "", *, owner: str = "") -> tuple[str, list[str]]:
        """Queues the runs, in this order, behind all others. Returns the sweep's id and theirs.

        ``owner`` is the person who logged in for it.
        """
        sweep = new_id()
        with self._together():
            self._write("INSERT INTO sweeps (id, name, created, owner) VALUES (?, ?, ?, ?)", (sweep, name, time.time(), owner))
            ids = [self._queue(sweep, label, settings) for label, settings in zip(distinct_labels(runs), runs, strict=True)]
        return sweep, ids

    def _queue(self, sweep: str, name: str, settings: RunSettings) -> str:
        run_id = new_id()
        self._write(
            "INSERT INTO runs (id, sweep, name, status, settings, created, position)"
            " SELECT ?, ?, ?, 'queued', ?, ?, COALESCE(MAX(position), 0) + 1 FROM runs",
            (run_id, sweep, name, json.dumps(settings.to_dict()), time.time()),
        )
        return run_id

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
        return [run for run in map(_read_run, rows) if isinstance(run, Run)]

    def unreadable(self, sweep: str | None = None, *, status: Status | None = None) -> list[Unreadable]:
        """Rows of one sweep or all, of one status or all, that this version cannot read, in the order of the queue."""
        where, given = only(sweep=sweep, status=status)
        rows = self._read(f"SELECT * FROM runs WHERE {where} ORDER BY position", given)
        return [found for found in map(_read_run, rows) if isinstance(found, Unreadable)]

    def marks(self, sweep: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """What changes when a list of these runs must be read anew: id, status, resumptions, wish, name, note, archived, tags: cheap."""
        where, given = only(sweep=sweep)
        sql = f"SELECT id, status, resumptions, wish, name, note, archived, tags FROM runs WHERE {where} ORDER BY position"
        return tuple(tuple(row) for row in self._read(sql, given))

    def run(self, run_id: str) -> Run:
        """One run as it stands now; a StoreError says why where its row cannot be read."""
        found = _read_run(self._row(run_id))
        if isinstance(found, Unreadable):
            raise StoreError(f"Run {run_id!r} cannot be read: {found.why}. Open the workspace with the version that wrote it.")
        return found

    def _row(self, run_id: str) -> sqlite3.Row:
        rows = self._read("SELECT * FROM runs WHERE id = ?", (run_id,))
        if not rows:
            raise StoreError(f"There is no run {run_id!r} in {self.home}; it may have been deleted.")
        return rows[0]

    def claim(
        self, pid: int, identity: str | None, run_id: str | None = None, *, slot: str = "", executor: str = "", node: str = ""
    ) -> Run | None:
        """Takes the first of the queue, or one that waits in it, for this process; of several askers only one gets it."""
        now = time.time()
        rows = self._read(
            "UPDATE runs SET status = 'running', started = ?, heartbeat = ?, pid = ?, identity = ?, slot = ?, executor = ?, node = ?"
            " WHERE status = 'queued'"
            " AND id = COALESCE(?, (SELECT id FROM runs WHERE status = 'queued' ORDER BY position LIMIT 1)) RETURNING *",
            (now, now, pid, identity, slot, executor, node, run_id),
        )
        found = _read_run(rows[0]) if rows else None
        if isinstance(found, Unreadable):
            self.finish(found.id, "failed", error=f"It cannot be read: {found.why}.")
            return None
        return found

    def set_process(self, run_id: str, pid: int, identity: str | None) -> None:
        """Notes which process carries out a running run; a run that is no longer running is a StoreError."""
        sql = "UPDATE runs SET pid = ?, identity = ?, heartbeat = ? WHERE id = ? AND status = 'running'"
        if not self._write(sql, (pid, identity, time.time(), run_id)):
            raise StoreError(f"Run {run_id!r} is not running any more; queue it again with retry.")

    def unclaim(self, run_ids: Sequence[str], pid: int) -> None:
        """Queues runs again that the worker ``pid`` took and could start no process for."""
        sql = f"UPDATE runs SET status = 'queued', started = NULL, {NOWHERE} WHERE id = ? AND pid = ? AND status = 'running'"
        for run_id in run_ids:
            self._write(sql, (run_id, pid))

    def set_place(self, run_id: str, slot: str, node: str) -> None:
        """Notes where a running run was put after all."""
        self._write("UPDATE runs SET slot = ?, node = ? WHERE id = ? AND status = 'running'", (slot, node, run_id))

    def received(self, run_id: str) -> int:
        """How many of the events are here that the process of a run on another machine has told."""
        return int(self._row(run_id)["received"])

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

    def has_last_state(self, run_id: str) -> bool:
        """Whether the run can go on from a state that it saved, and need not start anew."""
        return (self.run_dir(run_id) / STATES / LAST_STATE).exists()

    def forget_states(self, run_id: str) -> None:
        """Takes away the best and the last state of a training, of which what lasts was made, or nothing is to be made."""
        shutil.rmtree(self.run_dir(run_id) / STATES, ignore_errors=True)

    def requeue(self, run_id: str, why: str) -> None:
        """Queues a running run again in its old place, whose process is gone; ``why`` is told until it goes on."""
        self._queue_again(run_id, "running", why)

    def resume(self, run_id: str) -> None:
        """Queues an interrupted run again, which goes on from its last state, or starts anew where it had saved none.

        Raises:
            StoreError: it was not interrupted, or another run repeats it.
        """
        old = self.run(run_id)
        if old.retried_as is not None:
            raise StoreError(f"Run {run_id!r} was already queued again as {old.retried_as!r}; it is not resumed beside that one.")
        if not self._queue_again(run_id, "interrupted", old.error or ""):
            raise StoreError(f"Run {run_id!r} is {self.run(run_id).status}; only an interrupted run can be resumed.")

    def _queue_again(self, run_id: str, status: Status, why: str) -> int:
        return self._write(
            f"UPDATE runs SET status = 'queued', error = ?, resumptions = resumptions + 1, ended = NULL, heartbeat = NULL, {NOWHERE}"
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
        """Asks a running run to stop (keep the best) or cancel (discard); a queued one is cancelled at once, an ended one left alone."""
        self._row(run_id)
        queued = self._write("UPDATE runs SET status = 'cancelled', ended = ? WHERE id = ? AND status = 'queued'", (time.time(), run_id))
        if not queued:
            sql = "UPDATE runs SET wish = ? WHERE id = ? AND status = 'running' AND wish IS NOT 'cancel'"
            self._write(sql, (wish, run_id))

    def wish(self, run_id: str) -> StopRequest | None:
        """What a person asked of a running run."""
        rows = self._read("SELECT wish FROM runs WHERE id = ?", (run_id,))
        return rows[0]["wish"] if rows else None

    def retry(self, run_id: str, settings: RunSettings | None = None) -> str:
        """Queues a run without a useful result once more in its sweep, with its settings or others. Returns the new run's id."""
        with self._together():
            old = self.run(run_id)
            if old.retried_as is not None:
                raise StoreError(f"Run {run_id!r} was already queued again as {old.retried_as!r}; retry that one.")
            if old.status not in RETRYABLE:
                raise StoreError(f"Run {run_id!r} is {old.status}; only {', '.join(sorted(RETRYABLE))} runs can be retried.")
            new = self._queue(old.sweep, old.name, settings or old.settings)
            self._write("UPDATE runs SET retried_as = ? WHERE id = ?", (new, run_id))
        return new

    def duplicate(self, run_id: str, settings: RunSettings, name: str | None = None) -> str:
        """Queues other settings in the sweep of a run, behind all others. Returns the new run's id."""
        with self._together():
            return self._queue(self.run(run_id).sweep, name or settings.label, settings)

    def move_to_front(self, run_id: str) -> None:
        """Makes a queued run the next to be taken."""
        sql = "UPDATE runs SET position = (SELECT MIN(position) FROM runs) - 1 WHERE id = ? AND status = 'queued'"
        if not self._write(sql, (run_id,)):
            raise StoreError(f"Run {run_id!r} is {self.run(run_id).status}; only a queued run can be moved.")

    def rename(self, run_id: str, name: str) -> None:
        """Another name for a run; what it did is in its settings."""
        self._write("UPDATE runs SET name = ? WHERE id = ?", (name, self.run(run_id).id))

    def annotate(self, run_id: str, note: str) -> None:
        """What a person wants to remember about a run."""
        self._write("UPDATE runs SET note = ? WHERE id = ?", (note, self.run(run_id).id))

    def tag(self, run_id: str, tags: Sequence[str]) -> None:
        """Other tags for a run: single words, each once.

        Raises:
            StoreError: there are more, or longer ones, than a list can show.
        """
        words = list(dict.fromkeys(word for tag in tags for word in tag.replace(",", " ").split()))
        if len(words) > MOST_TAGS or any(len(word) > LONGEST_TAG for word in words):
            raise StoreError(f"A run has at most {MOST_TAGS} tags of at most {LONGEST_TAG} letters; {' '.join(words)!r:.200} is more.")
        self._write("UPDATE runs SET tags = ? WHERE id = ?", (" ".join(words), self.run(run_id).id))

    def archive(self, run_id: str, archived: bool = True) -> None:
        """Puts a run away, or takes it out again; nothing of it is lost."""
        self._write("UPDATE runs SET archived = ? WHERE id = ?", (archived, self.run(run_id).id))

    def size_bytes(self, run_id: str) -> int:
        """What the run's folder takes on disk."""
        return size_of(self.run_dir(run_id))

    def delete(self, run_id: str) -> int:
        """Removes an ended run with its events, its folder and the jobs about it, and its sweep with the last run.

        With the last run of a table, what runs shared goes that was made in its time. Returns the bytes that were freed on disk.
        """
        run = self._row(run_id)
        if run["status"] in ("queued", "running"):
            raise StoreError(f"Run {run_id!r} is {run['status']}; cancel it before deleting it.")
        self.refuse_while_used(f"run {run_id!r}", run_id)
        about_it = [job for job in self.jobs() if run_id in uses(job.arguments)]
        own = [self.home / "runs" / run["id"]] if is_folder_name(run["id"]) else []
        freed = size_of(*own, *(self.job_dir(job.id) for job in about_it)) + self._drop_shared(run)
        for job in about_it:
            self.delete_job(job.id)
        # the folder first: after a crash in between, the row is still there to delete again
        for folder in own:
            shutil.rmtree(folder, ignore_errors=True)
        before = self._file_bytes()
        some = f"SELECT seq FROM events WHERE run = ? LIMIT {EVENTS_A_STEP}"
        self._delete_in_steps(f"DELETE FROM events WHERE seq IN ({some})", (run_id,))
        with self._together():
            self._write("DELETE FROM runs WHERE id = ?", (run_id,))
            self._write("UPDATE runs SET retried_as = NULL WHERE retried_as = ?", (run_id,))
            self._write("DELETE FROM sweeps WHERE id = ? AND NOT EXISTS (SELECT 1 FROM runs WHERE sweep = sweeps.id)", (run["sweep"],))
        self._give_back(idle=not (self.runs(status="running") or self.jobs(status="running")))
        return freed + max(0, before - self._file_bytes())

    def _drop_shared(self, run: sqlite3.Row) -> int:
        """Bytes of the arrays that went. Other runs that want one make it anew; who reads one at this moment keeps it."""
        same = (
            "SELECT 1 FROM runs AS other JOIN runs AS mine ON mine.id = ? AND other.id != mine.id WHERE NOT JSON_VALID(mine.settings)"
            " OR NOT JSON_VALID(other.settings)"
            " OR JSON_EXTRACT(other.settings, '$.dataset') = JSON_EXTRACT(mine.settings, '$.dataset') LIMIT 1"
        )
        if self._read(same, (run["id"],)) or run["started"] is None or run["ended"] is None:
            return 0
        freed = 0
        for file in (self.home / "shared").glob("*.npy"):
            with suppress(FileNotFoundError):
                told = file.stat()
                if run["started"] <= told.st_mtime <= run["ended"]:
                    file.unlink()
                    freed += told.st_size
        return freed


def _is_of_training(event: Event | Unread) -> bool:
    """Whether it is a step or an evaluation between steps, none of zero-shot or of the end."""
    return isinstance(event, StepDone) or (isinstance(event, Evaluated) and event.split == "validation" and event.step > 0)


@functools.lru_cache(maxsize=4096)
def _settings(text: str) -> RunSettings:
    """Settings never change, and checking them takes longer than reading the row."""
    return RunSettings.from_dict(json.loads(text))


def _read_run(row: sqlite3.Row) -> Run | Unreadable:
    """The row with its settings and result, or what of it cannot be read."""
    values, part = dict(row), "its settings"
    try:
        settings = _settings(values["settings"])
        part = "its result"
        result = None if values["result"] is None else from_json("RunFinished", values["result"])
        part = "its status"
        if values["status"] not in get_args(Status):
            raise ValueError(f"{values['status']!r} is none that this version knows")
        read: Any = values | {
            "settings": settings,
            "result": result,
            "archived": bool(values["archived"]),
            "tags": tuple(values["tags"].split()),
        }
        part = "its row"
        return check_row(Run(**{name: read[name] for name in Run.__dataclass_fields__}))
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        why = f"{part}: {error}".rstrip(".")
        return Unreadable(values["id"], str(values["sweep"]), str(values["name"]), str(values["status"]), why, values["heartbeat"])
