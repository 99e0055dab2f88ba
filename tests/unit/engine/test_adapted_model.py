"""A damaged adapter, or one far too strong, leads to an error in one sentence, never to empty predictions."""

import json
import zipfile

import numpy as np
import pandas as pd
import polars
import pytest
import safetensors.numpy
import torch
from made_run import write_small_package
from package_values import package_facts
from small_disk import fill, small_disk

from tabtune_core import load_adapter
from tabtune_core.cli.main import main
from tabtune_core.engine.adapted_model import AdaptedModel
from tabtune_core.errors import AdapterError, ShortageError, TableError, TableWarning
from tabtune_core.lora.package_reader import FACTS, TENSORS, without_labels
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return write_small_package(tmp_path_factory.mktemp("kept"))


def changed(kept, path, facts=lambda facts: None, value=None):
    with zipfile.ZipFile(kept / "adapter.zip") as archive:
        said, tensors = json.loads(archive.read(FACTS)), safetensors.numpy.load(archive.read(TENSORS))
    facts(said)
    filled = {name: tensor if value is None else np.full_like(tensor, value) for name, tensor in tensors.items()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(FACTS, json.dumps(said))
        archive.writestr(TENSORS, safetensors.numpy.save(filled))
    return path


@pytest.mark.parametrize(("value", "told"), [(np.nan, "holds NaN or"), (np.inf, "holds NaN or Infinity"), (3e38, "")])
def test_the_command_line_neither_predicts_nor_merges_with_non_finite_numbers(kept, tmp_path, capsys, value, told):
    adapter, merged = changed(kept, tmp_path / "adapter.zip", value=value), tmp_path / "merged.ckpt"
    rows = ["--context", str(kept / "kept.csv"), "--device", "cpu"]
    assert main(["predict", str(adapter), str(kept / "kept.csv"), *rows]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert (told or "gives no finite number for 90 of 90 rows") in said.err
    assert main(["merge", str(adapter), str(merged), "--device", "cpu"]) == 2
    assert (told or "Merging it would damage the model") in capsys.readouterr().err
    assert not merged.exists()


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini", "mitra-mini"])
def test_a_full_disk_is_reported_and_an_earlier_file_is_kept(tmp_path, name):
    pytest.importorskip("autogluon.tabular" if name.startswith("mitra") else "torch", reason="Mitra needs AutoGluon")
    model = load_model(get_card(name), "classification", torch.device("cpu"))
    settings = RunSettings(dataset="d", target="y", model=name)
    adapt(model, settings)
    adapted = AdaptedModel(model, settings, package_facts(name))
    with small_disk(tmp_path / "disk") as disk:
        adapted.save_merged(disk / "merged")
        before = {file.name: file.read_bytes() for file in (disk.rglob("*")) if file.is_file()}
        fill(disk)
        with pytest.raises(ShortageError, match=r"The merged weights cannot be written\. The disk of .*disk.* is full"):
            adapted.save_merged(disk / "merged")
        after = {file.name: file.read_bytes() for file in (disk.rglob("*")) if file.is_file() and file.name != "filler"}
        assert after == before


def test_an_adapter_without_class_labels_uses_its_contexts_and_refuses_other_classes(kept, tmp_path):
    stripped, table = tmp_path / "adapter.zip", pd.read_csv(kept / "kept.csv")
    stripped.write_bytes(without_labels(kept / "adapter.zip"))
    whole, model = (load_adapter(path, device="cpu") for path in (kept / "adapter.zip", stripped))
    assert (whole.classes, model.classes) == (("large", "small"), ("class 1", "class 2"))
    pd.testing.assert_frame_equal(*(one.predict_table(table, context=one.context(table)) for one in (whole, model)))
    renamed = table.assign(**{model.settings.target: table[model.settings.target].replace("large", "class 1")})
    with pytest.raises(
        AdapterError, match="The context has the classes 'class 1', 'small'; the adapter was trained for o"
    ):
        model.new_context(renamed)


def test_rows_may_be_any_frame_but_duplicate_column_names_are_refused(kept):
    model, table = load_adapter(kept / "adapter.zip", device="cpu"), pd.read_csv(kept / "kept.csv")
    context, rows = model.context(table), table.iloc[:5].drop(columns=model.settings.target)
    other = polars.DataFrame(rows[rows.columns[::-1]].to_dict("list"))
    np.testing.assert_array_equal(
        model.predict_proba(other, context=context), model.predict_proba(rows, context=context)
    )
    with pytest.raises(TableError, match=f"X has two columns named {rows.columns[0]!r}; rename one."):
        model.predict(pd.concat([rows, rows.iloc[:, :1]], axis=1), context=context)


def test_texts_with_the_unit_of_the_adapters_table_are_numbers(kept, tmp_path):
    table = pd.read_csv(kept / "kept.csv")
    name = table.select_dtypes("number").columns[0]
    path = changed(kept, tmp_path / "adapter.zip", lambda facts: facts["reading"].update(units=[[name, "%"]]))
    model = load_adapter(path, device="cpu")
    context = model.context(table)
    texts = table.assign(**{name: [f"{number} %" for number in table[name]]})
    np.testing.assert_array_equal(
        model.predict_proba(texts, context=context), model.predict_proba(table, context=context)
    )
    with pytest.warns(TableWarning, match="such as '0 days .*: read as missing, because the column holds numbers"):
        model.predict(table.assign(**{name: pd.to_timedelta(table[name], unit="h")}), context=context)
