"""One run on a node of a cluster: the class of the actor, whose process carries out the run, and its node's files.

In: the order of a run, and the files that it needs. Out: new events and log lines, the last state of its
training, and finally its outcome and its files. The worker asks for all of them, and Ray ends this with the worker.
"""

import fcntl
import importlib
import os
import shutil
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabtune_core.errors import Cancelled, Waiting
from tabtune_core.events import Event, RunFailed, RunFinished, RunPlanned, StopRequest
from tabtune_core.execution.child import explain, kind_of_error, memory_advice, write_to
from tabtune_core.files.whole import in_one_move
from tabtune_core.scratch import PREFIX, SUFFIX, locked, sweep
from tabtune_core.settings import RunSettings
from tabtune_core.shortage import shortage_of
from tabtune_core.store.run_folder import LAST_STATE, LOG, STATES
from tabtune_core.store.run_row import Status

Files = dict[str, bytes]
"""Contents of files by their paths below a folder."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    status: Status
    """'interrupted' if the node had a shortage that may pass."""
    result: RunFinished | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class News:
    """What a run has reported since the last call."""

    events: list[tuple[Event, float]]
    """Events and their unix seconds."""
    log: bytes
    state: int
    """Grows with each saved last state; 0 before the first."""
    outcome: Outcome | None
    """None while the run goes on."""


def put(file: Path, content: bytes) -> None:
    """Writes a file whole or not at all: two runs of a node may get the same table at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with in_one_move(file) as partial:
        partial.write_bytes(content)


def states_of(folder: Path) -> list[Path]:
    """Returns the state files of a run by the run's folder."""
    return sorted((folder / STATES).glob(f"*{Path(LAST_STATE).suffix}"))


class RemoteRun:
    """One run; Ray makes an actor of it."""

    def __init__(self, run_id: str, attempt: int) -> None:
        import ray

        here = ray.get_runtime_context()
        self.node_id = here.get_node_id()
        self.home = Path(tempfile.gettempdir()) / f"{PREFIX}{self.node_id[:12]}{SUFFIX}"  # shared by the node's runs
        self.home.mkdir(mode=0o700, exist_ok=True)
        self._held = locked(self.home, fcntl.LOCK_SH)
        sweep()  # deletes folders of nodes that have left
        self.cards = here.get_accelerator_ids().get("GPU", [])
        for earlier in (self.home / "runs").glob(f"{run_id}-*"):
            shutil.rmtree(earlier, ignore_errors=True)  # its progress is in the workspace
        self.run_dir = self.home / "runs" / f"{run_id}-{attempt}"  # another than that of a process that is still ending
        self.run_dir.mkdir(parents=True)
        self._began = False
        self.asked: StopRequest | None = None
        self.outcome: Outcome | None = None
        self._lock = threading.Lock()
        self._events: list[tuple[Event, float]] = []
        self._plan: RunPlanned | None = None
        self._told = 0
        """Number of events that the workspace has and that were dropped here."""

    def where(self) -> tuple[str, str]:
        """Returns the id of this actor's node, and its slot as shown to people."""
        return self.node_id, f"cuda:{self.cards[0]}" if self.cards else "cpu"

    def missing(self, names: list[str]) -> list[str]:
        """Returns the names of files that this node does not have."""
        return [name for name in names if not (self.home / name).is_file()]

    def take(self, name: str, content: bytes) -> None:
        """Stores a file; the name of a state begins with STATES."""
        put((self.run_dir if name.startswith(f"{STATES}/") else self.home) / name, content)

    def start(self, settings: dict[str, Any], experiment: str, on_gpu: bool, race: dict[str, Any]) -> None:
        """Starts the run once its files are here; a second call does nothing.

        ``experiment`` is the module whose ``run_experiment`` carries it out, with the further arguments ``race``. With
        a GPU, the run sees only this one.
        """
        if self._began:
            return
        self._began = True
        if not on_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Ray does not hide GPUs from an actor that asked for no GPU
        write_to(self.run_dir / LOG)
        given = RunSettings.from_dict(settings), experiment, on_gpu, race
        threading.Thread(target=self._carry_out, args=given, name="run").start()

    def after(self, received: int, log_bytes: int) -> News:
        """Returns what came after the first ``received`` events and ``log_bytes`` of the log, which the worker has."""
        outcome = self.outcome  # read first, so that events before the end are in the same news
        with self._lock:
            del self._events[: received - self._told]
            self._told = max(self._told, received)
            events = list(self._events)
        with (self.run_dir / LOG).open("rb") as log:
            log.seek(log_bytes)
            lines = log.read()
        last = self.run_dir / STATES / LAST_STATE
        return News(events, lines, last.stat().st_mtime_ns if last.exists() else 0, outcome)

    def ask(self, word: StopRequest) -> None:
        """Records the request 'stop' or 'cancel'."""
        self.asked = word

    def state(self) -> Files:
        """Returns the last state and the best states beside it; empty if training has replaced them meanwhile.

        Training keeps the best state that the last state names until a later last state exists. So the files belong
        together if the last state is still the same after they were read.
        """
        last = self.run_dir / STATES / LAST_STATE
        with suppress(FileNotFoundError):
            before = last.stat()
            files = {path.name: path.read_bytes() for path in states_of(self.run_dir)}
            if os.path.samestat(before, last.stat()):
                return files
        return {}

    def left(self) -> Files:
        """Returns the files that a run leaves when it has ended."""
        files = {path.relative_to(self.run_dir): path for path in self.run_dir.rglob("*") if path.is_file()}
        return {str(name): path.read_bytes() for name, path in files.items() if name.parts[0] not in (STATES, LOG)}

    def forget(self) -> None:
        """Deletes the run's folder once all of it has arrived at the worker."""
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def _tell(self, event: Event) -> None:
        if isinstance(event, RunPlanned):
            self._plan = event
        with self._lock:
            self._events.append((event, time.time()))

    def _carry_out(self, settings: RunSettings, experiment: str, on_gpu: bool, race: dict[str, Any]) -> None:
        try:
            result = importlib.import_module(experiment).run_experiment(
                settings,
                home=self.home,
                run_dir=self.run_dir,
                emit=self._tell,
                stop_request=lambda: self.asked,
                given="cuda:0" if on_gpu and settings.device != "auto" else None,
                fresh=None,  # Ray's threads rule out a fork: a new interpreter verifies the adapter
                **race,
            )
            self.outcome = Outcome(result.outcome, result)
        except Waiting:
            self.outcome = Outcome("waiting")
        except Cancelled:
            self.outcome = Outcome("cancelled")
        except Exception as error:  # noqa: BLE001 - the run reports that it has failed
            with suppress(OSError):  # the log's disk may be what is full
                traceback.print_exception(error)
            lacking = shortage_of(error, "The run could not go on", self.home)
            passes = lacking is not None and lacking.passes
            advice = memory_advice(settings, self._plan)
            message = str(lacking) if passes else explain(error, advice, "the run's log", self.home)
            self._tell(RunFailed(message, kind_of_error(error)))
            self.outcome = Outcome("interrupted" if passes else "failed", error=message)
