"""Files that are sent in pieces, and states that do not change while they are sent."""

import os

import pytest

from tabtune_core.execution.on_ray import remote_run


@pytest.mark.parametrize("size", [0, 8, 9])
def test_a_file_arrives_whole_or_not_at_all(tmp_path, monkeypatch, size):
    monkeypatch.setattr(remote_run, "PIECE_BYTES", 8)
    content, there = os.urandom(size), tmp_path / "node" / "folder" / "there"
    (tmp_path / "here").write_bytes(content)
    remote_run.take(there, 0, b"half", 99)  # of an earlier try that was cut off
    for offset, piece in remote_run.pieces(tmp_path / "here"):
        assert len(piece) <= 8 and not there.exists()
        remote_run.take(there, offset, piece, size)
    assert there.read_bytes() == content
    assert [path.name for path in there.parent.iterdir()] == ["there"]


def test_the_list_of_a_runs_files_excludes_states_and_partial_files(tmp_path):
    for name in ("adapter.zip", "more/file", "states/last.pt", "log.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    remote_run.take(tmp_path / "half", 0, b"1", 2)
    assert remote_run.sizes(tmp_path, without=("states", "log.txt")) == {"adapter.zip": 2, "more/file": 2}


def test_a_last_state_replaced_during_a_snapshot_is_taken_again(tmp_path, monkeypatch):
    states, link = tmp_path / "states", os.link
    states.mkdir()
    for name in ("last.pt", "best-4.pt"):
        (states / name).write_bytes(b"old")

    def slow_link(source, target):
        link(source, target)
        if source.name == "last.pt" and source.read_bytes() == b"old":
            for name in ("last.pt", "best-8.pt"):
                (tmp_path / name).write_bytes(b"new")
                (tmp_path / name).replace(states / name)
            (states / "best-4.pt").unlink()

    monkeypatch.setattr(os, "link", slow_link)
    sent = remote_run.snapshot(states, tmp_path / "leaving", "last.pt")
    assert set(sent) == {"last.pt", "best-8.pt"}
    (states / "best-8.pt").unlink()
    assert {(tmp_path / "leaving" / name).read_bytes() for name in sent} == {b"new"}
