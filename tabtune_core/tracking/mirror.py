"""Sends a sweep of the workspace to a tracker, when it has ended or while it goes on; both read the store in the same
way.

In: the store and a tracker. Out: what the tracker did not have. The store stays the source of truth; nothing here
writes to it.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from tabtune_core.analysis.comparison import half_widths
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.run_curves import METER_COLUMNS
from tabtune_core.analysis.runs_table import leaderboard, of_task
from tabtune_core.data.findings import shorten
from tabtune_core.errors import AdapterError, TabTuneError, TrackerError
from tabtune_core.events import Evaluated, MemorySampled, PhaseDone, StepDone
from tabtune_core.lora.package_reader import without_labels
from tabtune_core.metrics import METRICS
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import SETTINGS, RunSettings
from tabtune_core.shortage import shortage_of
from tabtune_core.store.event_log import Stored
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.tracking.tracker import AboutRun, Ending, OpenRun, Row, Tracker, Value
from tabtune_core.wording import counted

CURVES = ("StepDone", "Evaluated", "MemorySampled", "PhaseDone")
"""The events that are sent, which hold only numbers. Notes and errors quote cells of the table."""
FORMAT = 3
"""Grows when a run is sent in another form, so that runs that were sent before are sent again."""
AT_ONCE = 5_000
LOOK_SECONDS = 2.0
QUIET_SECONDS = 3.0
"""How long the end waits for the tracker without a word."""
LACKING = " without its adapter"
"""End of the stamp of a run whose adapter could not be read, so that it is sent again once it can be."""
_OF_SETTINGS = frozenset({"place", "rank", "alpha", "dropout", "learning_rate", "seed", "archived"})


class Mirror:
    """Sends the runs of one sweep to one tracker."""

    def __init__(self, store: RunStore, sweep: str, tracker: Tracker) -> None:
        """Sends nothing yet.

        Raises:
            StoreError: there is no such sweep.
        """
        self._store, self._tracker = store, tracker
        self._sweep = store.sweep(sweep)
        self._open: dict[str, _Going] = {}
        self._done: dict[str, int] = {}
        """By run that the tracker has completely: how often it was resumed."""
        self.sent = 0
        """Number of ended runs that the tracker did not have."""
        self.left_out = set[str]()
        """Sentences about adapters that cannot be read."""

    def look(self, *, live: bool = False) -> int:
        """Sends what the tracker does not have; ``live``: also of runs that go on. Returns how many runs have not
        ended.

        Raises:
            TrackerError: the tracker did not accept a run; the next call sends it again.
            ShortageError: the machine lacks something, such as room on the disk of the tracker's files.
        """
        runs = self._store.runs(self._sweep.id)
        for run in runs:
            if run.started is None or run.status == "queued" or not (live or run.status in ENDED):
                continue
            try:
                self._send(run)
            except Exception as error:
                self._open.pop(run.id, None)
                if isinstance(error, TabTuneError):
                    raise
                raise self._refusal(error) from error
        return sum(run.status not in ENDED for run in runs)

    def send(self) -> str:
        """Sends the runs that have ended, once; returns a sentence about what the tracker has.

        Raises:
            TrackerError, ShortageError: as ``look``.
        """
        going = self.look()
        rest = f" Not ended yet: {counted(going, 'run')}; export it again later." if going else ""
        left_out = "".join(f" {text}" for text in sorted(self.left_out))
        return (
            f"{self._tracker.title} has the sweep {self._sweep.id}; {counted(self.sent, 'run')} of it new or "
            f"changed.{rest}{left_out}"
        )

    def _refusal(self, error: Exception) -> TabTuneError:
        text, folder = str(error).strip().removeprefix(f"[Errno {getattr(error, 'errno', '')}] "), self._tracker.folder
        first = next(iter(text.splitlines()), type(error).__name__)
        doing = f"{self._tracker.title} did not accept the sweep, which the workspace still has"
        check = (
            f"files can be written in {str(folder)!r}"
            if folder
            else "its address and your login are right and the network is up"
        )
        what = f"{doing}. Check that {check}, and export it again. It said: {shorten(first, 160)}"
        return shortage_of(error, doing, folder) or TrackerError(what)

    def _send(self, run: Run) -> None:
        if self._done.get(run.id) == run.resumptions:
            return
        about, ending = self._about(run), self._ending(run) if run.status in ENDED else None
        going = self._open.get(run.id)
        if ending and not going and self._is_held(run, self._tracker.stamp(about), ending.stamp):
            self._done[run.id] = run.resumptions
            return
        # a run that is resumed withdraws events, some time after its row says that it is running
        if (
            going is None
            or going.about != about
            or self._store.extent(run.id, CURVES, going.after) != (going.sent, going.after)
        ):
            going = self._open[run.id] = _Going(self._tracker.begin(about), about)
        told = self._store.events(run.id, CURVES, going.after)
        for start in range(0, len(told), AT_ONCE):
            some = told[start : start + AT_ONCE]
            going.run.log(list(going.rows(some)))
            going.after, going.sent = some[-1].seq, going.sent + len(some)
        if ending:
            with scratch_folder() as folder:
                content, copy = self._adapter(run), folder / ADAPTER_FILE
                copy.write_bytes(content or b"")
                stamp = ending.stamp + LACKING * (content is None)
                going.run.end(dataclasses.replace(ending, adapter=copy if content else None, stamp=stamp))
            del self._open[run.id]
            self._done[run.id] = run.resumptions
            self.sent += 1

    def _about(self, run: Run) -> AboutRun:
        words = {"loralab.tags": " ".join(run.tags), "loralab.note": run.note}
        tags = {"loralab.sweep": run.sweep, "loralab.run": run.id} | {
            name: text for name, text in words.items() if text
        }
        name = f"{self._sweep.name[:60] or 'Sweep'} {run.sweep}"
        return AboutRun(
            run.id, run.name, run.sweep, name, run.started or run.created, dict(_settings(run.settings)), tags
        )

    def _ending(self, run: Run) -> Ending:
        results = {} if run.result is None else _results(self._store, run)
        told = [
            FORMAT,
            run.name,
            run.tags,
            run.note,
            run.status,
            run.resumptions,
            self._store.extent(run.id, CURVES),
            results,
        ]
        stamp = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        steps = run.result.steps_done if run.result else 0
        return Ending(run.status, Row(f"{run.id}-{stamp[:12]}", steps, run.ended or run.created, results), None, stamp)

    def _is_held(self, run: Run, held: str, stamp: str) -> bool:
        return held == stamp or (held == stamp + LACKING and self._adapter(run) is None)

    def _adapter(self, run: Run) -> bytes | None:
        """Returns the package without the class labels, which are cells of the table; empty without one, None if it
        cannot be read.
        """
        if not (run.result and run.result.adapter_verified):
            return b""
        try:
            return without_labels(self._store.run_dir(run.id) / ADAPTER_FILE)
        except AdapterError as error:
            self.left_out.add(f"The adapter of the run {run.name!r} ({run.id}) was not sent. {error}")
            return None


@dataclass(slots=True)
class _Going:
    """A run that is being sent, and how far it is."""

    run: OpenRun
    about: AboutRun
    sent: int = 0
    """Number of events sent."""
    after: int = 0
    """Position of the last event sent."""
    step: int = 0
    """The last step among the events sent."""

    def rows(self, told: Sequence[Stored]) -> Iterator[Row]:
        """Yields one row per event."""
        for one in told:
            match one.event:
                case StepDone() as done:
                    self.step = done.step
                    values = _named("train", done, ("loss", "gradient_norm", "learning_rate", "seconds"))
                case Evaluated() as scored:
                    values = {f"{scored.split}/{name}": value for name, value in scored.scores.items()}
                case MemorySampled() as sample:
                    values = _named("memory", sample, METER_COLUMNS)
                case PhaseDone() as phase:
                    peaks = {
                        f"phase/{phase.phase}/peak_{meter}_bytes": peak for meter, peak in phase.peak_bytes.items()
                    }
                    values = _named(f"phase/{phase.phase}", phase, ("seconds", "growth_bytes")) | peaks
                case _:  # an event of another version
                    continue
            if known := {name: float(value) for name, value in values.items() if value is not None}:
                yield Row(
                    str(one.seq), one.event.step if isinstance(one.event, Evaluated) else self.step, one.time, known
                )


def _named(prefix: str, event: object, names: Sequence[str]) -> dict[str, Any]:
    return {f"{prefix}/{name}": getattr(event, name) for name in names}


def _settings(settings: RunSettings) -> Iterator[tuple[str, Value]]:
    """Yields the settings that matter to the strategy, by their names in TOML; a list becomes one text."""
    for row in SETTINGS.values():
        value = settings.value(row.name)
        if settings.strategy in row.strategies and value not in (None, (), {}) and not settings.is_replaced(row.name):
            yield row.path, value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _results(store: RunStore, run: Run) -> dict[str, float]:
    """Returns the numbers of the run's line on the leaderboard, with the half widths of its scores and gains, if known."""
    metric = METRICS[run.settings.selection_metric]
    line = of_task(leaderboard([run], metric.name), run.settings.task).iloc[0].to_dict()
    halves = half_widths(run.id, metric, partial(read_predictions, store))
    line |= {
        half_width(name): half for name, half in halves.items() if not pd.isna(line.get(name))
    }  # zero-shot has no gain
    numbers = {
        name: value for name, value in line.items() if name not in _OF_SETTINGS and isinstance(value, int | float)
    }
    return {f"result/{name}": float(value) for name, value in numbers.items() if math.isfinite(value)}


