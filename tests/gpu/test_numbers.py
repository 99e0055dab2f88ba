"""Numbers computed by a GPU: repeatable, equal when recomputed, and close to the CPU's."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from tabtune_core.devices import gpu_module, own_chance, random_states
from tabtune_core.engine.verify import CARD_TOLERANCE, OTHER_DEVICE_TOLERANCE
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.episodes import Episode
from tabtune_core.training.scoring import Scorer
from tabtune_core.training.step import episode_loss
from tabtune_core.training.train_phase import checkpointed

CONTEXT = 256
RNG = np.random.default_rng(0)
X = RNG.normal(size=(CONTEXT + 64, 10)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.int64)


def adapted(device, name="tabicl-mini", dropout=0.05):
    """Returns a mini model with a non-zero adapter, ready to train; the same on every device."""
    model = load_model(get_card(name), "classification", device)
    adapt(model, RunSettings(dataset="d", target="y", model=name, device="cpu", lora=LoraSettings(dropout=dropout)))
    torch.manual_seed(0)
    for path, parameter in model.module.named_parameters():
        if "lora_" in path:
            parameter.data.copy_(0.1 * torch.randn(parameter.shape))
    model.module.train()
    return model


def gradients(model, device, *, recomputed=False, format=None, seed=3):
    model.module.zero_grad(set_to_none=True)
    with (
        own_chance(device, seed) if seed else nullcontext(),
        checkpointed(model.module, model.card.family.block_lists if recomputed else ()),
    ):
        with torch.autocast(device.type, format, enabled=format is not None):
            loss = episode_loss(model, Episode(X, Y[:CONTEXT], Y[CONTEXT:]), 2, device)
        loss.backward()
    return {name: p.grad.float().cpu() for name, p in model.module.named_parameters() if p.grad is not None}


def distance(gradient, expected):
    """Distance of two sets of gradients, relative to the length of the second."""
    assert gradient.keys() == expected.keys()
    squares = sum((gradient[key] - expected[key]).square().sum() for key in expected)
    return (squares / sum(expected[key].square().sum() for key in expected)).sqrt().item()


def predicted(model):
    model.module.eval()
    return Scorer(X[:CONTEXT], Y[:CONTEXT], 2, 1).predict(model, X[CONTEXT:])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputed_activations_give_the_same_gradients_under_dropout(device, dropout):
    model = adapted(device, dropout=dropout)
    assert distance(gradients(model, device, recomputed=True), gradients(model, device)) < 1e-5


def test_dropout_is_drawn_on_the_device_of_its_input(device):
    model, before = adapted(device), random_states(device)
    gradients(model, device, seed=None)
    drawn = [name for name, state in random_states(device).items() if not torch.equal(state, before[name])]
    assert drawn == (["cpu"] if device.type == "cpu" else ["cuda"])


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini"])
def test_a_prediction_repeats_exactly_and_is_close_to_the_cpus(device, name):
    model = adapted(device, name)
    first = predicted(model)
    assert np.abs(first - predicted(model)).max() == 0
    assert np.abs(first - predicted(adapted(torch.device("cpu"), name))).max() <= OTHER_DEVICE_TOLERANCE


@pytest.mark.parametrize("name", ["tabicl-mini", "tabdpt-mini"])
def test_a_cached_context_gives_the_same_predictions_in_lots(device, name):
    model = adapted(device, name)
    model.module.eval()
    ask = model.read_context(X[:CONTEXT], Y[:CONTEXT], 2)
    lots = np.concatenate([ask(X[CONTEXT : CONTEXT + 20]), ask(X[CONTEXT + 20 :])])
    assert np.abs(lots - model.predict(X[:CONTEXT], Y[:CONTEXT], X[CONTEXT:], 2)).max() <= CARD_TOLERANCE


@pytest.mark.gpu
def test_a_prediction_with_little_free_memory_is_within_the_verification_tolerance(gpu):
    model = adapted(gpu)
    expected = predicted(model)
    filler = torch.empty(gpu_module(gpu).mem_get_info(gpu)[0] * 9 // 10, dtype=torch.uint8, device=gpu)
    assert np.abs(predicted(model) - expected).max() <= CARD_TOLERANCE
    del filler


@pytest.mark.gpu
@pytest.mark.parametrize("format", [torch.bfloat16, torch.float16])
def test_autocast_changes_the_gradient_by_a_few_per_cent(gpu, format):
    model = adapted(gpu, dropout=0.0)
    assert 0 < distance(gradients(model, gpu, format=format), gradients(model, gpu)) < 0.1
