"""The package: written atomically, read without running code, refused if it is something else."""

import json
import zipfile
from dataclasses import replace

import pytest
import torch
from package_values import package_facts
from tiny import tiny_module

from tabtune_core.data.findings import ReadAs
from tabtune_core.errors import AdapterError
from tabtune_core.files.damaged import Damaged
from tabtune_core.lora.adapted_layer import PREFIX, AdaptedLayer
from tabtune_core.lora.inject import adapter_tensors, inject, load_factors, merged_copy
from tabtune_core.lora.package import FACTS, README, peft_config, read_package, write_package
from tabtune_core.lora.package_reader import readme, without_labels
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.upstream import Licence

LORA = LoraSettings(rank=3, dropout=0.1, bias="lora_only", use_dora=True)
FACT = package_facts(lora=LORA, target='it\'s "y"', table_name='odd" name.csv')


def about(report, **changes):
    return replace(FACT, layers=report.layers, biases=report.biases, **changes)


@pytest.fixture
def written(tmp_path):
    card = CATALOGUE["tabicl-v2"]
    module = tiny_module()
    report = inject(module, LORA, card.rules("classification"))
    for parameter in adapter_tensors(module, report).values():
        torch.nn.init.normal_(parameter)
    write_package(tmp_path / "adapter.zip", module, report, about(report))
    return tmp_path / "adapter.zip", module, report


def test_a_written_package_is_read_back_bit_by_bit(written):
    path, module, report = written
    package = read_package(path)
    tensors = adapter_tensors(module, report)
    assert package.tensors.keys() == tensors.keys()
    assert all(torch.equal(package.tensors[name], tensors[name]) for name in tensors)
    assert {name.rpartition(".")[2] for name in tensors} == {"weight", "lora_magnitude_vector", "bias", "in_proj_bias"}
    assert package.facts == about(report, settings=package.facts.settings)
    assert package.facts.settings == RunSettings.from_dict(FACT.settings.to_dict())
    assert package.facts.read_as == ReadAs(FACT.reading, FACT.kinds, FACT.features, FACT.settings.target)
    label_hash = package.facts.label_hash
    assert label_hash == about(report, labels_sha256=label_hash, classes=("class 1", "class 2")).label_hash


def test_an_untrained_adapter_is_as_large_as_a_trained_one(written, tmp_path):
    path, module, report = written
    for parameter in adapter_tensors(module, report).values():
        torch.nn.init.zeros_(parameter)
    write_package(tmp_path / "zeros.zip", module, report, about(report))
    sizes = [file.stat().st_size for file in (path, tmp_path / "zeros.zip")]
    assert sizes[0] == sizes[1] > sum(tensor.nbytes for tensor in read_package(path).tensors.values())


def test_the_loader_in_the_readme_is_valid_python_for_any_table_name(written):
    text = zipfile.ZipFile(written[0]).read(README).decode()
    code = text.split("```python\n")[1].split("```")[0]
    compile(code, "README.md", "exec")
    assert f"Rank 3, alpha 6, DoRA, on {len(written[2].layers)} layers and {len(written[2].biases)} biases." in text
    facts = read_package(written[0]).facts
    licensed = replace(facts, base=replace(facts.base, licence=Licence("X-1", commercial=False)))
    assert 'Predicts `it\'s "y"` (a, b).' in text and "of its columns, the class labels,\n" in text
    assert "cannot apply it: the model reads its attention weights without calling a layer. Use the loader" in text
    numbers = replace(facts, classes=(), layers=(replace(facts.layers[0], kind="embedding"),), biases=("head.bias",))
    assert "(numbers)." in readme(numbers) and "on 1 layer and 1 bias." in readme(numbers)
    assert "cannot apply it: it does not support this on an embedding." in readme(numbers)
    assert "Their licence: not known." in text and "Their licence: X-1, no commercial use." in readme(licensed)
    assert "checkpoint=" not in code, "the base's own weights are found without a path"
    settings, base = replace(facts.settings, checkpoint="mine.ckpt"), replace(facts.base, file="mine.ckpt")
    own = readme(replace(facts, settings=settings, base=base))
    assert "load_adapter(\"adapter.zip\", checkpoint='mine.ckpt')" in own


