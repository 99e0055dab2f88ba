"""Behaviour of TabICL's package that appears only on a GPU."""

import torch
from tabicl._model import attention
from tiny import tiny_checkpoint
from torch.nn import functional as F

from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.training.train_phase import checkpointed

CPU = torch.device("cpu")


def test_attention_never_uses_the_fp16_kernel_in_a_step_or_its_recomputation(tmp_path, monkeypatch):
    """If Flash-attention 3 is installed, a GPU would use it whenever upstream's switch is on."""
    monkeypatch.setattr(attention, "_use_flash_attn3", True)
    model, switches = load_model(CATALOGUE["tabicl-v2"], "classification", CPU, tiny_checkpoint(tmp_path / "tiny")), []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *given: switches.append(attention._use_flash_attn3) or kernel(*given)
    )
    model.module.train()
    with checkpointed(model.module, model.card.family.block_lists):
        loss = model.loss(torch.randn(1, 30, 3), torch.arange(20)[None] % 2, torch.arange(10)[None] % 2, 2)
        forward = len(switches)
        loss.backward()
    assert len(switches) > forward > 0
    assert not any(switches)
