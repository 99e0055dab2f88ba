"""A shortage, also of memory, is recognised by the system's number or message and named in a sentence."""

import errno
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
import torch
from small_disk import fill, small_disk

from tabtune_core.cli.main import main
from tabtune_core.errors import LabelError, ShortageError, StoreError, TableError, is_out_of_memory
from tabtune_core.events import RunPlanned
from tabtune_core.execution.child import explain, kind_of_error, memory_advice
from tabtune_core.settings import RunSettings
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
        (duckdb.OutOfMemoryException("Out of Memory Error: failed to pin block"), "memory", "not enough memory"),
        (duckdb.IOException('IO Error: Could not write file "/t/a": No space left on device'), "room", "is full"),
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


FULL = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("Failed to execute even with minimum batch size 1. Error: CUDA out of memory."),
    getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    raised_from(RuntimeError("the stage failed"), MemoryError()),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:30])
def test_out_of_memory_errors_are_recognised(error):
    assert is_out_of_memory(error)
    assert explain(error, "Lower context_rows.", "the log") == "There was not enough memory. Lower context_rows."
    assert kind_of_error(error) == "OutOfMemoryError"


def test_memory_advice_names_the_rows_that_a_step_really_has():
    settings = RunSettings(dataset="d", target="y")
    assert memory_advice(settings, None).startswith("Lower context_rows (now 512), then batch_size (now 256), or")
    plan = RunPlanned("cpu", 1, 180, 40, 40, 180, 45, 2, ("no", "yes"), 100, 4, (), {}, train_context_rows=135)
    rows = "context_rows (now 512, but a step has only 135: go below that), then batch_size (now 256, but a step has"
    assert memory_advice(settings, plan).startswith(f"Lower {rows} only 45: go below")


def test_other_errors_keep_their_name_and_a_full_disk_is_not_out_of_memory():
    assert not is_out_of_memory(RuntimeError("boom"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for the matmul primitive"))
    assert kind_of_error(RuntimeError("boom")) == "RuntimeError"
    assert explain(LabelError("No such column."), "", "the log") == "No such column."
    text = explain(OSError(28, "No space left on device", "/tmp/a"), "Lower context_rows.", "the log")
    assert text.startswith("The disk of /tmp/a is full") and "context_rows" not in text
