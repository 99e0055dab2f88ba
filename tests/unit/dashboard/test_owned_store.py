"""The pages' store: who may change whose runs and jobs."""

import ast
import inspect
from pathlib import Path

import pytest
from signed_in import sign_in

from dashboard import queries
from dashboard.queries.workspace import OwnedStore
from dashboard.server.people import NotYoursError
from tabtune_core.data.datasets import damaged_datasets
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore

SETTINGS = RunSettings(dataset="d", target="t")
ANN, BOB = "ann@example.org", "bob@example.org"
CHANGES = {
    "ask": ("cancel",),
    "retry": (),
    "resume": (),
    "duplicate": (SETTINGS,),
    "move_to_front": (),
    "rename": ("x",),
    "annotate": ("x",),
    "tag": (["x"],),
    "archive": (),
    "delete": (),
}
WORKERS = {
    *("claim", "set_process", "set_place", "receive", "unclaim", "beat", "append", "finish"),
    *("forget_states", "requeue", "begin_again", "add_ended"),
    *("claim_job", "set_job_process", "unclaim_job", "finish_job"),
}
"""Writing methods that pages do not use."""
ADDING = {"add_sweep", "add_job", "cancel_job", "delete_job"}
VIEWS = Path(inspect.getfile(queries)).parents[1] / "views"


@pytest.fixture
def store(tmp_path):
    return OwnedStore(tmp_path)


@pytest.mark.parametrize("change", CHANGES)
def test_only_its_owner_and_admins_may_change_a_run(store, monkeypatch, change):
    sign_in(monkeypatch, ANN)
    _, (run,) = store.add_sweep([SETTINGS], "hers")
    marks = store.marks()
    sign_in(monkeypatch, BOB)
    with pytest.raises(NotYoursError, match=ANN):
        getattr(store, change)(run, *CHANGES[change])
    assert store.marks() == marks
    assert [sweep.owner for sweep in store.sweeps()] == [ANN]


def test_the_owner_and_an_admin_are_not_refused(store, monkeypatch):
    for email, admins in ((ANN, []), (BOB, [BOB])):
        sign_in(monkeypatch, ANN)
        _, (run,) = store.add_sweep([SETTINGS], "hers")
        sign_in(monkeypatch, email, admins=admins)
        store.rename(run, f"by {email}")
        store.ask(run, "cancel")
        again = store.retry(run)
        assert (store.run(run).name, store.run(run).status) == (f"by {email}", "cancelled")
        assert store.owner_of(again) == ANN
        store.delete(run)


def test_every_writing_method_is_checked():
    """A new method that writes must be added to one of the lists."""
    writing = set()
    for kind in RunStore.__mro__[:-1]:
        (tree,) = ast.parse(inspect.getsource(kind)).body
        for method in tree.body:
            called = {
                node.func.attr
                for node in ast.walk(method)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            }
            if isinstance(method, ast.FunctionDef) and called & {"_write", "_add", "_queue", "_queue_again", "rmtree"}:
                writing.add(method.name)
    assert {name for name in writing if not name.startswith("_")} | {"claim", "claim_job"} == set(
        CHANGES
    ) | WORKERS | ADDING
    for name in {*CHANGES, *ADDING}:
        assert getattr(OwnedStore, name) is not getattr(RunStore, name)


def test_no_page_opens_a_store_or_changes_files_past_the_checks():
    unchecked = {
        "RunStore",
        "add_dataset",
        "add_sample",
        "delete_dataset",
        "add_adapter",
        "delete_adapter",
        "name_checkpoint",
    }
    found = []
    for path in [*VIEWS.rglob("*.py"), *(VIEWS.parent / "components").glob("*.py")]:
        names = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        found += [(path.name, name) for name in names & unchecked]
    assert found == []


def test_a_job_may_be_removed_by_its_owner_or_with_its_run(store, monkeypatch):
    sign_in(monkeypatch, ANN)
    _, (run,) = store.add_sweep([SETTINGS], "hers")
    store.ask(run, "cancel")
    hers = store.add_job("export", {"run": run})
    sign_in(monkeypatch, BOB)
    his = store.add_job("export", {"run": run})
    other = store.add_job("predict", {"runs": ["gone"]})
    assert [store.job(job).owner for job in (hers, his)] == [ANN, BOB]
    for change in (store.cancel_job, store.delete_job):
        with pytest.raises(NotYoursError, match=ANN):
            change(hers)
    sign_in(monkeypatch, ANN)
    for change in (store.cancel_job, store.delete_job):
        with pytest.raises(NotYoursError, match=BOB):
            change(other)
    for job in (hers, his):
        store.cancel_job(job)
    store.delete(run)
    assert [job.id for job in store.jobs()] == [other]


def test_without_a_log_in_no_owner_is_recorded_and_nothing_is_refused(store, monkeypatch):
    sign_in(monkeypatch, ANN)
    store.add_sweep([SETTINGS], "hers")
    monkeypatch.undo()
    _, (run,) = store.add_sweep([SETTINGS], "nobody's")
    assert [sweep.owner for sweep in store.sweeps()] == ["", ANN]
    assert store.job(store.add_job("predict", {})).owner == ""
    for one in store.runs():
        store.ask(one.id, "cancel")
        store.delete(one.id)
    assert store.runs() == []


def test_uploaded_tables_and_adapters_have_owners_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    sign_in(monkeypatch, ANN)
    table = queries.keep_sample("iris")
    assert table.owner == ANN
    sign_in(monkeypatch, BOB)
    assert queries.keep_sample("iris").owner == ANN  # the same table is kept once
    with pytest.raises(NotYoursError, match=ANN):
        queries.delete_table(table.id)
    queries.forget_reading(table.id, "another")
    assert list(queries.tables()) == [table.id]
    (tmp_path / "datasets" / table.id / "table.json").write_text("damaged")
    with pytest.raises(NotYoursError, match="no owner"):
        queries.delete_table(table.id)
    for change in (lambda: queries.delete_upload("0" * 64), lambda: queries.name_weights("0" * 64, "w.pt")):
        with pytest.raises(NotYoursError):
            change()
    sign_in(monkeypatch, ANN, admins=[ANN])
    queries.delete_table(table.id)
    assert not damaged_datasets(tmp_path)
