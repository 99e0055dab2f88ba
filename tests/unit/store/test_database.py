"""A workspace that cannot be used is refused, with the way out."""

import shutil
from types import SimpleNamespace

import pytest

from tabtune_core import machine
from tabtune_core.errors import StoreError
from tabtune_core.events import Note
from tabtune_core.settings import RunSettings
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
    """Moves a workspace away and puts a copy in its place."""
    shutil.copytree(home.rename(home.with_name("away")), home)


@pytest.mark.parametrize("change", [shutil.rmtree, lambda home: (shutil.rmtree(home), RunStore(home)), swapped])
def test_nothing_is_written_to_a_workspace_that_was_moved_deleted_or_replaced(tmp_path, change):
    store = RunStore(tmp_path / "home")
    asked = [RunSettings(dataset="d", target="t")]
    store.add_sweep(asked)
    change(store.home)
    assert not store.is_in_place()
    for use in (store.runs, lambda: store.add_sweep(asked), lambda: store.add_job("predict", {})):
        with pytest.raises(
            StoreError, match=rf"workspace {store.home} was moved, deleted or replaced .* Start the program again"
        ):
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
