"""Weights that are sent to another machine."""

import os

import pytest
from huggingface_hub import try_to_load_from_cache

from tabtune_core.errors import CheckpointError
from tabtune_core.execution.on_ray import node_files
from tabtune_core.models.catalogue import ELSEWHERE, get_card, named_checkpoint
from tabtune_core.models.checkpoints import sha256_of
from tabtune_core.settings import RunSettings

RELEASE = RunSettings(dataset="d", target="t", model="tabicl-v2")


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))


def send(what, node):
    for name, file in what.files.items():
        (node / name).parent.mkdir(parents=True, exist_ok=True)
        (node / name).write_bytes(file.read_bytes())


@pytest.mark.parametrize(
    "settings", [RunSettings(dataset="d", target="t"), RunSettings(dataset="d", target="t", strategy="linear")]
)
def test_shipped_models_and_models_without_weights_carry_none(settings):
    assert node_files.carried(settings) == node_files.Carried()


def test_named_weights_are_stored_by_hash_and_found_by_their_given_name(tmp_path):
    file = tmp_path / "mine.ckpt"
    file.write_bytes(b"weights")
    what = node_files.carried(RunSettings(dataset="d", target="t", checkpoint=str(file)))
    assert what.named == f"weights/{sha256_of(file)}/mine.ckpt"
    send(what, tmp_path / "node")
    file.unlink()
    node_files.lay_out(tmp_path / "node", what)
    found = named_checkpoint(get_card("tabicl-mini"), "classification", file)
    assert (found, found.read_bytes()) == (tmp_path / "node" / what.named, b"weights")
    assert os.environ[ELSEWHERE] == str(found)


def test_missing_named_weights_are_reported_before_anything_is_sent(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist|no checkpoint"):
        node_files.carried(RunSettings(dataset="d", target="t", checkpoint=str(tmp_path / "none")))


def test_a_release_is_copied_from_cache_to_cache(tmp_path, monkeypatch):
    release = get_card("tabicl-v2").weights_for("classification")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    use_cache(monkeypatch, tmp_path / "here")
    assert node_files.lacks_release(RELEASE)
    assert node_files.carried(RELEASE) == node_files.Carried(), "not in the cache here: the node downloads it"
    folder = tmp_path / "here" / f"models--{release.repository.replace('/', '--')}"
    (folder / "snapshots" / "abc" / release.file).parent.mkdir(parents=True)
    (folder / "snapshots" / "abc" / release.file).write_bytes(b"weights")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    what = node_files.carried(RELEASE)
    assert (what.repository, what.revision, what.named) == (release.repository, "abc", "")

    use_cache(monkeypatch, tmp_path / "there")
    send(what, tmp_path / "node")
    assert node_files.lacks_release(RELEASE)
    node_files.lay_out(tmp_path / "node", what)
    assert not node_files.lacks_release(RELEASE)
    with open(try_to_load_from_cache(release.repository, release.file, cache_dir=tmp_path / "there"), "rb") as found:
        assert found.read() == b"weights"


def use_cache(monkeypatch, place):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(place))
