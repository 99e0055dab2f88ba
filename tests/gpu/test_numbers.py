"""What a card computes: the same again, the same when recomputed, and nearly what the CPU does."""

import numpy as np
import pytest
import torch

from tabtune_core.engine.verify import CARD_TOLERANCE, OTHER_DEVICE_TOLERANCE
from tabtune_core.lora.fused_linear import keep_mask
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.episodes import Episode
from tabtune_core.training.recompute import checkpointed
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.step import episode_loss

CONTEXT = 256
RNG = np.random.default_rng(0)
X = RNG.normal(size=(CONTEXT + 64, 10)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.int64)


def adapted(device, name="tabicl-mini", dropout=0.05):
    """A mini with an adapter that does something, ready to train; the same on every device."""
    model = load_model(get_card(name), "classification", device)
    adapt(model, RunSettings(dataset="d", target="y", model=name, device="cpu", lora=LoraSettings(dropout=dropout)))
    torch.manual_seed(0)
    for path, parameter in model.module.named_parameters():
        if "lora_" in path:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape))
    model.module.train()
    return model


def gradients(model, device, *, recomputed=False, format=None):
    model.module.zero_grad(set_to_none=True)
    torch.manual_seed(3)
    with checkpointed(model.module, model.card.family.block_lists if recomputed else ()):
        with torch.autocast(device.type, format, enabled=format is not None):
            loss = episode_loss(model, Episode(X, Y[:CONTEXT], Y[CONTEXT:]), 2, device)
        loss.backward()
    return {name: p.grad.float().cpu() for name, p in model.module.named_parameters() if p.grad is not None}


def distance(found, expected):
    """Of two sets of gradients, relative to the length of the second."""
    assert found.keys() == expected.keys()
    squares = sum((found[key] - expected[key]).square().sum() for key in expected)
    return (squares / sum(expected[key].square().sum() for key in expected)).sqrt().item()


def predicted(model):
    model.module.eval()
    return Scorer(X[:CONTEXT], Y[:CONTEXT], 2, 1).predict(model, X[CONTEXT:])


@pytest.mark.parametrize("dropout", [0.0, 0.05, 0.2])
def test_recomputed_activations_give_the_same_gradients_under_dropout(device, dropout):
    model = adapted(device, dropout=dropout)
    assert distance(gradients(model, device, recomputed=True), gradients(model, device)) < 1e-5


def test_the_same_seed_gives_nearly_the_same_gradients(device):
    """Attention's backward pass may add up in another order on a card."""
    model = adapted(device)
    assert distance(gradients(model, device), gradients(model, device)) <= (1e-5 if device.type == "cuda" else 0)


def test_dropout_is_drawn_where_the_numbers_are(device):
    x, before = torch.ones(400, 50, device=device), torch.get_rng_state()
    mask = keep_mask(x, 0.25)
    drawn_on_cpu = not torch.equal(torch.get_rng_state(), before)
    assert (mask.device, drawn_on_cpu) == (x.device, device.type == "cpu")
    assert mask.float().mean().item() == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini"])
def test_a_prediction_is_the_same_again_and_nearly_the_cpus(device, name):
    model = adapted(device, name)
    first = predicted(model)
    assert np.abs(first - predicted(model)).max() == 0
    assert np.abs(first - predicted(adapted(torch.device("cpu"), name))).max() <= OTHER_DEVICE_TOLERANCE


def test_gradients_are_nearly_the_cpus(device):
    cpu = torch.device("cpu")
    assert distance(gradients(adapted(device, dropout=0.0), device), gradients(adapted(cpu, dropout=0.0), cpu)) < 1e-3


@pytest.mark.gpu
def test_a_prediction_with_a_tenth_of_the_memory_free_is_within_the_tolerance_of_verification(card):
    model = adapted(card)
    expected = predicted(model)
    filler = torch.empty(int(0.9 * torch.cuda.mem_get_info(card)[0]), dtype=torch.uint8, device=card)
    assert np.abs(predicted(model) - expected).max() <= CARD_TOLERANCE
    del filler


@pytest.mark.gpu
@pytest.mark.parametrize("format", [torch.bfloat16, torch.float16])
def test_autocast_changes_the_gradient_by_a_few_per_cent(card, format):
    model = adapted(card, dropout=0.0)
    assert 0 < distance(gradients(model, card, format=format), gradients(model, card)) < 0.1
