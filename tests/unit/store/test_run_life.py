"""Whatever people and workers do to a run, in any order, its row follows a list of simple rules."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tabtune_core.errors import StoreError
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.run_row import ENDED, RETRYABLE
from tabtune_core.store.runs import RunStore

PLACE = st.integers(0, 5)
"""Number of a run, modulo the number of existing runs."""


@dataclass
class Expected:
    status: str = "queued"
    wish: str | None = None
    resumptions: int = 0
    retried: bool = False
    saved: bool = False
    """Whether the run left a state from which it can resume."""


class Lives(RuleBasedStateMachine):
    """Two programs, such as a worker and a page, use one workspace."""

    @initialize()
    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.stores = [RunStore(Path(self.folder.name)) for _ in range(2)]
        self.turn = 0
        self.runs = {}
        self.add(2)

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @property
    def store(self):
        self.turn += 1
        return self.stores[self.turn % 2]

    def at(self, place):
        run_id = list(self.runs)[place % len(self.runs)]
        return run_id, self.runs[run_id]

    @rule(number=st.integers(1, 2))
    def add(self, number):
        _, ids = self.store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in range(number)])
        self.runs |= {run_id: Expected() for run_id in ids}

    @rule(place=PLACE)
    def claim(self, place):
        run_id, run = self.at(place)
        got = self.store.claim(7, "me", run_id, slot="cpu", executor="local", node="lab")
        assert (got is not None) == (run.status == "queued")
        run.status = "running" if got else run.status

    @rule(place=PLACE)
    def save_a_state(self, place):
        run_id, run = self.at(place)
        if run.status == "running":
            folder = self.store.run_dir(run_id) / STATES
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LAST_STATE).touch()
            run.saved = True

    @rule(place=PLACE, wish=st.sampled_from(["stop", "cancel"]))
    def ask(self, place, wish):
        run_id, run = self.at(place)
        self.store.ask(run_id, wish)
        if run.status == "queued" and not (wish == "stop" and run.saved):
            run.status, run.saved = "cancelled", False
        elif run.status in ("queued", "running") and run.wish != "cancel":
            run.wish = wish

    @rule(place=PLACE, pid=st.sampled_from([7, 8]))
    def unclaim(self, place, pid):
        run_id, run = self.at(place)
        self.store.unclaim(run_id, pid)
        if run.status == "running" and pid == 7:
            run.status = "queued"

    @rule(place=PLACE)
    def requeue(self, place):
        run_id, run = self.at(place)
        self.store.requeue(run_id, "It is gone.")
        if run.status == "running":
            run.status, run.resumptions = "queued", run.resumptions + 1

    @rule(place=PLACE, status=st.sampled_from(sorted(ENDED)))
    def finish(self, place, status):
        run_id, run = self.at(place)
        self.store.finish(run_id, status, error="as it ended")
        if run.status in ("queued", "running"):
            run.status = status

    @rule(place=PLACE)
    def resume(self, place):
        run_id, run = self.at(place)
        try:
            self.store.resume(run_id)
        except StoreError:
            assert run.status != "interrupted" or run.retried
        else:
            assert run.status == "interrupted"
            run.status, run.wish, run.resumptions = "queued", None, run.resumptions + 1

    @rule(place=PLACE)
    def retry(self, place):
        run_id, run = self.at(place)
        try:
            new = self.store.retry(run_id)
        except StoreError:
            assert run.retried or run.status not in RETRYABLE
        else:
            assert run.status in RETRYABLE
            run.retried, self.runs[new] = True, Expected()

    @rule(place=PLACE)
    def begin_again(self, place):
        run_id, run = self.at(place)
        if run.status == "running" and run.resumptions:
            self.store.begin_again(run_id)
            assert self.store.run(run_id).error is None

    @rule(place=PLACE)
    def delete(self, place):
        run_id, run = self.at(place)
        try:
            self.store.delete(run_id)
        except StoreError:
            assert run.status not in ENDED
        else:
            assert run.status in ENDED
            del self.runs[run_id]
            if not self.runs:
                self.add(1)
            for other in self.runs.values():
                other.retried = other.retried and any(
                    row.retried_as for row in self.stores[0].runs() if self.runs[row.id] is other
                )

    @invariant()
    def rows_say_so(self):
        rows = {row.id: row for row in self.store.runs()}
        told = {
            name: Expected(
                row.status, row.wish, row.resumptions, row.retried_as is not None, self.store.has_last_state(name)
            )
            for name, row in rows.items()
        }
        assert told == self.runs
        for row in rows.values():
            assert (row.pid is None) or row.status != "queued"
            assert (row.ended is not None) == (row.status in ENDED)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
