"""A damaged file opens or is refused in one line, quickly, in little memory, and no code in it runs."""

import random
import shutil
import time
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
import torch
from damaged import damage, resident
from made_run import write_small_package
from pipelines import FAST, disturb
from tiny import tiny_checkpoint

from tabtune_core import SweepSettings, TabularPipeline, load_adapter
from tabtune_core.errors import AdapterError, CheckpointError, PipelineError, SettingError
from tabtune_core.lora.standalone import load_lora_adapter
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import RunSettings
from tabtune_core.store.uploaded_adapters import check_package

SECONDS, FREE_BYTES, TIMES_THE_FILE = 30, 200_000_000, 10
"""What opening one file may take."""
FILES = 40


def open_adapter(path):
    """Opens it as the page does on upload, and as the command line does to predict."""
    check_package(path)
    model, table = load_adapter(path, device="cpu"), pd.read_csv(path.with_name("kept.csv"))
    assert model.predict_table(table.head(3), context=model.context(table)).notna().all(axis=None)


def open_checkpoint(name):
    return lambda path: load_model(CATALOGUE[name], "classification", torch.device("cpu"), path)


def open_config(path):
    return open_checkpoint("mitra-mini")(path.with_name("model.safetensors"))


KINDS = {
    "adapter.zip": ("zip", AdapterError, open_adapter),
    "pipeline.zip": ("zip", (PipelineError, AdapterError), lambda path: TabularPipeline.load(path, device="cpu")),
    "lora.pt": ("torch", AdapterError, load_lora_adapter),
    "tabicl.ckpt": ("torch", CheckpointError, open_checkpoint("tabicl-v2")),
    "tabdpt.safetensors": ("safetensors", CheckpointError, open_checkpoint("tabdpt-1.3")),
    "config.json": ("json", CheckpointError, open_config),
    "sweep.toml": ("toml", SettingError, lambda path: SweepSettings.from_toml(path.read_text(errors="replace"))),
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    folder = write_small_package(tmp_path_factory.mktemp("intact"))
    table = pd.read_csv(folder / "kept.csv")
    pipeline = TabularPipeline("tabicl-mini", "peft", {**FAST, "steps": 1}).fit(
        table.drop(columns="kind"), table["kind"]
    )
    disturb(pipeline)
    pipeline.save(folder / "pipeline.zip")
    pipeline.save_adapter(folder / "lora.pt")
    tiny_checkpoint(folder / "tabicl.ckpt")
    tiny_checkpoint(folder / "tabdpt.safetensors", "tabdpt-1.3")
    settings = SweepSettings(run=RunSettings(dataset="d", target="y"))
    (folder / "sweep.toml").write_text(settings.to_toml())
    return folder


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_either_opens_or_is_refused_in_one_sentence(intact, tmp_path, capsys, name):
    form, refusal, opened = KINDS[name]
    if name == "config.json":
        pytest.importorskip("autogluon.tabular", reason="Mitra needs AutoGluon")
        tiny_checkpoint(intact, "mitra-mini")
    path, refused = tmp_path / name, 0
    shutil.copytree(intact, tmp_path, dirs_exist_ok=True)
    opened(path)  # what is loaded once does not count for a file
    for number in range(FILES):
        path.write_bytes(damage((intact / name).read_bytes(), form, random.Random(f"{name} {number}")))
        Path("/proc/self/clear_refs").write_text("5")
        before, began = resident("VmRSS"), time.monotonic()
        try:
            opened(path)
        except refusal as error:
            refused += 1
            assert 0 < len(str(error)) < 2_000
            assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in str(error))
        assert time.monotonic() - began < SECONDS, number
        assert resident("VmHWM") - before < TIMES_THE_FILE * path.stat().st_size + FREE_BYTES, number
    assert refused > FILES / 4, "the damage is real"
    assert "CODE IN A FILE WAS RUN" not in capsys.readouterr().out
