"""Runs of the real worker on a GPU: their results and jobs, and which GPU they take."""

import dataclasses
import os
import subprocess
import sys

import pytest
from conftest import all_gpus
from small_table import small_table

from tabtune_core.data.datasets import add_dataset, load_frame
from tabtune_core.data.prediction_rows import keep_rows
from tabtune_core.devices import name_of
from tabtune_core.execution.jobs import run_job
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.runs import RunStore

CARDS = """
import torch
from tabtune_core.gpus import card_uuids
from tabtune_core.devices import resolve_device
bare = [uuid.split("-", 1)[1] for uuid in card_uuids()]
of_torch = [str(torch.cuda.get_device_properties(place).uuid) for place in range(torch.cuda.device_count())]
print(bare == of_torch, resolve_device("auto").type == ("cuda" if of_torch else "cpu"))
"""
SECOND_ALONE = """
import numpy, torch
from tabtune_core.training.episodes import Episode
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.devices import describe_device, resolve_device
from tabtune_core.training.session import use_once
from tabtune_core.training.memory.meters import MemoryMeter, open_nvml
device = resolve_device("cuda:1")
with MemoryMeter(device, lambda event: None, nvml=open_nvml(device)) as meter, meter.phase("load"):
    use_once(load_model(get_card("tabicl-mini"), "classification", device), device=device)
    describe_device(device)
print([torch._C._cuda_hasPrimaryContext(place) for place in (0, 1)])
"""


def last_line(code, **environment):
    named = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment = os.environ | named | environment
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def two_real_gpus(two_gpus):
    if two_gpus[0].type != "cuda":
        pytest.skip("pretend GPUs have no driver of their own")
    return two_gpus


@pytest.fixture
def settings(tmp_path):
    X, y = small_table(120)
    dataset = add_dataset(tmp_path, X.assign(y=y).to_csv(index=False).encode(), "small.csv")
    parts = {"lora": LoraSettings(rank=2), "train": TrainSettings(steps=4, eval_every=2)}
    return RunSettings(dataset=dataset.id, target="y", model="tabicl-mini", **parts)


def all_carried_out(store, settings, **environment):
    _, run_ids = store.add_sweep(settings)
    worker = [sys.executable, "-m", "tabtune_core", "worker", "--home", str(store.home), "--exit-when-idle"]
    subprocess.run(worker, check=True, timeout=600, env=os.environ | environment)
    return [store.run(run_id) for run_id in run_ids]


@pytest.mark.gpu
def test_the_worker_verifies_a_run_on_each_gpu_and_its_jobs_run_there(gpu, settings, tmp_path):
    store, name = RunStore(tmp_path), name_of(gpu)
    names = list(dict.fromkeys([name_of(all_gpus()[0]), name]))
    runs = all_carried_out(store, [dataclasses.replace(settings, device=one) for one in names])
    assert [(run.slot, run.status, run.error) for run in runs] == [(one, "finished", None) for one in names]
    assert {(run.result.adapter_verified, run.result.memory_meter) for run in runs} == {(True, "torch_allocated")}
    run = runs[-1]
    folder, rows = tmp_path / "job", load_frame(tmp_path, settings.dataset).iloc[:30]
    folder.mkdir()

    def job(kind, folder, **arguments):
        return run_job(kind, home=tmp_path, folder=folder, arguments=arguments)

    export = job("export", folder, run=run.id, format="pipeline")
    assert (export["labels"], export["rows"]) == (0, 24)
    given = {"adapters": [{"id": run.id, "title": "one"}], "table": settings.dataset, "device": name}
    assert len(job("predict", folder, rows=keep_rows(tmp_path, rows), **given)["models"]) == 2
    assert job("rank_curve", folder, run=run.id)
    (pace,) = job("pace", folder / "pace", settings=[run.settings.to_dict()])["measured"]
    assert (pace["device"], pace["seconds_a_step"] > 0) == (name.partition(":")[0], True)


@pytest.mark.parametrize(
    "visible", ["", pytest.param("0", marks=pytest.mark.gpu), pytest.param("1,0", marks=pytest.mark.gpu), "7"]
)
def test_torch_and_the_driver_count_the_same_gpus_and_auto_takes_one(request, visible):
    if visible in ("0", "1,0"):
        request.getfixturevalue("two_real_gpus" if visible == "1,0" else "real_gpu")
    assert last_line(CARDS, CUDA_VISIBLE_DEVICES=visible) == "True True"


@pytest.mark.gpu
def test_work_on_the_second_gpu_opens_nothing_on_the_first(two_real_gpus):
    assert last_line(SECOND_ALONE) == "[False, True]"


@pytest.mark.gpu
def test_a_run_and_a_job_that_do_not_fit_on_the_gpu_say_what_to_lower(counting_gpu, settings, tmp_path):
    store = RunStore(tmp_path)
    job = store.add_job("pace", {"settings": [dataclasses.replace(settings, device="cuda:1").to_dict()]})
    (run,) = all_carried_out(store, [dataclasses.replace(settings, device="cuda:1")], PRETEND_CARD_BYTES="4000000")
    assert (run.status, store.job(job).status) == ("failed", "failed")
    assert "There was not enough memory. Lower context_rows (now " in run.error
    assert "There was not enough memory. Wait until " in store.job(job).error