def repacked(path, **changes):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)


def test_a_factor_without_its_pair_is_named(written):
    path, module, report = written
    tensors = dict(read_package(path).tensors)
    name = next(n for n in tensors if n.endswith("lora_B.weight"))
    value = tensors.pop(name)
    with pytest.raises(AdapterError, match=f"disagree on 1 tensor, for example '{name.removeprefix(PREFIX)}'; the"):
        load_factors(module, report, tensors)
    with pytest.raises(AdapterError, match="of the adapter has the shape"):
        load_factors(module, report, {**tensors, name: value[1:]})


def test_an_adapter_with_non_finite_numbers_is_neither_saved_nor_loaded(written, tmp_path):
    path, module, report = written
    tensors = dict(read_package(path).tensors)
    name = next(iter(tensors))
    with pytest.raises(AdapterError, match=r"holds NaN or Infinity in .* \(1 tensor in all\)\. It is damaged"):
        load_factors(module, report, {**tensors, name: torch.full_like(tensors[name], torch.nan)})
    with torch.no_grad():
        adapter_tensors(module, report)[name].fill_(torch.inf)
    with pytest.raises(AdapterError, match="It cannot be saved"):
        write_package(tmp_path / "other.zip", module, report, about(report))
    assert not (tmp_path / "other.zip").exists()
    with pytest.raises(AdapterError, match="Merging it would damage the model"):
        merged_copy(module)


def test_a_package_with_a_million_context_rows_can_be_opened(written, tmp_path):
    _, module, report = written
    million = about(report, context_rows=list(range(10**6)), table_rows=10**6)
    write_package(tmp_path / "million.zip", module, report, million)
    assert len(read_package(tmp_path / "million.zip").facts.context_rows) == 10**6
    with pytest.raises(AdapterError, match="There is no adapter package at .*nowhere.zip"):
        read_package(tmp_path / "nowhere.zip")


def test_a_package_without_class_labels_holds_them_nowhere(written):
    path = written[0]
    changed = replace(read_package(path).facts, classes=("secret one", "secret two"))
    repacked(path, **{FACTS: json.dumps(changed.to_json()), README: readme(changed)})
    stripped = path.with_name("stripped.zip")
    stripped.write_bytes(without_labels(path))
    with zipfile.ZipFile(stripped) as archive:
        assert not any(b"secret" in archive.read(name) for name in archive.namelist())
    again = read_package(stripped)
    assert again.facts.label_hash == changed.label_hash != FACT.label_hash
    assert again.facts == replace(changed, classes=("class 1", "class 2"), labels_sha256=changed.label_hash)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in read_package(path).tensors.items())


LAYER = AdaptedLayer("a", "a", "linear", 4, 3, 3, 6.0, False, False, "dora")


def test_a_layer_has_a_rank_from_1_to_its_smaller_side():
    for rank in (1, 3):
        layer = replace(LAYER, rank=rank)
        assert AdaptedLayer.from_json(layer.to_json()) == layer
    for rank in (0, 4):
        with pytest.raises(Damaged, match=f"has the rank {rank}, which is impossible"):
            AdaptedLayer.from_json({**LAYER.to_json(), "rank": rank})
    with pytest.raises(TypeError, match="'more'"):
        AdaptedLayer.from_json({**LAYER.to_json(), "more": 1})


def test_the_bound_of_a_package_is_64_bits_for_every_possible_tensor_and_a_megabyte_beside():
    a_and_b, lengths = 3 * (4 + 3), 4
    numbers = 2 * a_and_b + lengths  # a variant may keep a frozen start of A and B, or lengths of the rows
    assert replace(FACT, layers=(LAYER,), biases=("a.bias",)).bytes_declared == 8 * numbers + 2_000_000


def test_pefts_config_of_a_single_layer_is_for_inference_and_needs_no_pattern():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    config = peft_config(inject(module, LoraSettings(rank=2, alpha=6, targets=("0",))), dropout=0.1)
    assert (config["r"], config["lora_alpha"], config["lora_dropout"], config["target_modules"]) == (2, 6, 0.1, "0")
    assert config["inference_mode"] and not config["rank_pattern"] and not config["alpha_pattern"]
