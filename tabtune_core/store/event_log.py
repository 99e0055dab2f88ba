"""The append-only log of runs' events. In: events, and ids of runs. Out: the events, or only their fields, for frames.

If the disk is full or the database is locked, a run waits: it would lose its progress by ending.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

from tabtune_core.errors import ShortageError
from tabtune_core.events import Evaluated, Event, Resumed, RunPlanned, StepDone, from_json, required, to_json
from tabtune_core.files.plain_values import LARGEST
from tabtune_core.store.database import Database

PATIENCE_SECONDS = 60.0
"""How long an event waits for room on the disk. After that the run ends; it can be resumed."""
AGAIN_SECONDS = 0.5
"""Between two tries."""
SELECT = "SELECT seq, run, time, kind, payload FROM events"
Given = TypeVar("Given")
Kind = TypeVar("Kind", bound=Event)


@dataclass(frozen=True, slots=True)
class Stored:
    """One event with its position in the store."""

    seq: int
    """Grows with every event; pass the last one seen as ``after`` to read on."""
    time: float
    """Unix seconds at which it was written."""
    event: Event


class EventLog(Database):
    """The events of a workspace's runs."""

    def append(self, run_id: str, event: Event) -> None:
        """Adds an event to a run.

        ``Resumed`` deletes later steps and evaluations, and at step 0 also those of zero-shot: they are done again.
        """
        with self._together() if isinstance(event, Resumed) else nullcontext():
            self._add(run_id, event, time.time())

    def _add(self, run_id: str, event: Event, at: float) -> None:
        kind, payload = to_json(event)
        if isinstance(event, RunPlanned):
            self._write("UPDATE runs SET device = ? WHERE id = ?", (event.device_name, run_id))
        self._write("INSERT INTO events (run, time, kind, payload) VALUES (?, ?, ?, ?)", (run_id, at, kind, payload))
        if isinstance(event, Resumed):
            stored = self.events(run_id, ["StepDone", "Evaluated"])
            kept = event.step or -1
            later = [one.seq for one in stored if isinstance(one.event, StepDone | Evaluated) and one.event.step > kept]
            self._write("DELETE FROM events WHERE seq IN (SELECT value FROM JSON_EACH(?))", (json.dumps(later),))

    def events(self, run_id: str, kinds: Sequence[str] | None = None, after: int = 0) -> list[Stored]:
        """Returns a run's events after position ``after``, oldest first, of all kinds or the given ones.

        Those that this version cannot read are left out here and below.
        """
        chosen = "" if kinds is None else f" AND kind IN ({_marks(kinds)})"
        sql = f"{SELECT} WHERE run = ? AND seq > ?{chosen} ORDER BY seq"
        return _stored(self._read(sql, (run_id, after, *(kinds or ()))))

    def last(self, run_id: str, kind: str) -> Stored | None:
        """Returns a run's latest event of a kind; None without one."""
        sql = f"{SELECT} WHERE run = ? AND kind = ? ORDER BY seq DESC LIMIT 1"
        return next(iter(_stored(self._read(sql, (run_id, kind)))), None)

    def last_event(self, run_id: str, kind: type[Kind]) -> Kind | None:
        """Returns a run's latest event of a kind; None without one."""
        last = self.last(run_id, kind.__name__)
        return last.event if last and isinstance(last.event, kind) else None

    def fields(self, run_ids: Sequence[str], kind: str, *, after: int = 0, upto: int = LARGEST) -> list[dict[str, Any]]:
        """Returns events of one kind as plain fields with ``run`` and ``time`` (unix seconds), run by run.

        They are those at positions above ``after`` up to ``upto``.
        """
        sql = f"{SELECT} WHERE kind = ? AND seq > ? AND seq <= ? AND run IN ({_marks(run_ids)}) ORDER BY run, seq"
        return _parsed(self._read(sql, (kind, after, upto, *run_ids)), kind)

    def last_seqs(self, run_id: str, kinds: Sequence[str]) -> dict[str, int]:
        """Returns the position of a run's latest event of each kind, read at one moment; 0 without one. Cheap."""
        sql = "SELECT value, (SELECT MAX(seq) FROM events WHERE run = ? AND kind = value) AS last FROM JSON_EACH(?)"
        return {row["value"]: row["last"] or 0 for row in self._read(sql, (run_id, json.dumps(list(kinds))))}


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))


def _parsed(rows: Sequence[sqlite3.Row], kind: str) -> list[dict[str, Any]]:
    """Parses the rows' fields, as one text, which is several times faster; leaves out what cannot be read."""
    needed = required(kind)
    try:
        payloads = json.loads("[" + ",".join(row["payload"] for row in rows) + "]")
        if not all(needed <= values.keys() for values in payloads):
            raise ValueError("a field is missing")
        pairs = zip(rows, payloads, strict=True)
        return [values | {"run": row["run"], "time": float(row["time"])} for row, values in pairs]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return [asdict(one.event) | {"run": row["run"], "time": one.time} for row in rows for one in _stored([row])]


def _stored(rows: Sequence[sqlite3.Row]) -> list[Stored]:
    """Returns the events of rows, without those that cannot be read."""
    stored = []
    for row in rows:
        with suppress(ValueError, TypeError):
            stored.append(Stored(row["seq"], float(row["time"]), from_json(row["kind"], row["payload"])))
    return stored


def patiently(
    write: Callable[[], Given], seconds: float = PATIENCE_SECONDS, say: Callable[[str], None] | None = None
) -> Given:
    """Calls ``write`` until it succeeds, and returns its result; ``say`` is told each new shortage that it waits for.

    Raises ShortageError if the shortage does not pass by itself, or lasted longer than ``seconds``.
    """
    deadline, reported = time.monotonic() + seconds, ""
    while True:
        try:
            return write()
        except ShortageError as error:
            if not error.passes or time.monotonic() > deadline:
                raise
            if say and error.lack != reported:
                say(str(error))
            reported = error.lack
        time.sleep(AGAIN_SECONDS)


def teller(store: EventLog, run_id: str) -> Callable[[Event], None]:
    """Returns a function that adds an event to a run, patiently; it may be called from several threads."""
    return lambda event: patiently(partial(store.append, run_id, event))
