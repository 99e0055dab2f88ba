"""A workspace that cannot be used is refused with the way out; a manipulated id never leads outside it."""

import contextlib
import shutil
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest
import seeding

from tabtune_core import machine
from tabtune_core.errors import StoreError
from tabtune_core.events import Note
from tabtune_core.settings import RunSettings
from tabtune_core.store.database import FORMAT
from tabtune_core.store.runs import RunStore


@pytest.mark.parametrize("name", ["file", "file/home", "link", "link/home"])
def test_a_file_or_a_link_to_nothing_is_not_a_workspace(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=r"cannot be opened: .*\. Choose another folder with --home or TABTUNE_HOME"):
        RunStore(tmp_path / name)


def test_a_database_damaged_anywhere_is_named_with_a_way_out(tmp_path):
    """Half of the file is gone, or a page is overwritten: what can still be read is unchanged."""
    store = RunStore(tmp_path)
    _, (run_id, *_) = store.add_sweep([RunSettings(dataset="d", target="t")])
    for step in range(300):
        store.append(run_id, Note(f"Note {step}."))
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole, refused = (tmp_path / "runs.sqlite").read_bytes(), []
    reads = [
        RunStore.sweeps,
        RunStore.runs,
        RunStore.marks,
        lambda store: store.events(run_id),
        lambda store: store.fields([run_id], "Note"),
    ]
    expected, pages = [read(store) for read in reads], range(0, len(whole), 4096)
    damaged = [whole[: len(whole) // 2], *(whole[:page] + b"\xa5" * 4096 + whole[page + 4096 :] for page in pages)]
    for number, content in enumerate(damaged):
        home = tmp_path / str(number)
        home.mkdir()
        (home / "runs.sqlite").write_bytes(content)
        for read, before in zip(reads, expected, strict=True):
            try:
                assert read(RunStore(home)) == before
            except StoreError as error:
                refused.append(f"{home / 'runs.sqlite'} is damaged" in str(error))
    assert all(refused)
    assert len(refused) > len(pages)


@pytest.mark.parametrize("empty", [True, False])
def test_a_lost_database_is_not_replaced_by_a_new_one_over_its_runs(tmp_path, empty):
    for home in (tmp_path / "lost", tmp_path / "new"):
        home.mkdir()
        if empty:
            (home / "runs.sqlite").touch()
    RunStore(tmp_path / "new")
    for home in (tmp_path / "lost", tmp_path / "new"):
        (home / "runs" / "0a").mkdir(parents=True)
    RunStore(tmp_path / "new")
    for _ in range(2):
        with pytest.raises(StoreError, match="is missing or empty, but .* holds files of runs"):
            RunStore(tmp_path / "lost")


def test_a_workspace_on_a_network_file_system_is_refused_with_the_way_out_and_nothing_is_written(tmp_path, monkeypatch):
    far = SimpleNamespace(mountpoint=str(tmp_path.resolve() / "far"), fstype="nfs")
    monkeypatch.setattr(machine.psutil, "disk_partitions", lambda all: [far])
    RunStore(tmp_path / "near")
    with pytest.raises(
        StoreError, match=r"network file system \(nfs, mounted at .*/far\).*Choose a folder on a disk of this machine"
    ):
        RunStore(tmp_path / "far" / "home")
    assert list((tmp_path / "far" / "home").iterdir()) == []


def swapped(home):
    shutil.copytree(home.rename(home.with_name("away")), home)


@pytest.mark.parametrize("change", [shutil.rmtree, lambda home: (shutil.rmtree(home), RunStore(home)), swapped])
def test_nothing_is_written_to_a_workspace_that_was_moved_deleted_or_replaced(tmp_path, change):
    store = RunStore(tmp_path / "home")
    asked = [RunSettings(dataset="d", target="t")]
    store.add_sweep(asked)
    change(store.home)
    assert not store.is_in_place()
    for use in (store.runs, lambda: store.add_sweep(asked), lambda: store.add_job("predict", {})):
        with pytest.raises(StoreError, match=rf"workspace {store.home} was moved, deleted or replaced .* Start the"):
            use()
    later = RunStore(store.home)
    later.add_sweep(asked)
    assert later.is_in_place()


def test_the_settled_database_is_whole_in_one_file(tmp_path):
    store = RunStore(tmp_path / "home")
    _, ids = store.add_sweep([RunSettings(dataset="d", target="t")])
    store.settle()
    (tmp_path / "copy").mkdir()
    shutil.copy(store.home / "runs.sqlite", tmp_path / "copy")
    assert [run.id for run in RunStore(tmp_path / "copy").runs()] == ids


@pytest.mark.parametrize("table", ["sweeps", "runs", "jobs", "events"])
def test_a_text_that_is_not_utf_8_is_named_as_damage(tmp_path, table):
    store = RunStore(tmp_path)
    _, (run_id,) = store.add_sweep([RunSettings(dataset="d", target="t")], "first")
    store.append(run_id, Note("second"))
    store.add_job("predict", {})
    column = {"sweeps": "name", "runs": "name", "jobs": "arguments", "events": "payload"}[table]
    store._write(f"UPDATE {table} SET {column} = CAST(x'5aff' AS TEXT)")
    reads = {"sweeps": store.sweeps, "runs": store.runs, "jobs": store.jobs, "events": lambda: store.events(run_id)}
    with pytest.raises(StoreError, match=r"runs\.sqlite is damaged"):
        reads[table]()


@pytest.mark.parametrize("other", [0, FORMAT + 1, 8])
def test_a_workspace_of_another_format_is_refused_and_unchanged(tmp_path, other):
    RunStore(tmp_path).settle()
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as database, database:
        database.execute(f"PRAGMA user_version = {other}")
    before = (tmp_path / "runs.sqlite").read_bytes()
    with pytest.raises(StoreError, match=f"another version of LoRA Lab \\(format {other}, not {FORMAT}\\)"):
        RunStore(tmp_path)
    assert (tmp_path / "runs.sqlite").read_bytes() == before


def test_a_first_opening_that_was_killed_is_completed_by_the_next(tmp_path):
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as database, database:
        database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("CREATE TABLE sweeps (id TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL)")
    assert RunStore(tmp_path).runs() == []


OUT = "../../outside"


@pytest.fixture
def beside_a_file(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    return RunStore(tmp_path / "home")


def write(beside_a_file, table, row_id):
    with contextlib.closing(sqlite3.connect(beside_a_file.home / "runs.sqlite")) as database, database:
        database.execute(f"UPDATE {table} SET id = ?, status = 'failed' WHERE id = ?", (OUT, row_id))


def test_a_run_id_outside_the_workspace_is_unreadable_and_deletes_only_its_row(beside_a_file):
    sweep = seeding.finished_sweep(beside_a_file)
    run_id = beside_a_file.runs(sweep)[0].id
    write(beside_a_file, "runs", run_id)
    assert [found.id for found in beside_a_file.unreadable(sweep)] == [OUT]
    with pytest.raises(StoreError, match="id is not a folder name"):
        beside_a_file.run_dir(OUT)
    beside_a_file.delete(OUT)
    assert beside_a_file.unreadable(sweep) == []
    assert (beside_a_file.home.parent / "outside" / "kept.txt").read_text() == "kept"


def test_a_job_id_outside_the_workspace_deletes_only_its_row(beside_a_file):
    write(beside_a_file, "jobs", beside_a_file.add_job("predict", {}))
    with pytest.raises(StoreError, match="has no folder"):
        beside_a_file.job_dir(OUT)
    beside_a_file.delete_job(OUT)
    assert (beside_a_file.home.parent / "outside" / "kept.txt").read_text() == "kept"
