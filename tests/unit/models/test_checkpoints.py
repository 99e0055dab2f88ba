"""Weights are found or requested, never invented; a file cannot run code."""

import json
import shutil

import huggingface_hub.constants as constants
import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.engine.adapted_model import open_base
from tabtune_core.errors import AdapterError, CheckpointError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE, WEIGHTS, get_card
from tabtune_core.models.checkpoints import find_checkpoint, sha256_of

CPU = torch.device("cpu")


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """Place of TabICL's repository in a Hugging Face cache, which is empty and has no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "models--jingang--TabICL"


def snapshot(repository, revision):
    folder = repository / "snapshots" / revision
    for made in (folder, repository / "blobs", repository / "refs"):
        made.mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    return folder


def test_a_given_path_is_used_and_its_hash_recorded(tmp_path):
    path = tiny_checkpoint(tmp_path / "mine.ckpt")
    found, source = find_checkpoint(CATALOGUE["tabicl-v2"], "classification", path)
    assert (found, source.file, source.sha256) == (path, "mine.ckpt", sha256_of(path))
    assert str(source.licence) == "not known", "only the person who named the file knows its licence"


def test_the_error_for_unavailable_weights_names_the_file_its_source_and_its_place(repository, name="tabicl-v1.1"):
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(CATALOGUE[name], "classification")
    message, file = str(caught.value), CATALOGUE[name].weights_for("classification").file
    assert f"needs the file {file} from huggingface.co/jingang/TabICL" in message
    assert f"hf download jingang/TabICL {file}" in message


def test_released_weights_open_from_the_hugging_face_cache(repository, name="tabicl-v1.1"):
    revision = "0" * 40
    tiny_checkpoint(snapshot(repository, revision) / CATALOGUE[name].weights_for("classification").file, name)
    model = load_model(CATALOGUE[name], "classification", CPU)
    assert (model.source.repository, model.source.revision) == ("jingang/TabICL", revision)


def test_a_released_file_that_differs_from_the_published_one_is_refused(repository):
    card = CATALOGUE["tabicl-v2"]
    link = snapshot(repository, "0" * 40) / card.weights_for("classification").file
    blob = tiny_checkpoint(repository / "blobs" / "fresh")
    link.symlink_to(blob.rename(blob.with_name(sha256_of(blob))))
    assert find_checkpoint(card, "classification")[0] == link
    with blob.with_name(sha256_of(link)).open("ab") as stream:
        stream.write(b"damage")
    with pytest.raises(CheckpointError, match="the file is damaged or a different one"):
        find_checkpoint(card, "classification")


def test_the_shipped_model_is_the_file_named_by_its_model_card():
    card = CATALOGUE["tabicl-mini"]
    file, source = find_checkpoint(card, "classification")
    assert source.sha256 == card.weights_for("classification").sha256
    for named in (source, find_checkpoint(card, "classification", file)[1]):
        assert named.to_json()["licence"] == {"name": "Apache-2.0", "commercial": True}


def changed(path, **config):
    content = torch.load(tiny_checkpoint(path), weights_only=True)
    content["config"].update(config)
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"embed_dim": 2**20}, "the tensor .* is .* in the file and .* in the model that it describes"),
        ({"icl_num_blocks": 10**9}, "its icl_num_blocks is 1,000,000,000, but models have at most 1,000"),
        ({"icl_num_blocks": 900}, "is missing in the file and"),
        ({"icl_nhead": 0}, "does not fit the installed tabicl package"),
    ],
)
def test_an_architecture_that_does_not_match_the_weights_is_refused_before_it_is_built(tmp_path, config, message):
    path = changed(tmp_path / "x.ckpt", **config)
    with pytest.raises(CheckpointError, match=message):
        load_model(CATALOGUE["tabicl-v2"], "classification", CPU, path)


def test_non_finite_weights_are_refused(tmp_path):
    content = torch.load(tiny_checkpoint(tmp_path / "x.ckpt"), weights_only=True)
    next(iter(content["state_dict"].values())).fill_(torch.nan)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="holds NaN or Infinity"):
        load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tmp_path / "x.ckpt")


def test_files_beside_the_weights_belong_to_their_hash(tmp_path):
    shutil.copytree(WEIGHTS / "mitra-mini-classifier", tmp_path / "own")
    card, file, config = get_card("mitra-mini"), tmp_path / "own/model.safetensors", tmp_path / "own/config.json"
    first = find_checkpoint(card, "classification", file)[1]
    assert first.sha256 == find_checkpoint(card, "classification")[1].sha256 != sha256_of(file)
    written = json.loads(config.read_text())
    config.write_text(json.dumps(written, indent=2))
    assert find_checkpoint(card, "classification", file)[1] == first
    config.write_text(json.dumps({**written, "n_heads": 2}))
    with pytest.raises(AdapterError, match=f"trained on weights with the SHA-256 {first.sha256}"):
        open_base("mitra-mini", "classification", first.sha256, checkpoint=file, device="cpu")
