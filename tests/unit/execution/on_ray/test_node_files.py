"""Files that are sent in pieces."""

import os

import pytest

from tabtune_core.execution.on_ray import node_files


@pytest.mark.parametrize("size", [0, 8, 9])
def test_a_file_arrives_whole_or_not_at_all(tmp_path, monkeypatch, size):
    monkeypatch.setattr(node_files, "PIECE_BYTES", 8)
    content = os.urandom(size)
    (tmp_path / "here").write_bytes(content)
    there = tmp_path / "node" / "folder" / "there"
    sent = list(node_files.pieces(tmp_path / "here"))
    for offset, piece in sent:
        assert not there.exists()
        node_files.take(there, offset, piece, size)
    assert there.read_bytes() == content
    assert [path.name for path in there.parent.iterdir()] == ["there"]
    assert max(len(piece) for _, piece in sent) <= 8


def test_an_unfinished_file_is_sent_again_from_its_beginning(tmp_path):
    node_files.take(tmp_path / "there", 0, b"half", 8)
    assert not (tmp_path / "there").exists()
    node_files.take(tmp_path / "there", 0, b"whole", 5)
    assert (tmp_path / "there").read_bytes() == b"whole"


def test_the_list_of_a_runs_files_excludes_states_and_partial_files(tmp_path):
    for name in ("adapter.zip", "more/file", "states/last.safetensors", "log.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12")
    node_files.take(tmp_path / "half", 0, b"1", 2)
    assert node_files.sizes(tmp_path, without=("states", "log.txt")) == {"adapter.zip": 2, "more/file": 2}


def test_a_snapshot_does_not_change_while_training_continues(tmp_path):
    states = tmp_path / "states"
    states.mkdir()
    for name in ("last.safetensors", "best-0.safetensors", "best-4.safetensors"):
        (states / name).write_bytes(name.encode())
    found = node_files.snapshot(states, tmp_path / "leaving", "last.safetensors")
    assert set(found) == {path.name for path in states.iterdir()}
    (tmp_path / "new").write_bytes(b"a later one")
    (tmp_path / "new").replace(states / "last.safetensors")
    (states / "best-4.safetensors").unlink()
    assert (tmp_path / "leaving" / "last.safetensors").read_bytes() == b"last.safetensors"
    assert (tmp_path / "leaving" / "best-4.safetensors").read_bytes() == b"best-4.safetensors"


def test_a_last_state_replaced_during_a_snapshot_is_taken_again(tmp_path, monkeypatch):
    states, link = tmp_path / "states", os.link
    states.mkdir()
    for name in ("last.safetensors", "best-4.safetensors"):
        (states / name).write_bytes(b"old")

    def slow_link(source, target):
        link(source, target)
        if source.name == "last.safetensors" and source.read_bytes() == b"old":
            for name in ("last.safetensors", "best-8.safetensors"):
                (tmp_path / name).write_bytes(b"new")
                (tmp_path / name).replace(states / name)
            (states / "best-4.safetensors").unlink()

    monkeypatch.setattr(os, "link", slow_link)
    found = node_files.snapshot(states, tmp_path / "leaving", "last.safetensors")
    assert set(found) == {"last.safetensors", "best-8.safetensors"}
    assert (tmp_path / "leaving" / "last.safetensors").read_bytes() == b"new"
