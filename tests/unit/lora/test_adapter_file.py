"""The package: written in one move, read without running code, refused when it is something else."""

import io
import json
import pickle
import zipfile

import pytest
import torch
from tiny import tiny_module

from tabtune_core.errors import AdapterError
from tabtune_core.lora.adapter_file import FACTS, README, TENSORS, read_package, readme, write_package
from tabtune_core.lora.inject import adapter_factors, inject
from tabtune_core.models.catalogue import CATALOGUE

FACT = {
    "settings": {"lora": {"rank": 4}, "target": "it's \"y\""}, "base": {"model": "tabicl-v2", "file": "x.ckpt", "sha256": "0", "repository": "a/b"},
    "classes": ["a", "b"], "context": {"rows": [0], "sha256": "0"}, "table": {"name": 'odd" name.csv'}, "versions": {"tabtune_core": "0"},
}  # fmt: skip


@pytest.fixture
def written(tmp_path):
    card = CATALOGUE["tabicl-v2"]
    module = tiny_module()
    report = inject(
        module,
        rank=3,
        alpha=6,
        dropout=0.1,
        targets=card.family.targets,
        groups=card.family.groups["classification"],
        passed_over=card.family.passed_over,
    )
    for _, b in adapter_factors(module, report).values():
        torch.nn.init.normal_(b)
    write_package(tmp_path / "adapter.zip", module, report, dropout=0.1, facts=FACT)
    return tmp_path / "adapter.zip", module, report


def test_what_was_written_is_read_back_bit_by_bit(written):
    path, module, report = written
    package = read_package(path)
    factors = adapter_factors(module, report)
    assert package.factors.keys() == factors.keys()
    assert all(torch.equal(a, b) for name in factors for a, b in zip(package.factors[name], factors[name], strict=True))
    assert package.facts["classes"] == ["a", "b"]
    assert len(package.facts["layers"]) == len(report.layers)


def test_the_readmes_loader_is_python_whatever_the_table_is_called(written):
    text = zipfile.ZipFile(written[0]).read(README).decode()
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert "checkpoint=" not in code, "the base's own weights are found without a path"
    assert "load_adapter(\"adapter.zip\", checkpoint='mine.ckpt')" in readme({
        **read_package(written[0]).facts, "settings": {**FACT["settings"], "checkpoint": "mine.ckpt"}, "base": {**FACT["base"], "file": "mine.ckpt"},
    })  # fmt: skip


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


def test_a_crafted_package_cannot_run_code(written, capsys):
    buffer = io.BytesIO()
    torch.save(Payload(), buffer)
    for payload in (pickle.dumps(Payload()), buffer.getvalue()):
        repacked(written[0], **{TENSORS: payload})
        with pytest.raises(AdapterError, match="is no adapter package"):
            read_package(written[0])
    assert "this code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [{TENSORS: None}, {FACTS: None}, {FACTS: b"{"}, {FACTS: b"\xff"}, {FACTS: b"[]"}, {FACTS: json.dumps({"format": 99}).encode()}],
)
def test_a_damaged_package_is_refused(written, change):
    repacked(written[0], **change)
    with pytest.raises(AdapterError):
        read_package(written[0])


def test_half_a_pair_of_factors_is_named(written):
    import safetensors.torch

    with zipfile.ZipFile(written[0]) as archive:
        tensors = safetensors.torch.load(archive.read(TENSORS))
    name = next(n for n in tensors if n.endswith("lora_B.weight"))
    tensors.pop(name)
    repacked(written[0], **{TENSORS: safetensors.torch.save(tensors)})
    with pytest.raises(AdapterError, match="lora_B.weight"):
        read_package(written[0])


def test_a_package_that_unpacks_to_too_much_is_refused(written):
    with pytest.raises(AdapterError, match="unpacks to more than"):
        read_package(written[0], limit_bytes=1000)


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(AdapterError, match="is no adapter package"):
        read_package(tmp_path / "x.zip")


def test_a_missing_file_says_where(tmp_path):
    with pytest.raises(AdapterError, match="There is no adapter package at .*nowhere.zip"):
        read_package(tmp_path / "nowhere.zip")
