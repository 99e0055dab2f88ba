"""A shortage is recognised by the system's own error number or message, never guessed."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from small_disk import fill, small_disk

from dashboard.start import main as serve
from tabtune_core.cli.main import main
from tabtune_core.errors import ShortageError, StoreError, TableError
from tabtune_core.settings import RunSettings
from tabtune_core.shortage import named, shortage_of, why_nothing_starts
from tabtune_core.store.runs import RunStore


def system(number, path=None):
    return OSError(number, os.strerror(number), path)


def raised_from(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "lack", "said"),
    [
        (
            system(errno.ENOSPC, "/tmp/a"),
            "room",
            r"The disk of /tmp/a is full \(.* MB of .* MB are free at /.*\)\. Delete runs",
        ),
        (system(errno.EDQUOT, "/tmp/a"), "quota", "Your quota on the disk of /tmp/a is used up"),
        (system(errno.EACCES, "/tmp/a"), "permission", "This user may not open or write to /tmp/a"),
        (system(errno.EIO, "/tmp/a"), "sound disk", "The disk of /tmp/a reports an error"),
        (system(errno.ENOMEM), "memory", "not enough memory"),
        (system(errno.EMFILE), "files", r"Too many files are open; a process may have [\d,]+ \(ulimit -n\)"),
        (MemoryError(), "memory", "not enough memory"),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block"), "memory", "not enough memory"),
        (duckdb.IOException('IO Error: Could not write file "/t/a": No space left on device'), "room", "is full"),
        (RuntimeError("can't start new thread"), "processes", "cannot start more processes or threads"),
        (
            raised_from(RuntimeError("the step failed"), system(errno.ENOSPC, "/tmp/a")),
            "room",
            "The disk of /tmp/a is full",
        ),
    ],
    ids=str,
)
def test_the_missing_resource_is_named(error, lack, said):
    found = shortage_of(error)
    assert found.lack == lack
    with pytest.raises(ShortageError, match=said):
        raise found


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), system(errno.ENOENT, "/tmp/a"), TableError("No space left on device"), KeyError("memory")],
)
def test_other_errors_stay_unchanged(error):
    assert shortage_of(error) is None
    with pytest.raises(type(error)), named("Something"):
        raise error


def test_a_database_that_was_deleted_while_it_was_open_is_named(tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE a (b)")
        (tmp_path / "a.db").unlink()
        with pytest.raises(sqlite3.OperationalError) as refused:
            opened.execute("INSERT INTO a VALUES (1)")
    assert str(shortage_of(refused.value, folder=tmp_path)).startswith(
        f"The database in {tmp_path} was deleted or moved while"
    )


def test_eagain_means_too_many_processes_only_when_one_is_started():
    assert shortage_of(system(errno.EAGAIN)) is None
    assert shortage_of(system(errno.EAGAIN), starting=True).lack == "processes"


def test_a_locked_database_is_reported_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.store.database.TIMEOUT_SECONDS", 0)
    store = RunStore(tmp_path)
    with closing(sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ShortageError, match="kept the database in .* locked") as found:
            store.add_job("predict", {})
        assert found.value.passes
        other.execute("ROLLBACK")
    assert store.add_job("predict", {})


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as place:
        yield place


def write_until_full(store):
    for _ in range(10_000):
        store.add_job("predict", {"text": "x" * 1000})


def test_a_full_disk_is_named_by_the_store_which_works_again_afterwards(disk):
    store = RunStore(disk)
    filler = fill(disk)
    with pytest.raises(
        ShortageError, match=f"The workspace's database could not be read or written. The disk of {disk} is full"
    ):
        write_until_full(store)
    with pytest.raises(ShortageError), store._together():
        write_until_full(store)
    filler.unlink()
    before = len(store.jobs())
    store.add_job("predict", {})
    assert len(store.jobs()) == before + 1


def test_an_existing_workspace_on_a_full_disk_opens_so_that_runs_can_be_deleted(disk):
    first = RunStore(disk)
    job = first.add_job("predict", {})
    fill(disk)
    with pytest.raises(ShortageError):
        write_until_full(first)
    assert RunStore(disk).job(job).status == "queued"
    with pytest.raises(ShortageError, match=f"The workspace {disk / 'new'} cannot be opened. .*is full"):
        RunStore(disk / "new")


@pytest.fixture
def read_only(disk, tmp_path):
    """The same disk, mounted a second time read-only."""
    (place := tmp_path / "read-only").mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_read_only_disk_is_named(disk, read_only, capsys):
    RunStore(disk)
    told = f"Nothing can be written to the disk of {read_only}"
    advice = "Mount it for writing, or choose another folder."
    assert why_nothing_starts(read_only) == f"{told} (mounted at {read_only}): it is read-only. {advice}"
    with pytest.raises(StoreError, match=f"cannot be opened: {told}"):
        RunStore(read_only)
    assert main(["leaderboard", "--home", str(read_only)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"loralab: The workspace {read_only} cannot be opened: {told}")


@pytest.mark.parametrize("part", ["runs", "worker.lock"])
def test_a_read_only_part_of_a_workspace_prevents_runs_from_starting(tmp_path, monkeypatch, part):
    RunStore(tmp_path)
    assert why_nothing_starts(tmp_path) is None
    (tmp_path / part).mkdir(exist_ok=True)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != part and real(path, mode))
    assert why_nothing_starts(tmp_path).startswith(f"This user may not open or write to {tmp_path / part}.")


def test_the_full_disk_of_the_output_is_named(disk, tmp_path):
    RunStore(tmp_path / "home").add_sweep([RunSettings(dataset="d", target="y")])
    fill(disk)
    with (disk / "filler").open("ab") as output:
        command = [sys.executable, "-m", "tabtune_core", "runs", "--home", str(tmp_path / "home")]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"loralab: The disk of {disk / 'filler'} is full (0.0 MB")


def test_the_command_line_reports_a_full_disk_in_one_line(disk, tmp_path, capsys):
    table = tmp_path / "table.csv"
    table.write_text("a,b,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(200)))
    RunStore(disk)
    fill(disk)
    assert main(["train", str(table), "--target", "y", "--home", str(disk)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("loralab: ")
    assert f"The disk of {disk}" in line
    assert "is full" in line


def test_in_a_deleted_folder_commands_work_or_say_so_in_one_line(tmp_path, capsys, monkeypatch):
    RunStore(tmp_path / "home").add_sweep([RunSettings(dataset="d", target="y")])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir("gone")
    (tmp_path / "gone").rmdir()
    assert main(["runs", "--home", str(tmp_path / "home")]) == 0
    assert main(["export", f"html:{tmp_path / 'page.html'}", "--home", str(tmp_path / "home")]) == 0
    capsys.readouterr()
    monkeypatch.setenv("TABTUNE_HOME", "home")
    for command in (
        ["export", f"html:{tmp_path / 'page.html'}"],
        ["context-curve"],
        ["predict", "a.zip", "b.csv"],
        ["serve", "a.zip"],
    ):
        assert main(command) == 2
    assert main(["export", "html", "--home", str(tmp_path / "home")]) == 2
    with pytest.raises(SystemExit, match="2"):
        serve(["--home", str(tmp_path / "home"), "--no-browser"])
    said = (
        "The current folder was deleted, so nothing can be found from there. Change to another one (cd), and try again."
    )
    assert capsys.readouterr().err.splitlines() == [*[f"loralab: {said}"] * 5, f"tabtune-dashboard: {said}"]
    assert not (tmp_path / "home" / "worker.log").exists()
    assert shortage_of(system(errno.ENOSPC)).lack == "room"


def test_a_thread_that_cannot_be_started_is_named(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with (
        pytest.raises(ShortageError, match="cannot start more processes or threads"),
        named("The worker could not be started"),
    ):
        threading.Thread(target=print).start()


def test_an_output_that_takes_no_more_is_not_a_full_disk(tmp_path):
    code = f"""from pathlib import Path
from tabtune_core.shortage import shortage_of
import errno, sys
print(shortage_of(OSError(errno.ENOSPC, "full"), folder=Path({str(tmp_path)!r})), file=sys.stderr)"""
    with open("/dev/full", "w") as full:
        said = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        ).stderr
    assert said.startswith("Nothing more can be written to /dev/full. Send the output elsewhere, and try again.")
