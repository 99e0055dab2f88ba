"""The package: written in one move, read without running code, refused when it is something else."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from tiny import tiny_module

from tabtune_core.data.findings import ReadingChoices
from tabtune_core.errors import AdapterError
from tabtune_core.lora.inject import adapter_tensors, inject, load_factors, merged_copy
from tabtune_core.lora.package import FACTS, README, TENSORS, read_package, write_package
from tabtune_core.lora.package_facts import PREFIX, labels_sha256
from tabtune_core.lora.package_reader import readme, without_labels
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings

FACT = {
    "settings": {"dataset": "d", "model": "tabicl-v2", "lora": {"rank": 4, "use_dora": True}, "target": 'it\'s "y"'},
    "base": {"model": "tabicl-v2", "file": "x.ckpt", "sha256": "0" * 64, "repository": "a/b"},
    "classes": ["a", "b"],
    "reading": ReadingChoices().to_json(),
    "kinds": {"x": "number"},
    "features": ["x"],
    "context": {"rows": [0], "sha256": "0" * 64},
    "table": {"name": 'odd" name.csv', "rows": 9, "id": "d"},
    "versions": {"tabtune_core": "0"},
}


@pytest.fixture
def written(tmp_path):
    card = CATALOGUE["tabicl-v2"]
    module = tiny_module()
    report = inject(module, LoraSettings(rank=3, dropout=0.1, bias="lora_only", use_dora=True), card.rules("classification"))
    for parameter in adapter_tensors(module, report).values():
        torch.nn.init.normal_(parameter)
    write_package(tmp_path / "adapter.zip", module, report, dropout=0.1, facts=FACT)
    return tmp_path / "adapter.zip", module, report


def test_what_was_written_is_read_back_bit_by_bit(written):
    path, module, report = written
    package = read_package(path)
    tensors = adapter_tensors(module, report)
    assert package.tensors.keys() == tensors.keys()
    assert all(torch.equal(package.tensors[name], tensors[name]) for name in tensors)
    assert {name.rpartition(".")[2] for name in tensors} == {"weight", "lora_magnitude_vector", "bias", "in_proj_bias"}
    assert package.facts["classes"] == ["a", "b"]
    assert package.facts["biases"] == list(report.biases)
    assert len(package.facts["layers"]) == len(report.layers)


def test_an_adapter_that_was_not_trained_is_as_large_as_one_that_was(written, tmp_path):
    path, module, report = written
    for parameter in adapter_tensors(module, report).values():
        torch.nn.init.zeros_(parameter)
    write_package(tmp_path / "zeros.zip", module, report, dropout=0.1, facts=FACT)
    sizes = [file.stat().st_size for file in (path, tmp_path / "zeros.zip")]
    assert sizes[0] == sizes[1] > sum(tensor.nbytes for tensor in read_package(path).tensors.values())


def test_the_readmes_loader_is_python_whatever_the_table_is_called(written):
    text = zipfile.ZipFile(written[0]).read(README).decode()
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert f"Rank 4, alpha 8, DoRA, on {len(written[2].layers)} layers and {len(written[2].biases)} biases." in text
    assert "Their licence: not known." in text
    assert "Their licence: X-1, no commercial use." in readme(
        {**read_package(written[0]).facts, "base": {**FACT["base"], "licence": {"name": "X-1", "commercial": False}}}
    )
    assert "checkpoint=" not in code, "the base's own weights are found without a path"
    assert "load_adapter(\"adapter.zip\", checkpoint='mine.ckpt')" in readme(
        {
            **read_package(written[0]).facts,
            "settings": {**FACT["settings"], "checkpoint": "mine.ckpt"},
            "base": {**FACT["base"], "file": "mine.ckpt"},
        }
    )


def repacked(path, **changes):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)


class Payload:
    def __reduce__(self):
        return print, ("this code ran",)


def test_a_crafted_package_cannot_run_code(written, tmp_path, capsys):
    buffer = io.BytesIO()
    torch.save(Payload(), buffer)
    for payload in (pickle.dumps(Payload()), buffer.getvalue()):
        repacked(written[0], **{TENSORS: payload})
        with pytest.raises(AdapterError, match="is not an adapter package"):
            read_package(written[0])
        (tmp_path / "renamed.zip").write_bytes(payload)
        with pytest.raises(AdapterError):
            read_package(tmp_path / "renamed.zip")
    assert capsys.readouterr().out == ""
    torch.load(tmp_path / "renamed.zip", weights_only=False)
    assert capsys.readouterr().out == "this code ran\n", "a reader that runs code would have run it"


@pytest.mark.parametrize(
    "change",
    [{TENSORS: None}, {FACTS: None}, {FACTS: b"{"}, {FACTS: b"\xff"}, {FACTS: b"[]"}, {FACTS: json.dumps({"format": 99}).encode()}],
)
def test_a_damaged_package_is_refused(written, change):
    repacked(written[0], **change)
    with pytest.raises(AdapterError):
        read_package(written[0])


def test_half_a_pair_of_factors_is_named(written):
    path, module, report = written
    tensors = dict(read_package(path).tensors)
    name = next(n for n in tensors if n.endswith("lora_B.weight"))
    value = tensors.pop(name)
    with pytest.raises(AdapterError, match=f"disagree on 1 tensors, for example '{name.removeprefix(PREFIX)}'; it is damaged, or"):
        load_factors(module, report, tensors)
    with pytest.raises(AdapterError, match="of the adapter has the shape"):
        load_factors(module, report, {**tensors, name: value[1:]})


def test_an_adapter_without_numbers_is_neither_saved_nor_put_on_a_model(written, tmp_path):
    path, module, report = written
    tensors = dict(read_package(path).tensors)
    name = next(iter(tensors))
    with pytest.raises(AdapterError, match="holds NaN or Infinity, as do 0 others. It is damaged"):
        load_factors(module, report, {**tensors, name: torch.full_like(tensors[name], torch.nan)})
    with torch.no_grad():
        adapter_tensors(module, report)[name].fill_(torch.inf)
    with pytest.raises(AdapterError, match="It cannot be saved"):
        write_package(tmp_path / "other.zip", module, report, dropout=0.1, facts=FACT)
    assert not (tmp_path / "other.zip").exists()
    with pytest.raises(AdapterError, match="Merged, it would damage the model"):
        merged_copy(module)


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(AdapterError, match="is not an adapter package"):
        read_package(tmp_path / "x.zip")


def test_a_missing_file_says_where(tmp_path):
    with pytest.raises(AdapterError, match="There is no adapter package at .*nowhere.zip"):
        read_package(tmp_path / "nowhere.zip")


def test_what_could_not_be_opened_again_is_not_saved(written, tmp_path):
    _, module, report = written
    large = {**FACT, "context": {"rows": list(range(2_000_000)), "sha256": "0" * 64}}
    with pytest.raises(AdapterError, match="cannot be saved: its tabtune.json would have 14.9 MB. Choose fewer context rows"):
        write_package(tmp_path / "large.zip", module, report, dropout=0.1, facts=large)
    million = {**FACT, "context": {"rows": list(range(1_000_000)), "sha256": "0" * 64}, "table": {**FACT["table"], "rows": 10**6}}
    write_package(tmp_path / "million.zip", module, report, dropout=0.1, facts=million)
    assert len(read_package(tmp_path / "million.zip").facts["context"]["rows"]) == 10**6


def test_a_package_without_its_class_labels_holds_them_nowhere(written):
    path = written[0]
    changed = {**read_package(path).facts, "classes": ["secret one", "secret two"]}
    repacked(path, **{FACTS: json.dumps(changed), README: readme(changed)})
    stripped = path.with_name("stripped.zip")
    stripped.write_bytes(without_labels(path))
    with zipfile.ZipFile(stripped) as archive:
        assert not any(b"secret" in archive.read(name) for name in archive.namelist())
    again = read_package(stripped)
    assert labels_sha256(again.facts) == labels_sha256(changed) != labels_sha256(FACT)
    assert {name: value for name, value in again.facts.items() if name not in ("classes", "labels_sha256")} == {
        name: value for name, value in changed.items() if name != "classes"
    }
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in read_package(path).tensors.items())
