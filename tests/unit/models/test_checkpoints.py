"""Weights are found or asked for, and never made up; a file cannot run code."""

import json
import pickle
import shutil

import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.engine.adapted_model import open_base
from tabtune_core.errors import AdapterError, CheckpointError
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE, WEIGHTS, get_card
from tabtune_core.models.checkpoints import find_checkpoint, sha256_of
from tabtune_core.models.tabicl.model import read_checkpoint

CPU = torch.device("cpu")


def test_a_named_path_is_used_and_its_hash_written_down(tmp_path):
    path = tiny_checkpoint(tmp_path / "mine.ckpt")
    found, source = find_checkpoint(CATALOGUE["tabicl-v2"], "classification", path)
    assert (found, source.file, source.sha256) == (path, "mine.ckpt", sha256_of(path))
    assert str(source.licence) == "not known", "whose weights these are only the person knows who named them"


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint at .*nowhere.ckpt"):
        find_checkpoint(CATALOGUE["tabicl-mini"], "classification", tmp_path / "nowhere.ckpt")


@pytest.mark.parametrize("name", ["tabicl-v1", "tabicl-v1.1", "tabicl-v2"])
def test_released_weights_that_cannot_be_had_say_which_file_from_where_and_where_to_put_it(name, monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(CATALOGUE[name], "classification")
    message = str(caught.value)
    assert f"needs the file {CATALOGUE[name].weights_for('classification').file} from huggingface.co/jingang/TabICL" in message
    assert f"hf download jingang/TabICL {CATALOGUE[name].weights_for('classification').file}" in message


@pytest.mark.parametrize("name", ["tabicl-v1", "tabicl-v1.1", "tabicl-v2"])
def test_released_weights_open_from_the_hugging_face_cache(name, monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    revision = "0" * 40
    folder = tmp_path / "models--jingang--TabICL" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text(revision)
    tiny_checkpoint(folder / CATALOGUE[name].weights_for("classification").file, name)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = load_model(CATALOGUE[name], "classification", CPU)
    assert (model.source.repository, model.source.revision) == ("jingang/TabICL", revision)


def test_a_released_file_that_is_not_what_was_published_is_refused(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    store = tmp_path / "models--jingang--TabICL"
    folder = store / "snapshots" / ("0" * 40)
    for made in (folder, store / "blobs", store / "refs"):
        made.mkdir(parents=True)
    (store / "refs" / "main").write_text("0" * 40)
    card = CATALOGUE["tabicl-v2"]
    blob = tiny_checkpoint(store / "blobs" / "fresh")
    link = folder / card.weights_for("classification").file
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    link.symlink_to(blob.rename(blob.with_name(sha256_of(blob))))
    assert find_checkpoint(card, "classification")[0] == link
    with blob.with_name(sha256_of(link)).open("ab") as stream:
        stream.write(b"damage")
    with pytest.raises(CheckpointError, match="the file is damaged or a different one"):
        find_checkpoint(card, "classification")


def test_the_model_in_the_box_is_the_file_that_its_card_names():
    card = CATALOGUE["tabicl-mini"]
    file, source = find_checkpoint(card, "classification")
    assert source.sha256 == card.weights_for("classification").sha256
    for named in (source, find_checkpoint(card, "classification", file)[1]):
        assert named.to_json()["licence"] == {"name": "Apache-2.0", "commercial": True}


class Payload:
    def __reduce__(self):
        return print, ("this code ran",)


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(Payload()))
    torch.save({"config": Payload(), "state_dict": {}}, tmp_path / "evil2.ckpt")
    for name in ("evil.ckpt", "evil2.ckpt"):
        with pytest.raises(CheckpointError, match="is not a TabICL checkpoint"):
            read_checkpoint(tmp_path / name)
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weights": {}}, "needs the entries 'config' and 'state_dict'"),
        ({"config": {"depth": 3}, "state_dict": {}}, "does not fit the installed tabicl"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tmp_path / "other.ckpt")


def changed(path, **config):
    """A tiny checkpoint whose configuration says something else."""
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
def test_an_architecture_that_the_weights_are_not_of_is_refused_before_it_is_built(tmp_path, config, message):
    path = changed(tmp_path / "x.ckpt", **config)
    with pytest.raises(CheckpointError, match=message):
        load_model(CATALOGUE["tabicl-v2"], "classification", CPU, path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    content = torch.load(tiny_checkpoint(tmp_path / "x.ckpt"), weights_only=True)
    next(iter(content["state_dict"].values())).fill_(torch.nan)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match="holds NaN or Infinity"):
        load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tmp_path / "x.ckpt")


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini"])
@pytest.mark.parametrize(("content", "message"), [(b"", "it is empty"), (b"PK", "is not a Tab"), (b"\x80\x02N.", "is not a Tab")])
def test_a_file_of_nothing_and_one_of_something_else_are_no_checkpoint(tmp_path, name, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_model(CATALOGUE[name], "classification", CPU, tmp_path / "x")


def test_a_damaged_file_in_the_cache_is_noticed(tmp_path, monkeypatch):
    import dataclasses

    from tabtune_core.models import checkpoints

    mini = CATALOGUE["tabicl-mini"]
    damaged = dataclasses.replace(mini.weights_for("classification"), sha256="0" * 64)
    card = dataclasses.replace(mini, weights={"classification": damaged})
    with pytest.raises(checkpoints.CheckpointError, match="the file is damaged or a different one"):
        find_checkpoint(card, "classification")


def test_what_lies_beside_the_weights_is_part_of_their_identity_and_adapters_of_before_still_name_the_file_alone(tmp_path):
    shutil.copytree(WEIGHTS / "mitra-mini-classifier", tmp_path / "own")
    card, file, config = get_card("mitra-mini"), tmp_path / "own/model.safetensors", tmp_path / "own/config.json"
    first = find_checkpoint(card, "classification", file)[1]
    assert first.identities == find_checkpoint(card, "classification")[1].identities == (first.sha256, sha256_of(file))
    written = json.loads(config.read_text())
    config.write_text(json.dumps(written, indent=2))
    assert find_checkpoint(card, "classification", file)[1] == first
    config.write_text(json.dumps({**written, "n_heads": 2}))
    with pytest.raises(AdapterError, match=f"trained on weights with the SHA-256 {first.sha256}"):
        open_base("mitra-mini", "classification", first.sha256, checkpoint=file, device="cpu")
    pytest.importorskip("autogluon.tabular", reason="Mitra needs AutoGluon")
    assert open_base("mitra-mini", "classification", sha256_of(file), checkpoint=file, device="cpu").module.n_heads == 2
