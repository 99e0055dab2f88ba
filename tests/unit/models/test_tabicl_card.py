"""A TabICL model on the second card leaves the first one alone."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tabicl._model import attention
from tabicl._model.tabicl import TabICL
from tiny import tiny_checkpoint
from torch.nn import functional as F

from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.models.tabicl import model as tabicl
from tabtune_core.training.recompute import checkpointed

CPU, SECOND = torch.device("cpu"), torch.device("cuda", 1)


@pytest.mark.parametrize("many", [False, True])
def test_upstream_runs_while_the_models_card_is_the_current_one(tmp_path, monkeypatch, many):
    model = load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tiny_checkpoint(tmp_path / "tiny"))
    entered, within = [], []

    @contextmanager
    def on_its_card(device):
        entered.append(device)
        yield
        entered.append(None)

    monkeypatch.setattr(tabicl, "on_its_card", on_its_card)
    model.module.register_forward_pre_hook(lambda module, given: within.append(entered[-1]))
    forward = TabICL.forward_with_cache
    monkeypatch.setattr(TabICL, "forward_with_cache", lambda *a, **k: (within.append(entered[-1]), forward(*a, **k))[1])
    x, y = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32), np.arange(30) % 2
    if many:
        model.read_context(x[:30], y, 2)(x[30:])
    else:
        model.predict(x[:30], y, x[30:], 2)
    assert within == [CPU] * (2 if many else 1)


def test_the_card_of_the_model_becomes_torchs_current_one():
    assert tabicl.on_its_card(SECOND).idx == 1
    with tabicl.on_its_card(CPU):
        pass


def test_attention_of_a_step_and_of_its_recomputation_never_takes_the_fp16_kernel(tmp_path, monkeypatch):
    """Flash-attention 3, where it is installed, would be taken on a card whenever upstream's switch is on."""
    monkeypatch.setattr(attention, "_use_flash_attn3", True)
    model, switches = load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tiny_checkpoint(tmp_path / "tiny")), []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *given: switches.append(attention._use_flash_attn3) or kernel(*given))
    model.module.train()
    with checkpointed(model.module, model.card.family.block_lists):
        loss = model.loss(torch.randn(1, 30, 3), torch.arange(20)[None] % 2, torch.arange(10)[None] % 2, 2)
        forward = len(switches)
        loss.backward()
    assert len(switches) > forward > 0
    assert not any(switches)
