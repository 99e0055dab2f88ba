"""Uploaded adapters are stored under our own id, other files are refused, and no code in them runs."""

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
import safetensors.numpy
from seeding import made_up_layer

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.errors import AdapterError
from tabtune_core.lora.package_reader import FACTS, TENSORS
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings
from tabtune_core.store.runs import RunStore
from tabtune_core.store.uploaded_adapters import (
    add_adapter,
    delete_adapter,
    get_adapter,
    list_adapters,
    missing_base,
    package_of,
)

MINI = CATALOGUE["tabicl-mini"].weights["classification"]
LAYER = made_up_layer("icl_predictor.decoder.0", LoraSettings(rank=2))
FACTORS = {"A": np.ones((2, 128), np.float32), "B": np.ones((256, 2), np.float32)}


def factors(**changes):
    """Returns the tensors of a valid package, with another A or B; None leaves one out."""
    named = {f"base_model.model.{LAYER['path']}.lora_{side}.weight": of for side, of in (FACTORS | changes).items()}
    return safetensors.numpy.save({name: value for name, value in named.items() if value is not None})


TENSOR = factors()


def facts(**changes):
    base = {"model": "tabicl-mini", "file": MINI.file, "repository": None, "revision": None}
    base |= {"sha256": MINI.sha256, "licence": {"name": "Apache-2.0", "commercial": True}}
    lora = {"rank": 2, "targets": [LAYER["path"]]}
    settings = {"dataset": "a" * 64, "target": "y", "model": "tabicl-mini", "lora": lora}
    whole = {"format": 1, "base": base, "layers": [LAYER], "biases": [], "settings": settings, "classes": ["a", "b"]}
    whole |= {"table": {"name": "their.csv", "rows": 30, "id": "a" * 64}, "reading": asdict(ReadingChoices())}
    whole |= {"kinds": {"x": "number", "y": "category"}, "features": ["x"]}
    whole |= {"context": {"rows": [0, 1], "sha256": "0" * 64}, "opens_with_peft": True}
    return {**whole, "scores": {}, "best_step": 1, "versions": {}, **changes}


def package(content=None, **more):
    files = {FACTS: json.dumps(facts()), TENSORS: TENSOR} | (content or {})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in files.items():
            archive.writestr(name, value)
    return buffer.getvalue()


def files_below(home):
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_a_package_is_stored_once_under_its_hash_and_can_be_removed(tmp_path):
    data = package()
    adapter = add_adapter(tmp_path, data, "theirs.zip")
    assert add_adapter(tmp_path, data, "again.zip") == adapter
    assert (adapter.id, adapter.name, adapter.settings.target) == (hashlib.sha256(data).hexdigest(), "theirs.zip", "y")
    assert package_of(tmp_path, adapter.id).read_bytes() == data
    assert list_adapters(tmp_path) == [adapter]
    assert missing_base(adapter) is None, "its base is the mini that ships with the package"
    delete_adapter(RunStore(tmp_path), adapter.id)
    assert list_adapters(tmp_path) == []
    assert not (tmp_path / "adapters" / adapter.id).exists()


@pytest.mark.parametrize(("entry", "value"), [("id", "a" * 64), ("size_bytes", True), ("ownes", "")])
def test_a_damaged_description_is_refused(tmp_path, entry, value):
    adapter = add_adapter(tmp_path, package(), "mine.zip")
    about = tmp_path / "adapters" / adapter.id / "about.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {entry: value}))
    with pytest.raises(AdapterError, match="cannot be read"):
        get_adapter(tmp_path, adapter.id)


@pytest.mark.parametrize("identity", ["../runs", "..", "", "a" * 63, "A" * 64, f"../adapters/{'a' * 64}"])
def test_only_valid_ids_reach_the_disk(tmp_path, identity):
    (tmp_path / "runs").mkdir()
    (tmp_path / "adapters").mkdir()
    for reach in (get_adapter, package_of, lambda home, identity: delete_adapter(RunStore(home), identity)):
        with pytest.raises(AdapterError, match="holds no adapter"):
            reach(tmp_path, identity)
    assert (tmp_path / "runs").is_dir()


class Payload:
    def __reduce__(self):
        return os.mkdir, ("the code ran",)


def endless():
    """Returns valid tensors, and an empty one whose sides have a product beyond 64 bits."""
    length = int.from_bytes(TENSOR[:8], "little")
    header = json.loads(TENSOR[8 : 8 + length])
    end = max(about["data_offsets"][1] for about in header.values())
    more = {"dtype": "F32", "shape": [0, 2**39, 2**39], "data_offsets": [end, end]}
    text = json.dumps({**header, f"base_model.model.{LAYER['path']}.more": more}).encode()
    return len(text).to_bytes(8, "little") + text + TENSOR[8 + length :]


def says(**changes):
    return package({FACTS: json.dumps(facts(**changes))})


def with_settings(**changes):
    return says(settings={**facts()["settings"], **changes})


def licensed(**licence):
    return {**facts()["base"], "licence": {"commercial": None, **licence}}


