"""Why a run on another machine has ended, and that its events are written once; the actor is a fake."""

import contextlib
from types import SimpleNamespace
from unittest import mock

import pytest
from small_table import small_table

from tabtune_core.analysis.run_diagnostics import out_of_memory
from tabtune_core.data.datasets import add_dataset
from tabtune_core.events import StepDone
from tabtune_core.execution.on_ray import worker_side
from tabtune_core.execution.on_ray.machines import Demand
from tabtune_core.execution.on_ray.remote_run import News, Outcome
from tabtune_core.execution.on_ray.worker_side import Link
from tabtune_core.execution.worker import Worker
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_folder import LAST_STATE, STATES
from tabtune_core.store.runs import RunStore


class RayError(Exception):
    """Any error of Ray."""


KINDS = ("ActorDied", "ActorUnavailable", "GetTimeout", "OutOfMemory", "ActorUnschedulable", "NodeDied", "RayTask")
ERRORS = {f"{kind}Error": type(f"{kind}Error", (RayError,), {}) for kind in KINDS}


class Actor:
    """Gives the answers of its script one after another, and repeats the last one."""

    def __init__(self, **script):
        self.script, self.called = script, []

    def __getattr__(self, method):
        return SimpleNamespace(remote=lambda *given: (method, given))

    def answer(self, call, timeout):
        method, given = call
        self.called.append((method, *given))
        answers = self.script[method]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found


def ray_of(actor):
    return SimpleNamespace(
        get=actor.answer, kill=lambda actor, no_restart: None, exceptions=SimpleNamespace(**ERRORS, RayError=RayError)
    )


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(worker_side, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(worker_side, "AGAIN_SECONDS", 0.02)


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path)
    store.add_sweep([RunSettings(dataset="d", target="t")])
    run = store.claim(1, None, executor="ray", node="a")
    store.run_dir(run.id).mkdir(parents=True)
    (store.run_dir(run.id) / "log.txt").touch()
    return store


def follow(store, *, begins=False, **script):
    """Follows the store's last run to its end; without ``begins``, it has its files and its order already."""
    actor = Actor(**script)
    with contextlib.ExitStack() as stack:
        if not begins:
            stack.enter_context(mock.patch.object(Link, "_begin"))
        where = {"demand": Demand(1, 1e9, 0), "node": "1", "name_of": lambda node: f"n{node}"}
        link = Link(store, store.runs()[-1], ray_of(actor), actor, experiment="", **where)
        link._thread.join(20)
    assert not link._thread.is_alive()
    return link, actor


LEFT = ERRORS["ActorDiedError"]("The actor died because its node has died.")
CRASHED = ERRORS["ActorDiedError"]("The process died.\nMore.")


@pytest.mark.parametrize(
    ("error", "why", "resumes"),
    [
        (ERRORS["OutOfMemoryError"]("much"), "Ray ended the run's process, because the memory of its node ran", False),
        (LEFT, "Node n1 has left the cluster.", True),
        (ERRORS["ActorUnschedulableError"]("gone"), "Node n1 has left the cluster.", True),
        (CRASHED, "The run's process was killed or crashed (Node n1). Ray says: The process died.", True),
    ],
)
def test_the_reason_why_a_process_is_gone_is_one_sentence(store, error, why, resumes):
    link, _ = follow(store, where=[error])
    assert not link.goes_on and link.ended.cause.startswith(why)
    assert link.ended.way_out.startswith("Resume") == bool(link.ended.way_out) == resumes
    assert store.runs()[0].status == "running", "the worker decides what happens to it"


def test_out_of_memory_on_a_node_is_recognised_with_the_settings_to_lower(store):
    link, _ = follow(store, where=[ERRORS["OutOfMemoryError"]("much")])
    Worker(store, None, None, resume=False).close(store.runs()[0], link.ended, most=1)
    run, failed = store.runs()[0], store.last(store.runs()[0].id, "RunFailed").event
    assert run.error == failed.message
    assert "Lower context_rows (now 512)" in run.error
    assert out_of_memory(run, None, failed.kind, None) is not None


def news(*steps, log=b"", outcome=None):
    return News([(StepDone(step, 0.5, 1.0, 1e-3, 0.1), float(step)) for step in steps], log, 0, outcome)


def test_a_cut_connection_loses_nothing_and_no_event_is_written_twice(store):
    cut, end = ERRORS["ActorUnavailableError"]("cut"), Outcome("stopped")
    link, actor = follow(
        store,
        where=[("1", "cuda:0")],
        after=[news(1, 2, log=b"ab"), cut, news(3, log=b"c"), news(outcome=end)],
        left=[{}],
        forget=[None],
    )
    run = store.runs()[0]
    assert (link.goes_on, run.status, run.slot, run.node) == (False, "stopped", "cuda:0", "n1")
    assert [stored.event.step for stored in store.events(run.id)] == [1, 2, 3]
    assert (store.run_dir(run.id) / "log.txt").read_bytes() == b"abc"
    assert [given for method, *given in actor.called if method == "after"] == [[0, 0], [2, 2], [2, 2], [3, 3]]


def test_the_files_of_a_run_arrive_and_its_states_before_its_end(store):
    saved = News([], b"", 7, None)
    link, actor = follow(
        store,
        where=[("1", "cpu")],
        after=[saved, saved, saved, news(outcome=Outcome("waiting"))],
        state=[{}, {LAST_STATE: b"1", "best-1.pt": b"1"}, {LAST_STATE: b"2", "best-2.pt": b"2"}],
        forget=[None],
    )
    run = store.runs()[0]
    assert (link.goes_on, run.status) == (False, "waiting")
    states = {path.name: path.read_bytes() for path in (store.run_dir(run.id) / STATES).iterdir()}
    assert states == {LAST_STATE: b"2", "best-2.pt": b"2"}


def test_a_node_that_leaves_before_the_files_arrive_leaves_none(store):
    link, _ = follow(store, where=[("1", "cpu")], after=[news(outcome=Outcome("finished"))], left=[LEFT], forget=[None])
    run = store.runs()[0]
    assert (link.ended.cause, run.status) == ("Node n1 has left the cluster.", "running")
    assert [path.name for path in store.run_dir(run.id).iterdir()] == ["log.txt"]


def test_a_requeued_run_states_its_reason_once_even_if_sent_again(store):
    frame, labels = small_table(40)
    table = add_dataset(store.home, frame.assign(t=labels).to_csv(index=False).encode(), "a.csv").id
    store.finish(store.runs()[0].id, "failed", error="of no interest")
    store.add_sweep([RunSettings(dataset=table, target="t", strategy="linear")])
    run = store.claim(1, None, executor="ray", node="a")
    store.requeue(run.id, "Node a has left the cluster.")
    store.claim(1, None, executor="ray", node="b")
    follow(
        store,
        begins=True,
        where=[("1", "cpu")],
        missing=[ERRORS["ActorUnavailableError"]("cut"), []],
        start=[None],
        after=[news(outcome=Outcome("stopped"))],
        left=[{}],
        forget=[None],
    )
    notes = [stored.event.text for stored in store.events(run.id, ["Note"])]
    assert notes == [
        "The run was interrupted, and starts anew, because it had saved no state. Node a has left the cluster."
    ]