@contextlib.contextmanager
def following(mirror: Mirror, say: Callable[[str], None]) -> Iterator[None]:
    """Sends events in a thread while the block runs, and the rest after it: the block and the runs never wait for the
    tracker.

    An error is reported once; sending is tried again every LOOK_SECONDS.
    """
    over, ended, said, left_out = threading.Event(), threading.Event(), set[str](), set[str]()

    def look() -> None:
        try:
            mirror.look(live=True)
        except TabTuneError as error:
            if not said:
                said.add(str(error))
                say(f"warning: {error} The runs go on, and sending is tried again.")
        else:
            said.clear()
        for text in mirror.left_out - left_out:
            left_out.add(text)
            say(f"warning: {text}")

    def follow() -> None:
        try:
            while not over.wait(LOOK_SECONDS):
                look()
            look()
        finally:
            ended.set()

    threading.Thread(target=follow, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        try:
            if not isinstance(sys.exception(), KeyboardInterrupt):  # which asks to leave at once
                _wait_for(ended, say)
        finally:
            if said or not ended.is_set():
                say(
                    "warning: The tracker lacks the end of the sweep. The workspace has all of it; 'loralab export' "
                    "sends the rest."
                )


def _wait_for(ended: threading.Event, say: Callable[[str], None]) -> None:
    if not ended.wait(QUIET_SECONDS):
        say("Waiting until the tracker has the end of the sweep; Ctrl-C leaves at once.")
    while not ended.wait(0.2):
        pass  # with MLflow loaded, Ctrl-C does not interrupt a long wait
