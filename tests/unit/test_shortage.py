"""A shortage is recognised by the system's own error number or message, never guessed, and named in a sentence."""

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from small_disk import fill, small_disk

from tabtune_core.cli.main import main
from tabtune_core.errors import ShortageError, StoreError, TableError
from tabtune_core.shortage import named, shortage_of, why_nothing_starts
from tabtune_core.store.runs import RunStore


def system(number, path=None):
    return OSError(number, os.strerror(number), path)


def raised_from(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "lack", "words"),
    [
        (system(errno.ENOSPC, "/tmp/a"), "room", r"The disk of /tmp/a is full .* MB of .* MB are free\)\. Delete runs"),
        (system(errno.EACCES, "/tmp/a"), "permission", "This user may not open or write to /tmp/a"),
        (system(errno.ENOMEM), "memory", "not enough memory"),
        (system(errno.EMFILE), "processes", "open more files"),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block"), "memory", "not enough memory"),
        (duckdb.IOException('IO Error: Could not write file "/t/a": No space left on device'), "room", "is full"),
        (RuntimeError("can't start new thread"), "processes", "cannot start more processes"),
        (raised_from(RuntimeError("a step"), system(errno.ENOSPC, "/tmp/a")), "room", "The disk of /tmp/a is full"),
    ],
    ids=str,
)
def test_the_missing_resource_is_named(error, lack, words):
    shortage = shortage_of(error)
    assert shortage.lack == lack
    with pytest.raises(ShortageError, match=words):
        raise shortage


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), system(errno.ENOENT, "/tmp/a"), TableError("No space left on device"), KeyError("memory")],
)
def test_other_errors_stay_unchanged(error):
    assert shortage_of(error) is None
    with pytest.raises(type(error)), named("Something"):
        raise error


def test_eagain_means_too_many_processes_only_when_one_is_started():
    assert shortage_of(system(errno.EAGAIN)) is None
    assert shortage_of(system(errno.EAGAIN), starting=True).lack == "processes"


def test_a_locked_database_is_reported_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("tabtune_core.store.database.TIMEOUT_SECONDS", 0)
    store = RunStore(tmp_path)
    with closing(sqlite3.connect(tmp_path / "runs.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ShortageError, match="kept the database in .* locked") as refused:
            store.add_job("predict", {})
        assert refused.value.passes
        other.execute("ROLLBACK")
    assert store.add_job("predict", {})


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as place:
        yield place


def write_until_full(store):
    for _ in range(10_000):
        store.add_job("predict", {"text": "x" * 1000})


def test_a_full_disk_is_named_by_store_and_commands_and_works_again_afterwards(disk, tmp_path, capsys):
    store = RunStore(disk)
    job = store.add_job("predict", {})
    filler = fill(disk)
    with pytest.raises(ShortageError, match=f"could not be read or written. The disk of {disk} is full"):
        write_until_full(store)
    with pytest.raises(ShortageError), store._together():
        write_until_full(store)
    assert RunStore(disk).job(job).status == "queued", "it opens, so that runs can be deleted"
    with pytest.raises(ShortageError, match=f"The workspace {disk / 'new'} cannot be opened. .*is full"):
        RunStore(disk / "new")
    (table := tmp_path / "table.csv").write_text("a,b,y\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(200)))
    assert main(["train", str(table), "--target", "y", "--home", str(disk)]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("loralab: ") and f"The disk of {disk}" in line
    filler.unlink()
    before = len(store.jobs())
    store.add_job("predict", {})
    assert len(store.jobs()) == before + 1


def test_a_read_only_disk_is_named(disk, tmp_path, capsys):
    RunStore(disk)
    (place := tmp_path / "read-only").mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        assert f"may not open or write to {place}, or its disk is read-only" in why_nothing_starts(place)
        with pytest.raises(StoreError, match="cannot be opened: This user may not .*read-only"):
            RunStore(place)
        assert main(["leaderboard", "--home", str(place)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("part", ["runs", "worker.lock"])
def test_a_read_only_part_of_a_workspace_prevents_runs_from_starting(tmp_path, monkeypatch, part):
    RunStore(tmp_path)
    assert why_nothing_starts(tmp_path) is None
    (tmp_path / part).mkdir(exist_ok=True)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != part and real(path, mode))
    assert why_nothing_starts(tmp_path).startswith(f"This user may not open or write to {tmp_path / part}")


def test_the_limit_of_open_files_is_raised_as_far_as_allowed():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 600)); "
        "from tabtune_core.shortage import raise_file_limit; raise_file_limit(); "
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "(600, 600)\n"
