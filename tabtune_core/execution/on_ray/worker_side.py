"""The worker's side of one run on a node: sends the run's files, stores its events, and brings its files back.

In: a queued run. Out: rows and files of the workspace, which only this machine writes. Every step can be repeated, so
that a full disk or a lost connection costs only time.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from tabtune_core.data.datasets import folder_of
from tabtune_core.errors import ShortageError, TabTuneError
from tabtune_core.events import StopRequest
from tabtune_core.execution.child import discard
from tabtune_core.execution.cluster import first_line
from tabtune_core.execution.executor import AGAIN, Ended
from tabtune_core.execution.on_ray.machines import Demand
from tabtune_core.execution.on_ray.remote_run import News, Outcome, put, states_of
from tabtune_core.settings.sweep import rungs_ahead
from tabtune_core.shortage import shortage_of
from tabtune_core.store.run_folder import LAST_STATE, LOG, STATES
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

POLL_SECONDS = 0.5
ANSWER_SECONDS = 60.0
"""How long a node may take to answer before it counts as lost."""
PENDING_SECONDS = 30.0
"""How long the cluster may take to start a run's process before the log says that the run waits."""
AGAIN_SECONDS = 1.0
JOIN_SECONDS = 5.0
TABLE_FILES = ("table.parquet", "table.json")

_log = logging.getLogger(__name__)


class NodeTroubleError(Exception):
    """Something went wrong on the node, outside of the run itself."""


