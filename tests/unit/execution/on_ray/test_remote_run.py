"""Files of a run on a node: those that it leaves, and a last state whose files belong together."""

from pathlib import Path

import pytest

from tabtune_core.execution.on_ray.remote_run import RemoteRun
from tabtune_core.store.run_folder import LAST_STATE, STATES


@pytest.fixture
def remote(tmp_path):
    """A run whose actor was not started by Ray."""
    run = RemoteRun.__new__(RemoteRun)
    run.home, run.run_dir = tmp_path, tmp_path / "runs" / "0a-0"
    run.take(f"{STATES}/{LAST_STATE}", b"old")
    run.take(f"{STATES}/best-4.pt", b"old")
    return run


def test_a_table_is_of_the_node_and_a_state_of_the_run(remote):
    remote.take("datasets/d/table.json", b"{}")
    assert (remote.home / "datasets/d/table.json").read_bytes() == b"{}"
    assert remote.missing(["datasets/d/table.json", "datasets/d/table.parquet"]) == ["datasets/d/table.parquet"]
    assert remote.state() == {LAST_STATE: b"old", "best-4.pt": b"old"}


def test_a_run_leaves_its_files_without_states_and_log(remote):
    for name in ("adapter.zip", "more/file", "log.txt"):
        (remote.run_dir / name).parent.mkdir(exist_ok=True)
        (remote.run_dir / name).write_bytes(b"12")
    assert remote.left() == {"adapter.zip": b"12", "more/file": b"12"}


def test_a_last_state_that_is_replaced_while_it_is_read_is_not_sent(remote, monkeypatch):
    read, states = Path.read_bytes, remote.run_dir / STATES

    def slow(path):
        content = read(path)
        if path.name == LAST_STATE and content == b"old":
            remote.take(f"{STATES}/{LAST_STATE}", b"new")
            remote.take(f"{STATES}/best-8.pt", b"new")
            (states / "best-4.pt").unlink()
        return content

    monkeypatch.setattr(Path, "read_bytes", slow)
    assert remote.state() == {}
    assert remote.state() == {LAST_STATE: b"new", "best-8.pt": b"new"}
