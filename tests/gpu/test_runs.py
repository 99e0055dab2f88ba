"""Runs of the real worker on a card, and which card they take."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch
from small_table import small_table

from tabtune_core.data.datasets import add_dataset
from tabtune_core.execution.jobs import export as exports
from tabtune_core.gpus import card_names, takes_one_process
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.runs import RunStore

CARDS = """
import torch
from tabtune_core.gpus import card_uuids
from tabtune_core.devices import resolve_device
bare = [uuid.split("-", 1)[1] for uuid in card_uuids()]
theirs = [str(torch.cuda.get_device_properties(place).uuid) for place in range(torch.cuda.device_count())]
print(bare == theirs, resolve_device("auto").type == ("cuda" if theirs else "cpu"))
"""
SECOND_ALONE = """
import numpy, torch
from tabtune_core.training.episodes import Episode
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.devices import describe_device, resolve_device
from tabtune_core.training.kernel_warmup import use_once
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
device = resolve_device("cuda:1")
with MemoryMeter(device, lambda event: None, nvml=open_nvml(device)) as meter, meter.phase("load"):
    use_once(load_model(get_card("tabicl-mini"), "classification", device), device=device)
    describe_device(device)
print([torch._C._cuda_hasPrimaryContext(place) for place in (0, 1)])
"""


def told(code, **environment):
    """The last line that a process of its own prints."""
    named = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=named | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def settings(tmp_path):
    """Of a run on a small table, which is in a workspace."""
    X, y = small_table(120)
    dataset = add_dataset(tmp_path, X.assign(y=y).to_csv(index=False).encode(), "small.csv")
    return RunSettings(
        dataset=dataset.id, target="y", model="tabicl-mini", lora=LoraSettings(rank=2), train=TrainSettings(steps=4, eval_every=2)
    )


def carried_out(store, settings):
    _, (run_id,) = store.add_sweep([settings])
    worker = [sys.executable, "-m", "tabtune_core", "worker", "--home", str(store.home), "--exit-when-idle"]
    subprocess.run(worker, check=True, timeout=300)
    run = store.run(run_id)
    assert run.status == "finished", run.error
    return run


def test_the_worker_verifies_a_run_on_its_device_and_an_export_gives_its_predictions(device, settings, tmp_path):
    run = carried_out(RunStore(tmp_path), dataclasses.replace(settings, device=str(device)))
    assert run.result.adapter_verified is True
    assert run.result.memory_meter == ("resident" if device.type == "cpu" else "torch_allocated")
    folder = tmp_path / "export"
    folder.mkdir()
    export = exports.export(tmp_path, folder, run=run.id, format="pipeline")
    assert (export["labels"], export["rows"]) == (0, 24)


@pytest.mark.parametrize("visible", ["", pytest.param("0", marks=pytest.mark.gpu), pytest.param("1,0", marks=pytest.mark.gpu), "7"])
def test_torch_and_the_driver_count_the_same_cards_and_auto_takes_one(request, visible):
    if visible in ("0", "1,0"):
        request.getfixturevalue("second_card" if visible == "1,0" else "card")
    assert told(CARDS, CUDA_VISIBLE_DEVICES=visible) == "True True"


@pytest.mark.gpu
def test_a_slice_of_a_card_is_the_card_that_a_run_takes(card):
    if "MIG" not in torch.cuda.get_device_name(card):
        pytest.skip(f"{torch.cuda.get_device_name(card)} is not in slices (MIG)")
    assert card_names()[0] == torch.cuda.get_device_name(card)


@pytest.mark.gpu
def test_work_on_the_second_card_opens_nothing_on_the_first(second_card):
    assert told(SECOND_ALONE) == "[False, True]"


@pytest.mark.gpu
def test_equal_cards_share_what_was_computed(second_card, settings, tmp_path):
    if torch.cuda.get_device_name(0) != torch.cuda.get_device_name(1):
        pytest.skip("the two cards are not of one kind")
    store = RunStore(tmp_path)
    first, second = (carried_out(store, dataclasses.replace(settings, device=name)) for name in ("cuda:0", "cuda:1"))
    assert first.result.extra["shared_made"] > 0
    assert second.result.extra["shared_reused"] > 0


@pytest.mark.gpu
def test_a_card_for_one_process_does_not_keep_an_adapter_from_being_offered(card, settings, tmp_path):
    if not takes_one_process(0):
        pytest.skip("the card is not in exclusive-process mode (nvidia-smi -c EXCLUSIVE_PROCESS)")
    store = RunStore(tmp_path)
    run = carried_out(store, dataclasses.replace(settings, device="cuda:0"))
    assert run.result.adapter_verified is True
    assert any("exclusive-process mode" in stored.event.text for stored in store.events(run.id, ["Note"]))
