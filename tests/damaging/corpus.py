"""The intact files that get damaged, made by the program itself, and how each kind is opened: as a person opens it."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import safetensors.numpy
import torch
from tiny import tiny_checkpoint

from tabtune_core import LoraSettings, SweepSettings, TabularPipeline, load_adapter
from tabtune_core.api.pipeline_file import CONTEXT, FACTS, _context
from tabtune_core.cli.request import read_settings_file
from tabtune_core.errors import AdapterError, CheckpointError, PipelineError, SettingError
from tabtune_core.files.tensors import read_tensors
from tabtune_core.lora.inject import adapter_tensors
from tabtune_core.lora.package import write_package
from tabtune_core.lora.package_reader import read_facts
from tabtune_core.lora.standalone import load_lora_adapter
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.settings.serialization import from_values
from tabtune_core.store.uploaded_adapters import check_package

KEPT = Path(__file__).parents[1] / "kept"
TABLE = pd.read_csv(KEPT / "kept.csv")
ROWS = TABLE.drop(columns="kind").head(3)
CPU = torch.device("cpu")
VARIANTS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "pissa": {"init_lora_weights": "pissa"},
    "bias": {"bias": "all"},
}


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    form: str
    """See ``mutations.FORMATS``."""
    ending: str
    refusal: tuple[type[Exception], ...]
    """The only errors that opening may raise."""
    seeds: tuple[bytes, ...]
    open: Callable[[Path], object]


def adapters(folder):
    """A package of each variant, with random factors."""
    facts = read_facts(KEPT / "adapter.zip")
    for name, how in VARIANTS.items():
        lora = LoraSettings(rank=2, targets=("prediction_head",), **how)
        settings = replace(facts.settings, lora=lora)
        model = load_model(get_card("tabicl-mini-1"), "classification", CPU)
        report = adapt(model, settings)
        with torch.no_grad():
            for tensor in adapter_tensors(model.module, report).values():
                tensor += 0.01 * torch.rand_like(tensor)
        own = replace(facts, layers=report.layers, biases=report.biases, settings=settings)
        write_package(folder / f"{name}.zip", model.module, report, own)
        yield (folder / f"{name}.zip").read_bytes()


def open_adapter(path):
    """Opens it as the page does on upload, and as the command line does to predict and merge, without the page's check."""
    refused = None
    try:
        check_package(path)
    except AdapterError as error:
        refused = error
    model = load_adapter(path, device="cpu")
    predicted = model.predict_table(ROWS, context=model.context(TABLE))
    assert predicted.notna().all(axis=None), "predictions that are empty"
    model.save_merged(path.with_name("merged.ckpt"))
    if refused:
        raise refused


def open_pipeline(path):
    pipeline = TabularPipeline.load(path, device="cpu")
    assert not pd.isna(pipeline.predict(ROWS)).any(), "predictions that are empty"
    str(pipeline.result)


def hashed(data):
    """The pipeline with its rows' hash corrected if they can be hashed; otherwise the hash would catch every damage."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        facts = json.loads(members[FACTS])
        read_tensors(members[CONTEXT])
        _context(facts["context"], members[CONTEXT])
    except Exception as error:  # noqa: BLE001
        found = str(error)
        if "do not have the hash" not in found:
            return data
    else:
        return data
    from tabtune_core.data.encoding import FeatureEncoder, LabelEncoder
    from tabtune_core.data.task import Context

    rows, about = safetensors.numpy.load(members[CONTEXT]), facts["context"]
    labels = LabelEncoder(tuple(about["classes"]))
    about["sha256"] = Context(
        rows["rows"], rows["x"], rows["y"], FeatureEncoder.from_json(about["encoder"], rows), labels, None
    ).sha256
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | {FACTS: json.dumps(facts)}).items():
            archive.writestr(name, content)
    return made.getvalue()


def open_checkpoint(name):
    def opened(path):
        if name.startswith("mitra") and path.name != "config.json":
            shutil.copyfile(MITRA / "config.json", path.with_name("config.json"))
        load_model(CATALOGUE[name], "classification", CPU, path)

    return opened


MITRA = Path("mitra")


def open_config(path):
    """Opens Mitra's ``config.json`` next to intact weights."""
    shutil.copyfile(MITRA / "model.safetensors", path.with_name("model.safetensors"))
    shutil.copyfile(path, path.with_name("config.json"))
    load_model(CATALOGUE["mitra-mini"], "classification", CPU, path.with_name("model.safetensors"))


def open_toml(path):
    """Opens it as the page and as the command line do."""
    refused = None
    try:
        SweepSettings.from_toml(path.read_bytes().decode(errors="replace"))
    except SettingError as error:
        refused = error
    values = read_settings_file(path, SweepSettings)
    run = {**values.get("run", {}), "dataset": "d"}
    from_values(SweepSettings, {**values, "run": run}, "")
    if refused:
        raise refused


def kinds(folder):
    """All kinds by name, with their files made in ``folder``."""
    global MITRA
    MITRA = folder / "mitra"
    pipeline = TabularPipeline.load(KEPT / "pipeline.zip", device="cpu")
    pipeline.save(folder / "pipeline.zip")
    plain = [folder / f"{i}.pt" for i in range(2)]
    pipeline.save_adapter(plain[0])
    kept = torch.load(plain[0], weights_only=True)
    torch.save({name: kept[name] for name in ("rank", "alpha", "lora_a", "lora_b")}, plain[1])
    base = TabularPipeline.load(KEPT / "pipeline.zip", device="cpu")

    def open_plain(path):
        name = base.load_adapter(load_lora_adapter(path), "damaged")
        try:
            assert not pd.isna(base.predict(ROWS)).any(), "predictions that are empty"
            base.merge_lora_weights()
        finally:
            base.set_adapter("default")
            base._adapters._adapters.pop(name)

    for name in ("tabicl-v2", "tabdpt-1.3", "mitra-mini"):
        tiny_checkpoint(folder / ("mitra" if name.startswith("mitra") else name), name)
    assert read_facts(KEPT / "adapter.zip").settings.lora.rank == 1
    read = lambda *paths: tuple((folder / path).read_bytes() for path in paths)  # noqa: E731
    return {
        "adapter": Kind("zip", "zip", (AdapterError,), tuple(adapters(folder)), open_adapter),
        "pipeline": Kind("zip", "zip", (PipelineError, AdapterError), read("pipeline.zip"), open_pipeline),
        "plain adapter": Kind("torch", "pt", (AdapterError,), read(*plain), open_plain),
        "TabICL weights": Kind("torch", "ckpt", (CheckpointError,), read("tabicl-v2"), open_checkpoint("tabicl-v2")),
        "TabDPT weights": Kind(
            "safetensors", "safetensors", (CheckpointError,), read("tabdpt-1.3"), open_checkpoint("tabdpt-1.3")
        ),
        "Mitra weights": Kind(
            "safetensors",
            "safetensors",
            (CheckpointError,),
            read("mitra/model.safetensors"),
            open_checkpoint("mitra-mini"),
        ),
        "Mitra config": Kind("json", "json", (CheckpointError,), read("mitra/config.json"), open_config),
        "settings": Kind("toml", "toml", (SettingError,), ((KEPT / "sweep.toml").read_bytes(),), open_toml),
    }