class Link:
    """A task of the executor: one run and the thread that follows it."""

    def __init__(
        self,
        store: RunStore,
        run: Run,
        ray: Any,
        actor: Any,
        *,
        experiment: str,
        demand: Demand,
        node: str,
        name_of: Callable[[str], str],
    ) -> None:
        self.store, self.run, self.ray, self.experiment = store, run, ray, experiment
        self.id = run.id
        self.demand, self.node = demand, node
        """Resources that the run holds, and the id of its node: the intended one until the actor has started."""
        self.name_of = name_of
        """Returns a node's name for people."""
        self.goes_on = True
        self.ended = Ended("", AGAIN)
        self._actor = actor
        self._there = self._began = False
        self._answered = time.monotonic()
        self._received = self._log_start = 0
        """Events that have arrived here, and bytes of the log that earlier processes of the run have left."""
        self._state = 0
        """``News.state`` of the last state that was brought here."""
        self._asked: dict[str, float] = {}
        """Requests and when they were passed on, in monotonic seconds."""
        self._thread = threading.Thread(target=self._work, name=f"run-{run.id}", daemon=True)
        self._thread.start()

    def ask(self, word: StopRequest | None, grace_seconds: float) -> None:
        """Passes on a request; a cancelled run is killed after the grace time, or at once if it has not started."""
        if word is None or not self.goes_on:
            return
        if word not in self._asked:
            self._asked[word] = time.monotonic()
            self._actor.ask.remote(word)
        if word == "cancel" and (not self._there or time.monotonic() - self._asked[word] > grace_seconds):
            self.kill()

    def end(self) -> bool:
        """Ends the task; returns whether its thread has ended and writes nothing any more."""
        self._lose(self.ended)
        return self.join()

    def kill(self) -> None:
        """Ends the actor's process and everything that it started."""
        with contextlib.suppress(self.ray.exceptions.RayError, ValueError, TypeError):  # there may be no actor
            self.ray.kill(self._actor, no_restart=True)

    def join(self) -> bool:
        """Waits for the thread; returns whether it has ended."""
        self._thread.join(JOIN_SECONDS)
        return not self._thread.is_alive()

    def _work(self) -> None:
        known = ""
        while self.goes_on:
            try:
                self._follow()
                self.goes_on = False
            except Exception as error:  # noqa: BLE001 - it would be lost in this thread; the run reports it
                lacking = self._lacking_here(error)
                if lacking is None and not self._may_answer_yet(error):
                    self._lose(self._why(error))
                    return
                if lacking is not None and lacking.lack != known:
                    _log.warning("%s What run %s tells waits.", lacking, self.run.id)
                known = lacking.lack if lacking else ""
                time.sleep(AGAIN_SECONDS)

    def _lacking_here(self, error: Exception) -> ShortageError | None:
        """Returns a shortage of this machine, after which everything is tried again; None for one of a node."""
        if isinstance(error, self.ray.exceptions.RayError | NodeTroubleError):
            return None
        return error if isinstance(error, ShortageError) else shortage_of(error, folder=self.store.home)

    def _may_answer_yet(self, error: Exception) -> bool:
        errors = self.ray.exceptions
        patient = not self._there or time.monotonic() - self._answered < ANSWER_SECONDS
        return patient and isinstance(error, errors.ActorUnavailableError | errors.GetTimeoutError)

    def _why(self, error: Exception) -> Ended:
        """Says what ended a run before it reported its outcome."""
        errors, text, called = self.ray.exceptions, str(error), f"Node {self.name_of(self.node)}"
        _log.warning("Run %s: %s", self.run.id, text)
        if isinstance(error, TabTuneError):  # the run was deleted, or its table or weights are missing
            with contextlib.suppress(ShortageError):  # then the worker ends the row
                self.store.finish(self.run.id, "failed", error=text)
            return Ended(text, AGAIN)
        if isinstance(error, errors.OutOfMemoryError):
            return Ended(f"Ray ended the run's process, because the memory of its node ran out ({called}).", "")
        if "node has died" in text or isinstance(error, errors.ActorUnschedulableError | errors.NodeDiedError):
            return Ended(f"{called} has left the cluster.", AGAIN)
        if isinstance(error, errors.ActorUnavailableError | errors.GetTimeoutError):
            return Ended(f"{called} has not answered for {ANSWER_SECONDS:g} s.", AGAIN)
        if isinstance(error, errors.RayError):
            return Ended(f"The run's process was killed or crashed ({called}). Ray says: {first_line(error)}", AGAIN)
        return Ended(f"{called} could not go on with the run: {first_line(error)}", AGAIN)

    def _lose(self, ended: Ended) -> None:
        self.kill()
        self.ended, self.goes_on = ended, False

    def _call(self, method: str, *given: Any, patience_seconds: float = ANSWER_SECONDS) -> Any:
        try:
            answer = self.ray.get(getattr(self._actor, method).remote(*given), timeout=patience_seconds)
        except self.ray.exceptions.RayTaskError as error:  # also an instance of its cause's class
            raise NodeTroubleError(first_line(error.cause)) from error
        self._answered = time.monotonic()
        return answer

    def _follow(self) -> None:
        """Follows the run from its present stage to its end."""
        self.node, slot = self._where()
        self._there = True
        self.store.set_place(self.run.id, slot, self.name_of(self.node))
        if not self._began:
            self._begin()
            self._began = True
        while (news := self._hear()).outcome is None:
            if news.state not in (0, self._state):
                self._bring_state(news.state)
            time.sleep(POLL_SECONDS)
        self._close(news.outcome)

    def _where(self) -> tuple[str, str]:
        """Waits until the cluster has started the actor; returns its node's id and its slot."""
        while True:
            try:
                where: tuple[str, str] = self._call("where", patience_seconds=PENDING_SECONDS)
            except self.ray.exceptions.GetTimeoutError:
                if self._there:
                    raise
                self.store.beat(self.run.id)
                _log.warning("Run %s waits for room on the cluster, or its process is slow to start.", self.run.id)
            else:
                return where

    def _begin(self) -> None:
        run = self.store.run(self.run.id)
        folder = self.store.run_dir(run.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG).touch()
        paused = run.rung > 0 and run.error is None
        if paused or (run.resumptions and run.error is not None):  # else an earlier try did this already
            self.store.begin_again(run.id)
        table = folder_of(self.store.home, run.settings.dataset)
        files = {f"datasets/{run.settings.dataset}/{name}": table / name for name in TABLE_FILES}
        files |= {f"{STATES}/{path.name}": path for path in states_of(folder)}
        for name in self._call("missing", list(files)):
            self._call("take", name, files[name].read_bytes())
            self.store.beat(run.id)
        self._log_start = (folder / LOG).stat().st_size
        race = {"rungs": rungs_ahead(run.rung), "paused": paused}
        self._call("start", run.settings.to_dict(), self.experiment, self.demand.gpus > 0, race)

    def _hear(self) -> News:
        """Stores everything that is new."""
        log = self.store.run_dir(self.run.id) / LOG
        news: News = self._call("after", self._received, log.stat().st_size - self._log_start)
        with log.open("ab") as stream:
            stream.write(news.log)
        self.store.receive(self.run.id, news.events)
        self._received += len(news.events)
        self.store.beat(self.run.id)
        return news

    def _bring_state(self, state: int) -> None:
        """Brings the last state and the best states beside it; all earlier events are stored first."""
        files, folder = self._call("state"), self.store.run_dir(self.run.id)
        if not files:
            return
        self._hear()
        for name in sorted(files, key=lambda name: name == LAST_STATE):  # the last state names one of the others
            put(folder / STATES / name, files[name])
        for path in states_of(folder):
            if path.name not in files:
                path.unlink()
        self._state = state

    def _close(self, outcome: Outcome) -> None:
        """Brings the run's files, ends its row and ends its process."""
        run_id, folder = self.run.id, self.store.run_dir(self.run.id)
        if outcome.status == "interrupted":
            self._lose(Ended(outcome.error or "", AGAIN))
            return
        if outcome.status == "waiting":
            self._bring_state(self._state)
            self.store.wait(run_id)
        else:
            if outcome.status == "cancelled" or self.store.wish(run_id) == "cancel":
                discard(folder)
                self.store.finish(run_id, "cancelled")
            else:
                for name, content in self._call("left").items():
                    put(folder / name, content)
                self.store.finish(run_id, outcome.status, result=outcome.result, error=outcome.error)
            self.store.forget_states(run_id)
        self._call("forget")
        self.kill()
