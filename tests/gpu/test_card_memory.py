"""GPU memory: what is reported about it, and that runs release it."""

import gc

import numpy as np
import pytest
import torch
from small_table import small_table

from tabtune_core import TabularPipeline
from tabtune_core.devices import gpu_module, name_of
from tabtune_core.errors import is_out_of_memory
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.training.episodes import Episode
from tabtune_core.training.memory.meters import open_nvml
from tabtune_core.training.session import use_once
from tabtune_core.training.step import episode_loss

pytestmark = pytest.mark.gpu
BESIDE_BYTES = 2e9
"""Allowance for other programs on the GPU while a test compares two readings."""


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini"])
def test_loading_allocates_the_workspaces_that_steps_need(real_gpu, name):
    torch._C._cuda_clearCublasWorkspaces()
    model = load_model(get_card(name), "classification", real_gpu)
    loaded = torch.cuda.memory_allocated(real_gpu)
    use_once(model, device=real_gpu)
    base = torch.cuda.memory_allocated(real_gpu)
    assert base > loaded, "no cuBLAS workspace was counted, so this test would prove nothing"
    model.module.train()
    x = np.random.default_rng(0).normal(size=(320, 10)).astype(np.float32)
    episode_loss(model, Episode(x, np.arange(256) % 2, np.arange(64) % 2), 2, real_gpu).backward()
    model.module.zero_grad(set_to_none=True)
    assert torch.cuda.memory_allocated(real_gpu) == base


def test_a_prediction_that_does_not_fit_is_reported_as_out_of_memory(gpu):
    model = load_model(get_card("tabicl-mini"), "classification", gpu)
    x, y = np.random.default_rng(0).normal(size=(4000, 50)).astype(np.float32), np.arange(3000) % 2
    gpu_module(gpu).empty_cache()
    gpu_module(gpu).set_per_process_memory_fraction(
        (gpu_module(gpu).memory_reserved(gpu) + 4e6) / gpu_module(gpu).mem_get_info(gpu)[1], gpu
    )
    try:
        with pytest.raises(RuntimeError) as raised:
            model.predict(x[:3000], y, x[3000:], 2)
    finally:
        gpu_module(gpu).set_per_process_memory_fraction(1.0, gpu)
    assert is_out_of_memory(raised.value)


def test_a_second_run_finds_as_much_memory_as_the_first(gpu):
    left = []
    for _ in range(2):
        TabularPipeline("tabicl-mini", "peft", {"device": name_of(gpu), "steps": 2}).fit(*small_table())
        gc.collect()
        left.append(gpu_module(gpu).memory_allocated(gpu))
    assert left[1] <= left[0]


def test_the_driver_reports_the_memory_that_torch_holds(real_gpu):
    block = torch.ones(300_000_000, dtype=torch.uint8, device=real_gpu)
    sample = open_nvml(real_gpu).sample()
    assert sample["nvml_device_bytes"] > block.nbytes
    free, total = torch.cuda.mem_get_info(real_gpu)
    assert sample["nvml_device_bytes"] == pytest.approx(total - free, abs=BESIDE_BYTES)