REFUSED = {
    "a pickle": (pickle.dumps(Payload()), "is not a zip that can be opened"),
    "a pickle in a zip": (package({TENSORS: pickle.dumps(Payload())}), "are damaged"),
    "an empty file": (b"", "is not an adapter package: it is empty"),
    "no facts": (package({FACTS: ""}), "its JSON is malformed or truncated"),
    "scores nested 90 levels deep": (says(scores=json.loads("[" * 90 + "]" * 90)), "nested deeper than 32 levels"),
    "another format": (says(format=9), "made by another version; train it again"),
    "an entry of a later version": (says(loader="x"), "it has the entry 'loader', which this version does not"),
    "a setting of a later version": (with_settings(speed=3), "Unknown setting 'speed'"),
    "no tensors": (package({TENSORS: safetensors.numpy.save({})}), "there is no adapter in it"),
    "only one factor": (package({TENSORS: factors(B=None)}), "the factors of its layer 'icl_predictor.decoder.0' have"),
    "factors of another shape": (package({TENSORS: factors(A=np.ones((2, 127), np.float32))}), "have the shapes .*127"),
    "NaN": (package({TENSORS: factors(A=np.full((2, 128), np.nan, np.float32))}), "holds NaN or Infinity"),
    "a layer that the model lacks": (says(layers=[{**LAYER, "path": "x"}]), "have the shapes"),
    "a zip bomb": (package({"README.md": bytes(600_000_000)}), "unpacks to 600.0 MB or more"),
    "a thousand files": (package({f"f{i}": "" for i in range(1000)}), "'f0' does not belong to a package"),
    "no base": (says(base=None), "its entry 'base' has the wrong type"),
    "a licence of booleans": (says(base=licensed(name=True, commercial=True)), "its Licence has a name of the wrong"),
    "settings of full fine-tuning": (with_settings(strategy="base-ft"), "not those of a LoRA run"),
    "a feature that is the target": (says(features=["x", "y"]), "its features hold the column that it predicts, 'y'"),
    "a feature without a kind": (says(features=["z"]), "the kind of column of each feature"),
    "a negative row": (says(context={"rows": [-1], "sha256": "0" * 64}), "not different rows of a table of 30"),
    "half of a surrogate pair": (says(table={"name": "\ud800", "id": "a", "rows": 30}), "half of a letter"),
    "a very long name": (says(table={"name": "x" * 5000, "id": "a", "rows": 30}), "has no valid name"),
    "not the rank of the settings": (
        with_settings(lora={"rank": 4, "targets": [LAYER["path"]]}),
        "its layer 'icl_predictor.decoder.0' differs",
    ),
    "not the layers of the settings": (with_settings(lora={"rank": 2}), "its layer 'col_embedder.* differs"),
    "not the size of the settings": (
        with_settings(lora={"rank": 2, "targets": [LAYER["path"]], "bias": "lora_only"}),
        r"values \(768\) differs",
    ),
    "a pattern that fits no layer": (
        with_settings(lora={"rank": 2, "targets": [LAYER["path"]], "rank_pattern": {"(a+)+$": 1}}),
        "does not fit TabICL mini: rank_pattern names .*, which no adapted layer has",
    ),
    "a linear layer as an embedding": (
        says(layers=[{**LAYER, "kind": "embedding"}]),
        "its layer 'icl_predictor.decoder.0' differs",
    ),
    "an empty tensor with huge sides": (package({TENSORS: endless()}), "the shape of its tensor '.*more' does not fit"),
    "an unknown kind": (says(layers=[{**LAYER, "kind": "loop"}]), "its AdaptedLayer has a kind of the wrong type"),
    "a layer with huge sides": (says(layers=[{**LAYER, "out_features": 2**24}]), "rank 2, which is impossible for its"),
    "no layers": (says(layers=[]), "does not name an adapted layer"),
    "versions that are numbers": (says(versions={"torch": 2}), "its scores or versions are not values by name"),
    "a row twice": (says(context={"rows": [1, 1], "sha256": "0" * 64}), "not different rows of a table of 30"),
    "an unknown variant": (says(layers=[{**LAYER, "variant": "mora"}]), "is of the variant 'mora', which is not known"),
    "scores that are words": (says(scores={"test": {"accuracy": "high"}}), "its scores or versions are not values by"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_not_an_adapter_is_refused_and_leaves_nothing_behind(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    data, message = REFUSED[what]
    with pytest.raises(AdapterError, match=message):
        add_adapter(tmp_path / "home", data, "x.zip")
    assert files_below(tmp_path) == []
    assert not (tmp_path / "the code ran").exists()


@pytest.mark.parametrize(
    ("base", "settings", "told"),
    [
        ({"model": "tabicl-mini", "sha256": "1" * 64}, {}, "is another file .SHA-256"),
        ({"model": "tabicl-9"}, {"model": "tabicl-9"}, "a model that this version does not know"),
        ({"model": "tabicl-v2"}, {"model": "tabicl-v2"}, "hf download jingang/TabICL tabicl-classifier-v2"),
        ({}, {"checkpoint": "mine.ckpt"}, "loralab predict --checkpoint FILE"),
    ],
)
def test_a_missing_base_is_named_with_the_way_out(tmp_path, monkeypatch, base, settings, told):
    monkeypatch.setattr("tabtune_core.store.uploaded_adapters.is_here", lambda weights: weights.repository is None)
    changed = facts(base={**facts()["base"], **base}, settings={**facts()["settings"], **settings})
    content = {}
    if changed["settings"]["model"] == "tabicl-v2":
        out, width = CATALOGUE["tabicl-v2"].layers("classification").weights[LAYER["path"]]
        changed["layers"] = [made_up_layer(LAYER["path"], LoraSettings(rank=2), out, width)]
        content = {TENSORS: factors(A=np.ones((2, width), np.float32), B=np.ones((out, 2), np.float32))}
    adapter = add_adapter(tmp_path, package({FACTS: json.dumps(changed), **content}), "x.zip")
    assert re.search(told, missing_base(adapter))
