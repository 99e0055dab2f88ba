"""What a card's memory tells, and that a run gives it back."""

import gc

import numpy as np
import pytest
import torch
from small_table import small_table

from tabtune_core import TabularPipeline
from tabtune_core.errors import is_out_of_memory
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.training.episodes import Episode
from tabtune_core.training.kernel_warmup import use_once
from tabtune_core.training.memory.meters import open_nvml
from tabtune_core.training.step import episode_loss

pytestmark = pytest.mark.gpu
BESIDE_BYTES = 2e9
"""Of other programs on the card, while a test compares two figures of it."""


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini"])
def test_loading_pays_for_the_workspaces_that_steps_need(card, name):
    torch._C._cuda_clearCublasWorkspaces()
    model = load_model(get_card(name), "classification", card)
    loaded = torch.cuda.memory_allocated(card)
    use_once(model, device=card)
    base = torch.cuda.memory_allocated(card)
    assert base > loaded, "no workspace of cuBLAS was counted, so that this test shows nothing"
    model.module.train()
    x = np.random.default_rng(0).normal(size=(320, 10)).astype(np.float32)
    episode_loss(model, Episode(x, np.arange(256) % 2, np.arange(64) % 2), 2, card).backward()
    model.module.zero_grad(set_to_none=True)
    assert torch.cuda.memory_allocated(card) == base


def test_a_full_card_is_told_as_a_lack_of_memory(card):
    with pytest.raises(torch.OutOfMemoryError) as raised:
        torch.empty(2 * torch.cuda.mem_get_info(card)[1], dtype=torch.uint8, device=card)
    assert is_out_of_memory(raised.value)


def test_a_prediction_that_does_not_fit_is_told_as_a_lack_of_memory(card):
    model = load_model(get_card("tabicl-mini"), "classification", card)
    x, y = np.random.default_rng(0).normal(size=(4000, 50)).astype(np.float32), np.arange(3000) % 2
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(card) + 4e6) / torch.cuda.mem_get_info(card)[1], card)
    try:
        with pytest.raises(RuntimeError) as raised:
            model.predict(x[:3000], y, x[3000:], 2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, card)
    assert is_out_of_memory(raised.value)


def test_a_second_run_finds_the_memory_as_the_first_one_did(card):
    left = []
    for _ in range(2):
        TabularPipeline("tabicl-mini", "peft", {"device": "cuda", "steps": 2}).fit(*small_table())
        gc.collect()
        left.append(torch.cuda.memory_allocated(card))
    assert left[1] <= left[0]


def test_the_driver_tells_of_the_card_what_torch_holds_there(card):
    block = torch.ones(300_000_000, dtype=torch.uint8, device=card)
    sample = open_nvml(card).sample()
    assert sample["nvml_device_bytes"] > block.nbytes
    assert sample["nvml_process_bytes"] is None or sample["nvml_process_bytes"] > block.nbytes
    free, total = torch.cuda.mem_get_info(card)
    assert sample["nvml_device_bytes"] == pytest.approx(total - free, abs=BESIDE_BYTES)
